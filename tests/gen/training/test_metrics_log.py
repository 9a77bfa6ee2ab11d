"""The log survives a kill in the middle of a line, and steps done again stand in it once."""

from __future__ import annotations

import json

import pytest

from gen.training.metrics_log import NAME, TAIL_BYTES, forget_after, newest_metrics, read_metrics

ROWS = [{"step": step, "loss": 1 / step} for step in (5, 10, 15)]


def write(folder, tail=""):
    (folder / NAME).write_text("".join(json.dumps(row) + "\n" for row in ROWS) + tail)


def test_all_lines_are_read_in_order(tmp_path):
    write(tmp_path)
    assert read_metrics(tmp_path) == ROWS


@pytest.mark.parametrize(
    "tail", ['{"step": 20, "lo', "{", '{"step": 20, "loss": 0.', "\0\0\0", "2"]
)
@pytest.mark.filterwarnings("error")
def test_a_torn_last_line_is_passed_over(tmp_path, tail):
    write(tmp_path, tail)
    assert read_metrics(tmp_path) == ROWS


def test_bytes_that_are_no_text_are_a_torn_line_too(tmp_path):
    write(tmp_path)
    with (tmp_path / NAME).open("ab") as log:
        log.write(b"\xff\xfe")
    assert read_metrics(tmp_path) == ROWS


def test_a_damaged_line_in_the_middle_is_named(tmp_path):
    write(tmp_path)
    lines = (tmp_path / NAME).read_text().splitlines()
    (tmp_path / NAME).write_text("\n".join([lines[0], "{", lines[2]]) + "\n")
    with pytest.warns(UserWarning, match=r"line 2 of .*metrics.jsonl is damaged"):
        assert read_metrics(tmp_path) == [ROWS[0], ROWS[2]]


def test_a_run_without_a_log_has_no_lines(tmp_path):
    assert read_metrics(tmp_path) == []


def test_of_a_short_log_all_whole_lines_are_the_newest(tmp_path):
    assert newest_metrics(tmp_path) == []
    write(tmp_path, '{"step": 20, "lo')
    assert newest_metrics(tmp_path) == ROWS


def test_of_a_long_log_whole_lines_of_its_end_are_the_newest(tmp_path):
    rows = [{"step": step, "loss": 0.5} for step in range(1000)]
    (tmp_path / NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))
    newest = newest_metrics(tmp_path)
    assert newest == rows[-len(newest) :]
    assert len(newest) == TAIL_BYTES // len(json.dumps(rows[-1]) + "\n")


def test_lines_after_a_step_are_forgotten(tmp_path):
    write(tmp_path)
    forget_after(tmp_path, 10)
    assert read_metrics(tmp_path) == ROWS[:2]
    forget_after(tmp_path, 0)
    assert (tmp_path / NAME).read_text() == ""


def test_after_forgetting_a_line_can_be_appended_to_a_torn_log(tmp_path):
    write(tmp_path, '{"step": 1')  # of step 16
    forget_after(tmp_path, 15)
    with (tmp_path / NAME).open("a") as log:
        log.write(json.dumps({"step": 20}) + "\n")
    assert read_metrics(tmp_path) == [*ROWS, {"step": 20}]


def test_forgetting_begins_a_log_where_there_is_none(tmp_path):
    forget_after(tmp_path / "run", 0)
    assert (tmp_path / "run" / NAME).read_text() == ""
