"""From nothing to the report by the command line, with real rendering and real training."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import polars as pl
from workplace import Workplace

from gen.sweep.study import load_study


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
    assert "4" in page
    assert "cg_high_diversity" in page
    assert "src=" not in page.replace('src="data:', "")


def test_a_second_sweep_has_nothing_to_do(finished: Workplace) -> None:
    before = _times(finished.study)
    finished.clipgen("dataset", "build", "icons-debug")
    finished.clipgen("sweep", "debug")
    assert _times(finished.study) == before


def test_status_and_dry_run_tell_that_all_is_done(finished: Workplace) -> None:
    assert finished.clipgen("sweep", "debug", "--dry-run").count("done") == 4
    rows = json.loads(finished.clipgen("status", "debug", "--json"))
    assert [row["state"] for row in rows] == ["done"] * 4


def test_changed_held_out_classes_are_evaluated_again(finished: Workplace) -> None:
    again = finished.clipgen("sweep", "debug", "held_out.seed=1", "--dry-run")
    assert "done" not in again


def test_killed_at_any_stage_it_goes_on_and_ends_with_the_same_bits(
    finished: Workplace, tmp_path: Path
) -> None:
    workplace = Workplace(tmp_path)
    building = tmp_path / "data" / ".icons-debug.building" / "rows"
    _kill_when(workplace, ["dataset", "build", "icons-debug"], lambda: any(building.glob("*.pa*")))
    workplace.clipgen("dataset", "build", "icons-debug")
    sweep = ["sweep", "debug", "--slots", "2"]
    _kill_when(workplace, sweep, lambda: any(workplace.study.glob("*/checkpoints/state-*.pt")))
    _kill_when(workplace, sweep, lambda: any(workplace.study.glob("*/DONE")))
    trained = {path: path.stat().st_mtime_ns for path in workplace.study.glob("*/checkpoints/fin*")}
    assert trained
    workplace.clipgen(*sweep)
    assert {path: path.stat().st_mtime_ns for path in trained} == trained  # not done again
    assert _weights(workplace.study) == _weights(finished.study)


def _kill_when(workplace: Workplace, command: list[str], reached: Callable[[], bool]) -> None:
    """Start a command; when it has come so far, kill it and all that it started."""
    process = workplace.start(*command)
    deadline = time.monotonic() + 200
    while not reached():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _weights(study: Path) -> dict[str, str]:
    paths = sorted(study.glob("*/checkpoints/final.safetensors"))
    return {path.parts[-3]: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _times(study: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in study.glob("*/*") if path.name != "lock"}
