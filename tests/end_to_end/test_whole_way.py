"""From nothing to the report by the command line, with real rendering and real training.

KILLS tells how often a sweep is killed at random (6).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from PIL import Image
from workplace import Workplace

from gen import stages
from gen.sweep.study import load_study

KILLS = int(os.environ.get("KILLS", "6"))


def test_a_sweep_leaves_every_promised_file(finished: Workplace) -> None:
    runs = load_study(
        "debug", [], data=finished.folder / "data", runs=finished.folder / "runs"
    ).runs
    assert len(runs) == 4
    for run in runs:
        assert run.done
        record = json.loads((run.folder / "run.json").read_text())
        assert record["samples_seen"] == 2560
        assert set(record["seconds"]) == {"train", "evaluate", "analyze"}
        scores = pl.read_parquet(run.folder / "evaluation.parquet")
        assert scores["value"].is_between(scores["lo"], scores["hi"]).all()
        assert set(scores["classes"]) == {"held_out", "seen", "all"}
        similarity = pl.read_parquet(run.folder / "analysis" / "similarity.parquet")
        assert similarity["value"].is_finite().all()


def test_training_learns(finished: Workplace) -> None:
    for path in finished.study.glob("*/metrics.jsonl"):
        losses = [json.loads(line)["loss"] for line in path.read_text().splitlines()]
        assert losses[-1] < losses[0]


def test_the_report_shows_all_runs_and_asks_nobody_outside(finished: Workplace) -> None:
    page = (finished.study / "report" / "index.html").read_text(encoding="utf-8")
    assert "4 runs expected: 4 done" in page
    assert "CG high diversity" in page
    assert "src=" not in page.replace('src="data:', "")


def test_a_second_sweep_has_nothing_to_do(finished: Workplace) -> None:
    before = _times(finished.study)
    assert finished.clipgen("sweep", "debug").splitlines() == [
        "dataset icons-debug: as configured; nothing to do",
        "4 mixtures: as planned; nothing to do",
        "4 runs: done; nothing to do",
        "report: nothing that it is made of has changed: runs/debug/report/index.html",
    ]
    assert _times(finished.study) == before


def test_status_and_dry_run_tell_that_all_is_done(finished: Workplace) -> None:
    assert finished.clipgen("sweep", "debug", "--dry-run").count("done") == 4
    told = json.loads(finished.clipgen("status", "debug", "--json"))
    assert [row["state"] for row in told["runs"]] == ["done"] * 4


@pytest.mark.usefixtures("undrawn")
def test_a_damaged_record_is_told_and_stops_no_other_run(
    finished: Workplace, tmp_path: Path
) -> None:
    workplace = Workplace(tmp_path)
    shutil.copytree(finished.folder / "runs", tmp_path / "runs")
    (tmp_path / "data").symlink_to(finished.folder / "data")
    record = next(workplace.study.glob("natural_only*/run.json"))
    record.write_text(record.read_text()[:50])
    told = json.loads(workplace.clipgen("status", "debug", "--json"))
    assert sorted(row["state"] for row in told["runs"]) == ["done", "done", "done", "failed"]
    mixture = workplace.study / "mixtures" / "natural_only.sketch" / "mixture.parquet"
    mixture.write_bytes(mixture.read_bytes()[:-9])
    told = workplace.clipgen("sweep", "debug", "--slots", "1", code=2)
    assert "mixture natural_only.sketch on disk was not the planned one: written again" in told
    assert "run.json is damaged" in told
    assert "1 of 4 runs are not finished" in told


def test_the_dataset_is_shown_and_verified(finished: Workplace) -> None:
    assert "all as their hashes say" in finished.clipgen("dataset", "verify", "icons-debug")
    finished.clipgen("dataset", "show", "icons-debug", "--classes", "5")
    sheet = Image.open(finished.folder / "data" / "icons-debug" / "contact_sheet.png")
    assert sheet.width > 5 * 64
    assert sheet.height > 6 * 64


def test_the_mixtures_are_shown_with_their_counts(finished: Workplace) -> None:
    shown = finished.clipgen("split", "show", "debug")
    assert "cg_low_diversity, test domain sketch: 504 samples" in shown  # 12 x 24 + 9 x 24


def test_two_runs_are_compared_on_the_same_images(finished: Workplace) -> None:
    names = ["--run", "natural_only", "--with", "cg_high_diversity"]
    shown = finished.clipgen("compare", "debug", *names, "--to", "new/alike.csv").splitlines()
    table = pl.read_csv(finished.folder / "new" / "alike.csv")
    assert table.height == 6 * 6 * 3  # domains, sites, measures
    assert set(table["n"]) == {12 * 8}
    assert sum("layer2" in line for line in shown) == 6 * 3
    error = finished.clipgen("compare", "debug", "--run", "nothing", "--with", "natural", code=2)
    assert "nothing" in error


def test_changed_held_out_classes_are_evaluated_again(finished: Workplace) -> None:
    again = finished.clipgen("sweep", "debug", "held_out.seed=1", "--dry-run")
    assert "done" not in again


@pytest.mark.slow
def test_killed_at_any_stage_it_goes_on_and_ends_with_the_same_bits(
    finished: Workplace, tmp_path: Path
) -> None:
    workplace = Workplace(tmp_path)
    building = tmp_path / "data" / ".icons-debug.building" / "rows"
    _kill_when(workplace, ["dataset", "build", "icons-debug"], lambda: any(building.glob("*.pa*")))
    workplace.clipgen("dataset", "build", "icons-debug")
    sweep = ["sweep", "debug", "--slots", "2"]
    begun = workplace.study.glob
    _kill_when(workplace, sweep, lambda: any(begun("*/metrics.jsonl")), children_too=False)
    _kill_when(workplace, sweep, lambda: any(workplace.study.glob("*/DONE")))
    trained = {path: path.stat().st_mtime_ns for path in workplace.study.glob("*/checkpoints/fin*")}
    assert trained
    workplace.clipgen(*sweep)
    assert {path: path.stat().st_mtime_ns for path in trained} == trained  # not done again
    assert _weights(workplace.study) == _weights(finished.study)


def test_an_evaluation_broken_off_leaves_a_run_that_is_not_done(
    finished: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished.folder / "runs", tmp_path / "runs")
    study = load_study("debug", [], data=finished.folder / "data", runs=tmp_path / "runs")
    run = study.runs[0]
    assert run.done
    assert run.evaluated
    monkeypatch.setattr(stages, "evaluation_tables", lambda run, dataset, device: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stages.evaluate_run(run, study.dataset)
    assert not run.done
    assert not run.evaluated


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_with_the_same_bits(
    finished: Workplace, tmp_path: Path
) -> None:
    workplace, rng = Workplace(tmp_path), random.Random(0)
    workplace.clipgen("dataset", "build", "icons-debug")
    for _ in range(KILLS):
        process = workplace.start("sweep", "debug", "--slots", "2")
        time.sleep(rng.uniform(2, 25))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    workplace.clipgen("sweep", "debug", "--slots", "2")
    assert _weights(workplace.study) == _weights(finished.study)


def _kill_when(
    workplace: Workplace,
    command: list[str],
    reached: Callable[[], bool],
    *,
    children_too: bool = True,
) -> None:
    """Start a command; when it has come so far, kill it (children then have to end themselves)."""
    process = workplace.start(*command)
    deadline = time.monotonic() + 200
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    if children_too:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.communicate()


def _weights(study: Path) -> dict[str, str]:
    paths = sorted(study.glob("*/checkpoints/final.safetensors"))
    return {path.parts[-3]: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _times(study: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in study.glob("*/*") if path.name != "lock"}
