"""A changed configuration marks exactly those runs stale whose weights or results depend on it."""

from __future__ import annotations

import pytest
from planted_datasets import plant
from planted_runs import finish

from gen.sweep.states import State, standings
from gen.sweep.study import load_study

SEEDS = "seeds=[0,1]"
NATURAL = {"natural_only"}
SHOWING_SKETCH = {"cg_low_diversity", "cg_high_diversity"}
ALL = {*NATURAL, *SHOWING_SKETCH, "leave_out_domain"}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """The debug study of two seeds, all done."""
    folder = tmp_path_factory.mktemp("workplace")
    plant(folder / "data", "icons-debug")
    for run in load(folder, SEEDS).runs:
        finish(run)
    return folder


def load(folder, *overrides, data="data"):
    return load_study("debug", overrides, data=folder / data, runs=folder / "runs")


def settings(folder, state, *overrides, **where):
    """The settings of the runs in a state, with the reasons."""
    study = load(folder, *overrides, **where)
    found, _ = standings(study)
    chosen = [run for run in study.runs if found[run.name].state is state]
    return {run.setting for run in chosen}, {found[run.name].reason for run in chosen}


def test_an_unchanged_study_is_done(workplace):
    found, strangers = standings(load(workplace, SEEDS))
    assert {standing.state for standing in found.values()} == {State.done}
    assert strangers == ()


@pytest.mark.parametrize(
    "harmless", ["training.log_every=7", "training.compile=never", "resources.cpus=2"]
)
def test_what_decides_no_weights_makes_nothing_stale(workplace, harmless):
    assert settings(workplace, State.done, SEEDS, harmless)[0] == ALL


def test_a_changed_training_makes_every_run_stale(workplace):
    found, reasons = settings(workplace, State.stale, SEEDS, "training.learning_rate=0.002")
    assert (found, reasons) == (ALL, {"training.learning_rate 0.001 → 0.002"})


def test_a_changed_model_makes_every_run_stale(workplace):
    found, reasons = settings(workplace, State.stale, SEEDS, "model=vit-tiny")
    assert found == ALL
    assert "model.vision.kind resnet → vit" in reasons.pop()


def test_a_further_seed_makes_nothing_stale(workplace):
    study = load(workplace, "seeds=[0,1,2]")
    found, strangers = standings(study)
    states = {(run.seed, found[run.name].state) for run in study.runs}
    assert states == {(0, State.done), (1, State.done), (2, State.new)}
    assert strangers == ()


def test_runs_of_a_seed_that_is_planned_no_more_are_strangers(workplace):
    study = load(workplace, "seeds=[0]")
    found, strangers = standings(study)
    assert {standing.state for standing in found.values()} == {State.done}
    assert len(strangers) == len(ALL)
    assert all("-s1-" in name for name in strangers)


def test_other_held_out_classes_change_mixtures_and_evaluations(workplace):
    held_out = (SEEDS, "held_out.seed=1")
    study = load(workplace, *held_out)
    found, _ = standings(study)
    assert {standing.state for standing in found.values()} == {State.stale}
    for run in study.runs:
        reason = found[run.name].reason
        if run.setting in SHOWING_SKETCH:
            assert reason.startswith("mixture_sha256 ")
        else:  # the same samples, tested for other classes
            assert "other held-out classes" in reason


def test_other_prompts_leave_the_weights(workplace):
    study = load(workplace, SEEDS, "evaluation.prompts=[single]")
    found, _ = standings(study)
    assert {standing.state for standing in found.values()} == {State.stale}
    assert all(run.trained for run in study.runs)


def test_another_dataset_makes_every_run_stale(workplace, tmp_path, monkeypatch):
    monkeypatch.setattr("planted_datasets.SPLITS", ("train", "test"))
    plant(tmp_path / "data", "icons-debug")
    found, reasons = settings(workplace, State.stale, SEEDS, data=tmp_path / "data")
    assert found == ALL
    assert all(reason.startswith("mixture_sha256 ") for reason in reasons)
