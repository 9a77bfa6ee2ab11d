"""What is left to do of a study, what is tried again, and what is given up."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fake_runs import fake_study, put

from gen.locks import claim
from gen.sweep.attempts import Outcome, failures_in_a_row, note_end, note_start
from gen.sweep.work import (
    complain,
    forget_failures,
    give_up,
    is_open,
    is_taken,
    last_failure,
    may_be_tried,
    reason_of,
    samples_kept,
    unfinished,
    units,
)
from splits.errors import UserError


@pytest.fixture
def study(tmp_path):
    """A study of three runs, the last of which takes over the first one's weights."""
    study = fake_study(tmp_path, "a", "b", "c")
    first, second, third = study.runs
    study.runs = (first, second, replace(third, twin=first))
    return study


def fail(run, times=1):
    for _ in range(times):
        note_start(run.folder, 0)
        note_end(run.folder, Outcome.failed, "no luck")


def test_who_takes_over_weights_waits_for_them(study):
    first, second, third = study.runs
    assert [is_open(run) for run in study.runs] == [True, True, False]
    assert unfinished(study) == [first, second, third]
    put(first.final_weights)
    assert not is_open(third)  # what is to be told of them is not written yet
    put(first.folder / "run.json")
    assert is_open(third)
    put(first.folder / "DONE")
    assert not is_open(first)
    assert unfinished(study) == [second, third]


def test_who_takes_over_weights_of_a_run_that_failed_waits_no_more(study):
    first, _, third = study.runs
    give_up(first, "no luck")
    assert not is_open(first)
    assert is_open(third)


def test_a_unit_is_a_run_and_those_that_take_over_its_weights(study):
    first, second, third = study.runs
    assert units(study.runs) == [[first, third], [second]]
    assert units([second, third]) == [[second], [third]]


def test_a_run_goes_on_from_its_newest_state_or_its_end(study):
    run = study.runs[0]
    assert samples_kept(run) == 0
    for seen in (64, 256):
        put(run.folder / "checkpoints" / f"state-{seen:012d}.safetensors")
    assert samples_kept(run) == 256
    put(run.final_weights)
    assert samples_kept(run) == 256  # one batch, which is more than the 100 samples asked for
    assert samples_kept(replace(run, pretrained=object())) == 0


def test_a_run_may_fail_as_often_as_it_is_tried_again(study):
    run = study.runs[0]
    for failures, may in [(0, True), (1, True), (2, True), (3, False)]:
        assert failures_in_a_row(run.folder) == failures
        assert may_be_tried(run, retries=2) == may
        fail(run)
    assert last_failure(run) == "no luck"


def test_a_run_that_takes_its_process_down_every_time_is_given_up(study):
    run = study.runs[0]
    for _ in range(3):
        assert may_be_tried(run, retries=2)
        note_start(run.folder, 0)
    assert not may_be_tried(run, retries=2)
    assert "killed 3 times in a row" in last_failure(run)


def test_a_new_sweep_forgets_failures_but_not_of_a_run_that_is_at_work(study):
    first, second, _ = study.runs
    for run in (first, second):
        fail(run)
        give_up(run, "no luck")
    with claim(second):
        assert is_taken(second)
        forget_failures(study)
    assert (failures_in_a_row(first.folder), first.failure.exists()) == (0, False)
    assert (failures_in_a_row(second.folder), second.failure.exists()) == (1, True)
    assert not study.runs[2].folder.exists()  # of a new run nothing is written


def test_the_reason_of_a_failure_is_its_first_line(study):
    run = study.runs[0]
    assert reason_of(run) == "not finished"
    give_up(run, "ValueError: no luck\n  where: here", "Traceback …")
    assert reason_of(run) == "ValueError: no luck"
    assert run.failure.read_text().endswith("Traceback …\n")


def test_a_study_that_is_not_done_is_complained_about_run_by_run(study):
    give_up(study.runs[0], "ValueError: no luck")
    put(study.runs[1].folder / "DONE")
    with pytest.raises(UserError) as caught:
        complain(study, ["slot-0.log: no module"])
    assert caught.value.found.splitlines() == [
        "2 of 3 runs are not finished",
        "    a: ValueError: no luck",
        "    c: not finished",
        "    slot-0.log: no module",
    ]
    for run in study.runs:
        put(run.folder / "DONE")
    complain(study)
