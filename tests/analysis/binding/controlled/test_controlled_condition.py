"""What a condition is called, and which ones a grid holds."""

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.binding.controlled.condition import Condition, conditions
from gen.cli import main
from gen.config import load_config
from gen.schema import ControlledTraining, Variant
from splits.errors import UserError

ONE = Condition(Variant.symbols, (8, 8), 0.5, 0.0, 0, 0, ControlledTraining())


def test_equal_conditions_have_one_name() -> None:
    assert ONE.key == replace(ONE, training=ControlledTraining()).key


@pytest.mark.parametrize(
    "other",
    [
        replace(ONE, variant=Variant.pictures),
        replace(ONE, sizes=(8, 9)),
        replace(ONE, coverage=0.51),
        replace(ONE, swap_share=0.5),
        replace(ONE, seed=1),
        replace(ONE, split_seed=1),
        replace(ONE, training=ControlledTraining(leak=True)),
        replace(ONE, training=ControlledTraining(steps=1501)),
    ],
)
def test_every_field_changes_the_name(other: Condition) -> None:
    assert other.key != ONE.key


def test_a_grid_is_every_combination_and_each_seed_draws_its_own_objects() -> None:
    config = load_config("coverage", "small")
    config.grids["pictures"].swap_shares = [0.0, 0.5]
    grid = conditions(config)["pictures"]
    assert len(grid) == 4 * 2 * 3
    assert {(one.seed, one.split_seed) for one in grid} == {(0, 0), (1, 1), (2, 2)}
    config.grids["pictures"].split_seeds = [5, 6]
    assert {one.split_seed for one in conditions(config)["pictures"]} == {5, 6}


@pytest.mark.parametrize("name", ["small", "debug", "gpu"])
def test_the_shipped_grids_are_valid(name: str) -> None:
    assert all(conditions(load_config("coverage", name)).values())


@pytest.mark.parametrize(
    "setting",
    [
        "grids.symbols.swap_shares=[1.5]",
        "grids.symbols.training.single_share=0.7 grids.symbols.swap_shares=[0.5]",
        "grids.symbols.training.heads=3",
        "grids.symbols.training.steps=0",
    ],
)
def test_settings_without_meaning_are_refused_before_any_training(setting: str) -> None:
    with pytest.raises(UserError, match=r"share|heads|steps|swapped"):
        conditions(load_config("coverage", "debug", setting.split()))


@pytest.mark.parametrize(
    ("setting", "found"),
    [
        ("coverages=[.nan]", "a coverage of nan"),
        ("coverages=[0.6,.inf]", "a coverage of inf"),
        ("coverages=[1]", "a coverage of 1"),
        ("coverages=[0.6,0.2]", "a coverage of 0.2 shows 3 of 16 objects"),
        ("sizes=[8]", "concepts of 8 values"),
        ("sizes=[8,1]", "concepts of 8, 1 values"),
        ("seeds=[-1]", "a seed of -1"),
        ("split_seeds=[0,-2]", "a seed of -2"),
        ("swap_shares=[.nan]", "a share of nan"),
        ("training.learning_rate=-1", "training.learning_rate is -1"),
        ("training.learning_rate=.nan", "training.learning_rate is nan"),
        ("training.weight_decay=-1", "training.weight_decay is -1"),
        ("training.warmup=.inf", "training.warmup is inf"),
    ],
)
def test_numbers_out_of_range_end_the_command_without_a_traceback(
    setting: str, found: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    sweep = ["coverage", "debug", f"grids.symbols.{setting}", "--runs", str(tmp_path)]
    for command in (sweep, [*sweep, "--dry-run"]):
        assert main(command) == 2
        told = capsys.readouterr().err
        assert found in told
        assert "grids.symbols" in told
