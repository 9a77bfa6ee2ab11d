"""What the rest of a study will cost, and where the numbers come from."""

from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace

import polars as pl
import pytest
from planted_runs import TRAINING, begin, finish, log, planned, study_of, train

from gen.schema import PretrainedConfig
from gen.sweep.estimates import costs_of
from gen.sweep.pace import Left, folder_bytes
from gen.sweep.states import standings

TEST_IMAGES = 600
"""a pass over them takes 2 seconds where training takes 100 samples in one"""


@pytest.fixture
def study(tmp_path):
    """The folder of a study, in the folder of all studies."""
    return tmp_path / "runs" / "s"


def costs(folder, *runs, slots=1, processes=1, measured=(100.0, 1000), device=lambda: "here"):
    study = study_of(folder, *runs)
    splits = ["train"] * 5 + ["test"] * TEST_IMAGES
    study.dataset = SimpleNamespace(samples=pl.DataFrame({"split": splits}))
    rate, weight_bytes = measured
    answer = SimpleNamespace(samples_per_second=rate, weight_bytes=weight_bytes, how="measured")
    return costs_of(
        study,
        standings(study)[0],
        slots,
        device=device,
        processes=processes,
        measure=lambda run: answer,
    )


def test_finished_runs_of_the_arm_are_asked_first(study):
    done, new = (planned(study, setting=name) for name in "ab")
    finish(done, rate=50.0, seconds=20.0, evaluate=4.0, analyze=1.0)
    found = costs(study, done, new)
    assert found.runs[new.name].left == Left(25.0)
    assert found.runs[new.name].bytes == folder_bytes(done)
    assert (found.sources, found.seconds) == ({"": "1 trained run of this study"}, 25.0)


def test_nothing_is_left_of_a_done_run(study):
    done = planned(study)
    finish(done)
    found = costs(study, done)
    assert (found.seconds, found.bytes, found.sources) == (0.0, 0, {})


def test_then_runs_of_the_same_model_on_the_same_device_are_asked(study):
    other = planned(study.parent / "other", setting="x")
    finish(other, rate=200.0, seconds=5.0)
    found = costs(study, planned(study))
    # 1000 samples at 200 per second; two passes over 600 images at 600
    assert found.runs[planned(study).name].left == Left(5.0 + 2 * 1.0)
    assert found.sources[""].startswith("1 run of the same model on here; evaluation")


@pytest.mark.parametrize("differs", ["device", "processes", "model"])
def test_runs_of_another_model_or_device_tell_nothing(study, differs):
    other = planned(study.parent / "other", setting="x")
    if differs == "model":
        other = replace(other, pixels=64)
    finish(other)
    changes = {
        "device": {"device": lambda: "elsewhere"},
        "processes": {"processes": 2},
        "model": {},
    }
    found = costs(study, planned(study), **changes[differs])
    assert found.sources[""].startswith("measured")


def test_for_unknown_machines_any_device_tells_something(study):
    finish(planned(study.parent / "other", setting="x"), rate=200.0, seconds=5.0)
    found = costs(study, planned(study), device=None)
    assert found.sources[""].startswith("1 run of the same model on here")


def test_else_a_few_steps_are_measured_and_tests_are_guessed(study):
    new = planned(study, training=replace(TRAINING, milestones=3))
    found = costs(study, new)
    # 1000 samples at 100 per second; 4 checkpoints and the analyses, 600 images at 300
    assert found.runs[new.name].left == Left(10.0 + 5 * 2.0)
    assert "guessed at 3 times the rate of training" in found.sources[""]


def test_processes_that_share_a_run_are_taken_to_add_up(study):
    found = costs(study, planned(study), processes=4)
    assert found.runs[planned(study).name].left == Left(2.5 + 2 * 0.5)
    assert "times 4 processes" in found.sources[""]


def test_every_arm_is_measured_once(study):
    runs = [planned(study, arm=arm, seed=seed) for arm in ("small", "large") for seed in (0, 1)]
    assert set(costs(study, *runs).sources) == {"small", "large"}


def test_a_model_that_fits_no_memory_takes_an_unknown_time(study):
    found = costs(study, planned(study), measured=(None, 1000))
    assert (found.seconds, found.slot_seconds) == (None, None)


def test_nothing_is_known_of_a_pretrained_model_before_its_first_run(study):
    source = {"pretrained": PretrainedConfig("x", "y"), "setting": "pretrained-x"}
    found = costs(study, replace(planned(study), mixtures={}, **source))
    assert found.is_least
    assert found.sources == {"pretrained-x": "nothing is known before a first run of it"}


def test_a_run_keeps_weights_milestones_two_states_and_predictions(study):
    new = planned(study, training=replace(TRAINING, milestones=3))
    predictions = (4 + 3) * TEST_IMAGES * 30  # four prompt sets, three milestones
    found = costs(study, new, measured=(100.0, 1_000_000))
    assert found.bytes == (1 + 3 + 2 * 3) * 1_000_000 + predictions


def test_what_is_on_the_disk_is_not_written_again(study):
    done, begun = (planned(study, setting=name) for name in "ab")
    finish(done)
    begin(begun)
    log(begun, 500)
    found = costs(study, done, begun)
    assert found.bytes == folder_bytes(done) - folder_bytes(begun)
    assert found.seconds == 15.0


def test_a_run_that_takes_over_weights_writes_predictions_only(study):
    new = planned(study, setting="b")
    twin = replace(planned(study, setting="c"), twin=new)
    predictions = 4 * TEST_IMAGES * 30
    assert costs(study, new, twin).runs[twin.name].bytes == predictions
    finish(new)
    (new.folder / "predictions.parquet").write_text("p" * 5000)
    begin(twin)
    before = folder_bytes(twin)
    twin.final_weights.parent.mkdir()
    os.link(new.final_weights, twin.final_weights)
    assert folder_bytes(twin) == before  # the weights take no room
    assert costs(study, new, twin).runs[twin.name].bytes == predictions - before


def test_a_file_that_goes_while_sizes_are_summed_up_counts_nothing(study):
    run = planned(study)
    finish(run)
    whole = folder_bytes(run)
    (run.folder / "log.txt").symlink_to("nowhere")  # listed, and not there
    assert folder_bytes(run) == whole


def test_slots_share_the_work(study):
    done, *new = (planned(study, setting=name) for name in "abcd")
    finish(done)  # 25 seconds
    found = costs(study, done, *new, slots=2)
    assert (found.seconds, found.slot_seconds) == (50.0, 75.0)


def test_a_run_that_takes_over_weights_costs_its_tests(study):
    done, new = (planned(study, setting=name) for name in "ab")
    finish(done)
    twin = replace(planned(study, setting="c"), twin=new)
    found = costs(study, done, new, twin, slots=2)
    assert found.runs[twin.name].left == Left(5.0)
    assert found.seconds == 30.0  # one after the other, whatever slots there are


def test_a_trained_run_whose_results_are_stale_costs_its_tests(study):
    run = planned(study)
    train(run)
    assert costs(study, run).runs[run.name].left == Left(0.0, is_least=True)
    finish(run)
    (run.folder / "evaluation.parquet").unlink()
    assert costs(study, run).runs[run.name].left == Left(4.0)
