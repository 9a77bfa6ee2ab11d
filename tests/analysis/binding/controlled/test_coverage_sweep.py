"""A sweep does what is missing and no more, and a condition that breaks hinders no other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from analysis.binding.approximators import LADDER
from analysis.binding.controlled import coverage_sweep
from analysis.binding.controlled.condition import Condition, conditions
from analysis.binding.controlled.coverage_sweep import finish_condition, left, run_conditions
from analysis.binding.controlled.results import (
    function_table,
    load,
    load_embedded,
    score_table,
)
from gen.cli import main
from gen.config import load_config
from gen.schema import ControlledTraining, Variant
from splits.errors import UserError

TINY = ControlledTraining(steps=2, batch=16, width=8, layers=1, heads=2)
DONE = Condition(Variant.symbols, (4, 4), 0.6, 0.0, 0, 0, TINY)
OPEN = Condition(Variant.symbols, (4, 4), 0.6, 0.0, 1, 1, TINY)
BROKEN = Condition(Variant.symbols, (4, 4), 0.99, 0.0, 0, 0, TINY)
CPU = torch.device("cpu")

pytestmark = pytest.mark.usefixtures("few_steps")


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    finish_condition(DONE, tmp_path, CPU)
    assert left([DONE, OPEN, OPEN], tmp_path) == [OPEN]
    assert list(tmp_path.glob(".*")) == []


def test_a_condition_that_broke_off_before_its_scores_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr("analysis.binding.controlled.results.write_json", full)
    with pytest.raises(OSError, match="no room"):
        finish_condition(DONE, tmp_path, CPU)
    assert left([DONE], tmp_path) == [DONE]


def test_results_come_back_as_they_were(tmp_path: Path) -> None:
    finish_condition(DONE, tmp_path, CPU)
    result, embedded = load(tmp_path, DONE), load_embedded(tmp_path, DONE)
    assert result.condition == DONE
    assert [loss["step"] for loss in result.losses] == [0, 1]
    assert len(embedded.texts) == len(embedded.scenes) == len(embedded.images)
    np.testing.assert_allclose(np.linalg.norm(embedded.images, axis=1), 1, atol=1e-5)
    table = score_table([("symbols", result)])
    assert table.height == 24
    assert table.filter(pl.col("value").is_null() & pl.col("reason").is_null()).is_empty()
    functions = function_table([("symbols", result)])
    assert set(functions.select("grid", "key", "side", "fraction", "split_seed").rows()) == {
        ("symbols", DONE.key, "images", 0.7, 0)
    }
    classes = functions.select("class", "width").unique(maintain_order=True).rows()
    assert classes == [(one.kind, one.width) for one in LADDER]
    assert set(functions["part"]) == {"train", "unseen", "mixed"}
    assert functions.filter(pl.col("value").is_null() != pl.col("reason").is_not_null()).is_empty()
    probed = functions.filter(kind="object", bank="full", part="unseen")
    assert (probed["ceiling"].count(), probed["bag_best"].unique().to_list()) == (5, [0.5])


def test_the_same_condition_gives_the_same_scores(tmp_path: Path) -> None:
    finish_condition(DONE, tmp_path / "a", CPU)
    torch.manual_seed(99)
    finish_condition(DONE, tmp_path / "b", CPU)
    assert load(tmp_path / "a", DONE).scores == load(tmp_path / "b", DONE).scores


def test_a_training_that_diverges_has_no_scores_but_an_error(tmp_path: Path) -> None:
    wild = replace(DONE, training=replace(DONE.training, learning_rate=1e38))
    with pytest.raises(UserError, match="no finite number"):
        finish_condition(wild, tmp_path, CPU)
    assert left([wild], tmp_path) == [wild]


def test_a_loss_that_is_no_number_names_its_step_and_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: object) -> dict[str, torch.Tensor]:
        return {"scenes": torch.tensor(float("nan"), requires_grad=True)}

    monkeypatch.setattr("analysis.binding.controlled.models.SymbolModel.loss", lost)
    with pytest.raises(UserError, match=r"no finite number in step 0 .scenes is nan.") as told:
        finish_condition(DONE, tmp_path, CPU)
    assert "a learning rate below" in str(told.value)


def test_weights_that_the_last_step_breaks_are_no_model(tmp_path: Path) -> None:
    last = replace(DONE, training=replace(DONE.training, steps=1, learning_rate=float("inf")))
    with pytest.raises(UserError, match="weights are no finite numbers after the last step"):
        finish_condition(last, tmp_path, CPU)
    assert left([last], tmp_path) == [last]


@pytest.mark.slow
def test_a_condition_that_breaks_is_told_and_hinders_no_other(tmp_path: Path) -> None:
    told: list[str] = []
    broken = run_conditions([BROKEN, OPEN], tmp_path, CPU, 1, told.append)
    assert broken == [BROKEN]
    assert "every value of a concept" in told[0]
    assert left([BROKEN, OPEN], tmp_path) == [BROKEN]


@pytest.mark.slow
def test_a_killed_process_is_told_and_another_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, is_killed = coverage_sweep._Worker.start, []

    def started(worker: coverage_sweep._Worker, condition: Condition) -> None:
        start(worker, condition)
        if not is_killed:
            is_killed.append(True)
            worker.process.kill()

    monkeypatch.setattr(coverage_sweep._Worker, "start", started)
    told: list[str] = []
    assert run_conditions([DONE, OPEN], tmp_path, CPU, 1, told.append) == [DONE]
    assert "code -9" in told[0]
    assert left([DONE, OPEN], tmp_path) == [DONE]


def test_a_dry_run_times_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coverage_sweep, "TIMED_STEPS", 2)
    assert main(["coverage", "debug", "--dry-run", "--runs", str(tmp_path)]) == 0
    assert "3 models, 0 done" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_the_command_goes_on_where_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(todo: list[Condition], folder: Path, device: torch.device, *_: object) -> list:
        for condition in todo:
            finish_condition(condition, folder, device)
        return []

    monkeypatch.setattr(coverage_sweep, "run_conditions", here)
    arguments = ["coverage", "debug", "--runs", str(tmp_path)]
    assert main(arguments) == 0
    assert "3 done, 3 of them now" in capsys.readouterr().out
    assert main(arguments) == 0
    assert "3 done, 0 of them now" in capsys.readouterr().out
    folder = tmp_path / "coverage" / "debug"
    assert pl.read_parquet(folder / "scores.parquet")["key"].n_unique() == 3
    grids = conditions(load_config("coverage", "debug"))
    shown = [load_embedded(folder, one) for one in grids["pictures"]]
    assert all(len(one.single_texts) == one.space.objects for one in shown)
