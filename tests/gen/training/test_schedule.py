"""A run has as many whole batches as reach its samples; its learning rate rises, then falls."""

from __future__ import annotations

from itertools import pairwise

import pytest

from gen.schema import Schedule, TrainingConfig
from gen.training.schedule import learning_rate, total_samples, total_steps, warmup_steps


def config(samples=1000, warmup=0.1, schedule=Schedule.cosine):
    return TrainingConfig(
        samples_seen=samples, batch_size=10, learning_rate=0.5, warmup=warmup, schedule=schedule
    )


def rates(settings):
    return [learning_rate(step, settings) for step in range(total_steps(settings))]


@pytest.mark.parametrize(("samples", "steps"), [(1, 1), (10, 1), (11, 2), (1000, 100)])
def test_the_last_batch_is_whole(samples, steps):
    assert total_steps(config(samples)) == steps
    assert total_samples(config(samples)) == 10 * steps


def test_the_rate_rises_in_equal_steps_to_its_peak_and_then_only_falls():
    found = rates(config())
    assert found[:10] == pytest.approx([0.05 * step for step in range(1, 11)])
    assert found[10] == max(found) == 0.5
    assert all(later < earlier for earlier, later in pairwise(found[10:]))


def test_the_rate_falls_as_a_cosine():
    found = rates(config())
    assert found[55] == pytest.approx(0.25)  # half-way between step 10 and step 100
    assert found[10 + 30] == pytest.approx(0.5 * 0.75)  # a third: (1 + cos 60°) / 2
    assert 0 < found[-1] < 0.001


def test_a_constant_rate_stays_after_its_warm_up():
    found = rates(config(schedule=Schedule.constant))
    assert found[:10] == pytest.approx([0.05 * step for step in range(1, 11)])
    assert set(found[10:]) == {0.5}


@pytest.mark.parametrize("schedule", Schedule)
@pytest.mark.parametrize("warmup", [0, 0.5, 1])
@pytest.mark.parametrize("samples", [5, 20, 30, 1000])
def test_the_rate_is_positive_and_reaches_its_peak_in_runs_of_any_length(samples, warmup, schedule):
    found = rates(config(samples, warmup, schedule))
    assert min(found) > 0
    assert max(found) == pytest.approx(0.5)


def test_without_warm_up_the_rate_falls_from_the_first_step_on():
    assert [warmup_steps(config(1000, warmup)) for warmup in (0, 0.004, 0.1, 1)] == [0, 0, 10, 100]
    found = rates(config(warmup=0))
    assert found[0] == 0.5 > found[1]


@pytest.mark.parametrize("warmup", [0, 0.004, 0.01, 0.3, 1])
def test_every_step_has_the_rate_that_open_clip_gives_it(warmup):
    scheduler = pytest.importorskip("open_clip_train.scheduler")
    reference = {Schedule.cosine: scheduler.cosine_lr, Schedule.constant: scheduler.const_lr}
    for schedule, make in reference.items():
        settings = config(1000, warmup, schedule)
        optimizer = type("Optimizer", (), {"param_groups": []})()
        theirs = make(optimizer, 0.5, warmup_steps(settings), total_steps(settings))
        assert rates(settings) == pytest.approx([theirs(step) for step in range(100)], rel=1e-15)
