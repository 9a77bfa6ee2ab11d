"""Where a study stands: progress, rates and times left, as its folder tells."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from planted_runs import beat, begin, finish, held, log, planned, study_of, train

from gen.schema import PretrainedConfig
from gen.sweep.attempts import note_start
from gen.sweep.queue import announced
from gen.sweep.status import RunStatus, samples_done, study_status


@pytest.fixture
def run(tmp_path):
    return planned(tmp_path)


def status(*runs):
    return study_status(study_of(runs[0].folder.parent, *runs))


def working(run, seen, rate=50.0):
    """The run at work on another machine, with so many samples seen."""
    begin(run)
    log(run, seen, rate)
    beat(run, age=3)
    return run


def test_progress_is_that_of_the_last_whole_line(run):
    begin(run)
    log(run, 300)
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "samples_seen": 4')
    assert samples_done(run) == 300


def test_a_trained_run_has_seen_everything(run):
    train(run)
    (run.folder / "metrics.jsonl").unlink()
    assert samples_done(run) == 1000


def test_a_new_run_has_seen_nothing(run):
    assert samples_done(run) == 0


def test_a_pretrained_model_has_no_progress(run):
    model = replace(run, pretrained=PretrainedConfig("x", "y"), mixtures={})
    assert samples_done(model) == 0
    row = status(model).runs[0]
    assert (row.progress, row.samples, row.mixture_sha256) == (None, None, None)


def test_a_run_that_takes_over_weights_is_as_far_as_these(run):
    other = replace(planned(run.folder.parent, setting="other"), twin=run)
    begin(run)
    log(run, 300)
    assert samples_done(other) == 300
    assert status(run, other).runs[1].same_weights_as == run.name


def test_a_row_tells_what_the_run_is_doing(run):
    note_start(run.folder, 0)
    note_start(run.folder, 100)
    working(run, 200)
    log(run, 400, rate=70.0)
    row = status(run).runs[0]
    assert (row.state, row.stage, row.attempts, row.progress) == ("running", "train", 2, 0.4)
    assert (row.loss, row.loss_floor, row.samples_per_second) == (2.5, 0.1, 60.0)
    assert row.heartbeat_seconds == pytest.approx(3, abs=2)
    assert row.by == "elsewhere, process 7"


def test_a_run_that_nobody_works_on_has_neither_stage_nor_heartbeat(run):
    working(run, 400)
    beat(run, age=1000)
    row = status(run).runs[0]
    assert (row.state, row.stage, row.heartbeat_seconds) == ("interrupted", None, None)


def test_the_time_left_of_a_run_is_its_rest_at_its_own_rate(run):
    now = status(working(run, 400, rate=60.0))
    assert (now.runs[0].seconds_left, now.runs[0].is_least) == (10.0, True)
    assert (now.eta_seconds, now.slots, now.samples_per_second) == (10.0, 1, 60.0)


def test_finished_runs_of_the_arm_tell_how_long_evaluation_takes(tmp_path):
    finished, at_work = (planned(tmp_path, setting=name) for name in ("a", "b"))
    finish(finished, evaluate=4.0, analyze=1.0)
    row = status(finished, working(at_work, 400, rate=60.0)).runs[1]
    assert (row.seconds_left, row.is_least) == (15.0, False)


def test_another_arm_tells_nothing_about_a_run(tmp_path):
    finished, new = planned(tmp_path, "a", arm="small"), planned(tmp_path, "b", arm="large")
    finish(finished)
    now = status(finished, new)
    assert now.runs[1].seconds_left is None
    assert now.slot_seconds_left is None


def test_a_study_ends_when_its_slots_have_done_all(tmp_path):
    finished, one, two, new = (planned(tmp_path, setting=name) for name in "abcd")
    finish(finished, rate=50.0, seconds=20.0, evaluate=4.0, analyze=1.0)
    working(one, 500, rate=50.0)  # 10 + 5 seconds left
    working(two, 900, rate=50.0)  # 2 + 5 seconds left
    now = status(finished, one, two, new)  # 20 + 5 seconds
    assert [row.eta_seconds for row in now.runs] == [None, 15.0, 7.0, 32.0]
    assert (now.eta_seconds, now.slot_seconds_left, now.slots) == (32.0, 47.0, 2)


def test_a_run_and_those_that_take_over_its_weights_are_one_piece_of_work(tmp_path):
    finished, first = (planned(tmp_path, setting=name) for name in "ab")
    finish(finished)
    other = replace(planned(tmp_path, setting="c"), twin=first)
    now = status(finished, working(first, 500, rate=50.0), other)
    assert (now.slots, now.eta_seconds) == (1, 20.0)


def test_a_study_that_nobody_works_on_has_no_end_but_work_left(tmp_path):
    finished, new = (planned(tmp_path, setting=name) for name in "ab")
    finish(finished)
    now = status(finished, new)
    assert (now.eta_seconds, now.slot_seconds_left, now.slots) == (None, 25.0, 0)


def test_failed_runs_are_not_waited_for(tmp_path):
    failed, at_work = (planned(tmp_path, setting=name) for name in "ab")
    begin(failed)
    failed.failure.write_text("broken")
    now = status(failed, working(at_work, 500, rate=50.0))
    assert (now.eta_seconds, now.is_over) == (10.0, False)


def test_a_done_study_is_over(run):
    finish(run)
    now = status(run)
    assert (now.is_over, now.eta_seconds, now.slot_seconds_left) == (True, 0.0, 0.0)


def test_every_state_is_counted(tmp_path):
    runs = [planned(tmp_path, setting=name) for name in "abcdefg"]
    done, running, interrupted, failed, queued, stale, _ = runs
    finish(done)
    begin(interrupted)
    begin(failed)
    failed.failure.write_text("broken")
    finish(stale)
    (stale.folder / "DONE").write_text("another key")
    with held(running.folder / "lock"), announced(tmp_path, [queued.name]):
        counts = status(*runs).counts
    assert set(counts.values()) == {1}
    assert len(counts) == 7


def test_the_content_has_every_column_of_every_run(tmp_path):
    runs = [planned(tmp_path, setting=name) for name in "ab"]
    working(runs[0], 500)
    content = json.loads(json.dumps(status(*runs).content()))
    keys = {field.name for field in fields(RunStatus)}
    assert [set(row) for row in content["runs"]] == [keys, keys]
    assert content["study"] == tmp_path.name
    assert content["runs"][1]["loss"] is None


def test_no_table_is_opened(tmp_path, monkeypatch):
    runs = [planned(tmp_path, setting=name) for name in "ab"]
    finish(runs[0])
    opened, really_open = [], Path.open
    monkeypatch.setattr(
        Path, "open", lambda p, *a, **k: opened.append(p) or really_open(p, *a, **k)
    )
    status(*runs)
    assert opened
    assert not [path for path in opened if path.suffix in (".parquet", ".safetensors")]
