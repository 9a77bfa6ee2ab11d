"""A study's status as people see it: in a pipe, on wide, narrow and low terminals."""

from __future__ import annotations

import io
import json
import re
from types import SimpleNamespace

import pytest
from planted_runs import beat, begin, finish, log, planned, study_of
from rich.console import Console, ConsoleDimensions

from gen.commands import status as command
from gen.commands.status_table import plain_status, reasons, screen, summary
from gen.sweep.status import study_status

LONG = "cg_high_diversity-with_a_rather_long_variant"


@pytest.fixture
def study(tmp_path):
    """A study with a run at work, a failed one, a done one and nine new ones."""
    at_work, failed, done = (planned(tmp_path, setting=name) for name in (LONG, "b", "c"))
    begin(at_work)
    log(at_work, 400, rate=50.0)
    beat(at_work, age=3)
    begin(failed)
    failed.failure.write_text("out of memory\n\nTraceback")
    finish(done)
    new = [planned(tmp_path, setting=f"n{number}") for number in range(9)]
    return study_of(tmp_path, at_work, failed, done, *new)


def shown(study, width, height=50, **options):
    page = io.StringIO()
    terminal = Console(file=page, width=width, height=height, force_terminal=True, no_color=True)
    terminal.print(screen(study_status(study), ConsoleDimensions(width, height), **options))
    return re.sub(r"\x1b\[[0-9;]*m", "", page.getvalue())


def test_in_a_pipe_every_name_is_whole_and_there_are_no_control_characters(study):
    text = plain_status(study_status(study))
    lines = text.splitlines()
    assert all(any(line.endswith(run.name) for line in lines) for run in study.runs)
    assert "\x1b" not in text
    assert not any(line != line.rstrip() for line in lines)


def test_a_line_tells_all_of_a_run_at_work(study):
    line = plain_status(study_status(study)).splitlines()[1]
    cells = re.split(r"\s{2,}", line)
    assert cells[:5] == ["running", "40%", "50", "2.500 (0.100)", "train"]
    assert re.fullmatch(r"[2-9] s ago", cells[5])


def test_errors_stand_below_the_table(study):
    text = plain_status(study_status(study))
    assert f"failed: {study.runs[1].name}: out of memory" in text


def test_one_reason_of_many_runs_is_told_once():
    (line,) = reasons([("stale", "other prompts", f"r{number}") for number in range(7)])
    assert line == "stale: r0, r1, r2 and 4 more: other prompts"


def test_the_summary_counts_and_foretells(study):
    line = summary(study_status(study))
    assert line.startswith("12 runs: 1 running, 1 failed, 9 new, 1 done; 50 samples/s; all done in")
    assert line.endswith("on 1 slot")


def test_an_empty_column_is_left_out(study):
    header = plain_status(study_status(study)).splitlines()[0]
    assert "attempts" not in header


def test_a_narrow_terminal_gives_up_columns_and_says_which(study):
    text = shown(study, 80)
    assert study.runs[0].name in text
    assert "in a wider terminal also: " in text
    assert max(map(len, text.splitlines())) <= 80
    assert "in a wider terminal" not in shown(study, 160)


def test_a_low_terminal_shows_what_is_urgent_and_counts_the_rest(study):
    text = shown(study, 160, height=10)
    assert len(text.splitlines()) < 10
    assert re.search("^running", text, re.MULTILINE)
    assert re.search("^failed +", text, re.MULTILINE)
    assert re.search(r"… and \d further runs: \d new, 1 done", text)


def test_every_run_is_shown_where_that_is_asked_for(study):
    text = shown(study, 160, height=10, every_run=True)
    assert all(run.name in text for run in study.runs)


def test_folders_that_nobody_planned_are_told_below(study, tmp_path):
    stranger = planned(tmp_path, setting="gone")
    begin(stranger)
    assert f"(any more): {stranger.name}" in plain_status(study_status(study))


def options(**given):
    return SimpleNamespace(**({"watch": False, "json": False} | given))


def test_the_command_prints_json_in_one_line(study, monkeypatch, capsys):
    monkeypatch.setattr(command, "load", lambda _: study)
    command.show_status(options(json=True))
    content = json.loads(capsys.readouterr().out)
    assert [row["run"] for row in content["runs"]] == [run.name for run in study.runs]
    assert content["counts"]["new"] == 9


def test_watching_ends_when_all_is_done(study, monkeypatch, capsys):
    (done,) = (run for run in study.runs if run.done)
    begun = planned(study.folder, setting="d")
    few = study_of(study.folder, done, begun)
    monkeypatch.setattr(command, "load", lambda _: few)
    monkeypatch.setattr(command.time, "sleep", lambda _: finish(begun))
    command.show_status(options(watch=True))
    assert re.findall(r"\d+ runs: (.*done)", capsys.readouterr().out) == ["1 new, 1 done", "2 done"]


def test_ctrl_c_is_how_one_leaves_watching(study, monkeypatch, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "load", lambda _: study)
    monkeypatch.setattr(command.time, "sleep", interrupt)
    command.show_status(options(watch=True))
    assert capsys.readouterr().out.count("12 runs: ") == 1
