"""How fast runs go, what is left to do, and when it will be done."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from planted_runs import finish, planned, train

from gen.schema import PretrainedConfig
from gen.sweep.pace import Left, Pace, arm_of, finish_times, pace_of, training_rate, work_left

RECORD = {"samples_seen": 1000, "samples_per_second": 50.0}
PACE = Pace(samples_per_second=100.0, evaluate=4.0, analyze=1.0)


@pytest.fixture
def run(tmp_path):
    return planned(tmp_path)


def test_a_rate_counts_the_time_around_the_steps():
    assert training_rate(RECORD | {"seconds": {"train": 25.0}}) == 40.0


def test_a_rate_is_not_that_of_seconds_that_a_kill_has_lost():
    assert training_rate(RECORD | {"seconds": {"train": 5.0}}) == 50.0


def test_an_unfinished_training_has_no_rate():
    assert training_rate({"seconds": {"train": 5.0}}) is None


def test_the_pace_of_an_arm_is_the_median_over_its_runs():
    spent = [{"train": 20.0, "evaluate": seconds, "analyze": 1.0} for seconds in (2.0, 3.0, 90.0)]
    records = [RECORD | {"seconds": each, "evaluated": "k", "analyzed": "k"} for each in spent]
    assert pace_of(records) == Pace(50.0, 3.0, 1.0)


def test_seconds_of_a_stage_that_failed_are_no_measurement():
    record = RECORD | {"seconds": {"train": 20.0, "evaluate": 0.1}, "evaluated": ""}
    assert pace_of([record]) == Pace(50.0, None, None)


def test_all_of_a_new_run_is_left(run):
    assert work_left(run, PACE, 0, {}) == Left(15.0)


def test_what_an_interrupted_run_has_seen_is_not_left(run):
    assert work_left(run, PACE, 400, {}) == Left(11.0)


def test_a_trained_run_has_its_tests_left(run):
    train(run)
    assert work_left(run, PACE, 1000, {}) == Left(5.0)


def test_a_stage_that_somebody_is_at_counts_for_its_rest(run):
    train(run)
    assert work_left(run, PACE, 1000, {"evaluate": 3.0}) == Left(2.0)
    assert work_left(run, PACE, 1000, {"evaluate": 9.0}) == Left(1.0)


def test_nothing_is_left_of_tables_that_count(run):
    finish(run)
    assert work_left(run, PACE, 1000, {}) == Left(0.0)


def test_a_run_that_takes_over_weights_has_no_training_left(run):
    other = replace(planned(run.folder.parent, setting="other"), twin=run)
    assert work_left(other, PACE, 0, {}) == Left(5.0)


def test_an_unknown_rate_leaves_an_unknown_time(run):
    assert work_left(run, Pace(), 0, {}) == Left(None)


def test_an_unknown_evaluation_makes_it_a_least_time(run):
    assert work_left(run, Pace(samples_per_second=100.0), 0, {}) == Left(10.0, is_least=True)


def test_every_pretrained_model_has_a_pace_of_its_own(run):
    model = replace(run, setting="pretrained-b32", pretrained=PretrainedConfig("x", "y"))
    assert arm_of(model) == "pretrained-b32"


def test_who_gets_free_takes_the_next():
    assert finish_times([], [3, 1, 1, 4], slots=2) == [3, 1, 2, 6]


def test_what_waits_begins_where_work_ends_first():
    assert finish_times([5, 2], [4], slots=2) == [5, 2, 6]
    assert finish_times([5], [4], slots=2) == [5, 4]


@given(st.lists(st.integers(0, 50), max_size=12), st.integers(1, 4))
def test_the_end_lies_between_perfect_sharing_and_one_after_the_other(lengths, slots):
    end = max(finish_times([], lengths, slots), default=0)
    assert max([sum(lengths) / slots, *lengths]) <= end <= sum(lengths)
