"""How far every run of a study is, and whether its results are those of the study as it is now.

A run is `done`, `stale` (it has results, of another configuration, other weights or another run),
`failed`, `running` (a process holds it), `interrupted` (begun, and nobody holds it) or `new`.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from omegaconf import OmegaConf

from analysis.report.study_files import read_record
from gen.locks import lock_is_held
from gen.runs import ATTEMPTS, cell_of, sha256_of
from splits.errors import UserError
from splits.files import first_line

if TYPE_CHECKING:
    from analysis.report.study_plan import PlannedRun, StudyPlan

ROUNDING = 1e-9
LETTERS = 160
"""of a run's error that are told"""


@dataclass(frozen=True)
class Marker:
    """A run's DONE: what it holds, and when it was written (Unix seconds)."""

    text: str
    written: float


def read_marker(path: Path) -> Marker | None:
    """A run's DONE, of one moment; None where there is none. A run that begins anew deletes it."""
    try:
        with path.open("rb") as file:
            text = file.read().decode("utf-8", errors="replace")
            return Marker(text, os.fstat(file.fileno()).st_mtime)
    except OSError:
        return None


def run_states(
    plan: StudyPlan,
    folder: Path,
    records: Mapping[str, dict[str, Any]],
    markers: Mapping[str, Marker | None],
    others: Collection[str],
) -> dict[str, tuple[str, str]]:
    """State of every run and the reason for it, as far as small files tell.

    Args:
        plan: of the study.
        folder: of the study.
        records: run.json by run, of those that have a readable one.
        markers: DONE by run.
        others: folders of runs that are not planned.
    """
    former = {cell_of(name): name for name in others}
    return {
        name: run_state(
            run, folder / name, records.get(name, {}), markers[name], former.get(cell_of(name), "")
        )
        for name, run in ((run.name, run) for run in plan.runs)
    }


def run_state(
    run: PlannedRun, folder: Path, record: dict[str, Any], marker: Marker | None, former: str = ""
) -> tuple[str, str]:
    """State of a run and the reason for it, as far as its small files tell.

    Args:
        run: as the study plans it.
        folder: of the run.
        record: content of its run.json; empty where that is absent or damaged.
        marker: its DONE.
        former: name of a run that was planned in its place before something changed, if any.
    """
    if reason := _mismatch(run, folder, record):
        return "stale", reason
    if marker is not None:
        if run.results_key and marker.text != run.results_key:
            return "stale", "evaluated for other held-out classes or with other prompts or probes"
        return "done", ""
    if _is_held(folder):
        return "running", ""
    if (folder / "FAILED").is_file():
        return "failed", first_line(folder / "FAILED")[:LETTERS]
    if (folder / "run.json").is_file() or (folder / ATTEMPTS).is_file():
        return "interrupted", ""
    if former:
        return "stale", f"not begun; its configuration or mixture was another one: {former}"
    return "new", ""


def _is_held(folder: Path) -> bool:
    with suppress(OSError, UserError):  # of a folder that cannot be read, or knows no locks
        return lock_is_held(folder / "lock")
    return False


def _mismatch(run: PlannedRun, folder: Path, record: dict[str, Any]) -> str:
    """What in a folder is not of the planned run; empty where all fits."""
    name = record.get("run")
    if name is not None and name != run.name:
        return f"its run.json is that of {name}"
    mixture = record.get("mixture_sha256")
    if run.mixture_sha256 and mixture is not None and mixture != run.mixture_sha256:
        return "trained on another mixture than the study's"
    if run.twin and _has_former_weights(run, folder, record):
        return f"{run.twin}, whose weights it has, was trained anew"
    if not run.is_pretrained and (folder / "config.yaml").is_file():
        return _other_config(run, folder / "config.yaml")
    return ""


def _has_former_weights(run: PlannedRun, folder: Path, record: dict[str, Any]) -> bool:
    """Whether a run took over weights of its twin that this one has no more."""
    ours = record.get("checkpoint")
    theirs = (read_record(folder.with_name(run.twin) / "run.json", []) or {}).get("checkpoint")
    return bool(ours and theirs and ours != theirs)


def _other_config(run: PlannedRun, path: Path) -> str:
    """Whether a run's name ends in the hash of its configuration, as it must."""
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except Exception:  # the YAML reader raises its own kinds; all mean "not YAML"
        return "its config.yaml cannot be read"
    if not sha256_of(content).startswith(run.name.rpartition("-")[2]):
        return "its config.yaml is that of another run"
    return ""


def mixed_tables(
    plan: StudyPlan,
    records: dict[str, dict[str, Any]],
    predictions: pl.DataFrame,
    evaluation: pl.DataFrame,
    cells: pl.DataFrame,
) -> dict[str, str]:
    """Runs whose tables are not of the same weights, each with the reason.

    Args:
        plan: of the study.
        records: run.json by run.
        predictions: of all runs, with `checkpoint` and `correct`.
        evaluation: headline scores of all runs.
        cells: of all runs.
    """
    found: dict[str, str] = {}
    weights = predictions.group_by("run", maintain_order=True).agg(pl.col("checkpoint").unique())
    for run, hashes in weights.iter_rows():
        expected = records.get(run, {}).get("checkpoint")
        if len(hashes) > 1:
            found[run] = "its predictions are of several weights"
        elif expected is not None and hashes[0] != expected:
            found[run] = "its predictions are of other weights than the run's"
    rates = predictions.group_by("run", "split", "domain", "class_name").agg(
        rate=pl.col("correct").mean(), right=pl.col("correct").sum(), count=pl.len()
    )
    for run in _disagreeing_scores(plan, rates, evaluation):
        found.setdefault(run, "its evaluation.parquet is not that of its predictions.parquet")
    for run in _disagreeing_cells(rates, cells):
        found.setdefault(run, "its cells.parquet is not that of its predictions.parquet")
    return found


def _disagreeing_scores(
    plan: StudyPlan, rates: pl.DataFrame, evaluation: pl.DataFrame
) -> Collection[str]:
    """Runs whose scores on held-out classes are not those that their predictions give."""
    members = pl.DataFrame(
        [(draw, name) for draw, held_out in enumerate(plan.draws) for name in held_out],
        schema={"draw": pl.Int64, "class_name": pl.String},
        orient="row",
    )
    keys = ["run", "split", "domain", "draw"]
    given = (
        rates.join(members, on="class_name")
        .group_by(keys)
        .agg(rate=pl.col("rate").mean(), count=pl.col("count").sum())
    )
    both = evaluation.filter(classes="held_out").join(given, on=keys)
    differ = ((pl.col("value") - pl.col("rate")).abs() > ROUNDING) | (
        pl.col("n") != pl.col("count")
    )
    return both.filter(differ)["run"].unique(maintain_order=True).to_list()


def _disagreeing_cells(rates: pl.DataFrame, cells: pl.DataFrame) -> Collection[str]:
    both = cells.join(rates, on=["run", "split", "domain", "class_name"])
    differ = (pl.col("right") != pl.col("correct")) | (pl.col("count") != pl.col("n"))
    return both.filter(differ)["run"].unique(maintain_order=True).to_list()


def strangers(plan: StudyPlan, folder: Path) -> tuple[str, ...]:
    """Run folders in a study's folder that the study does not know, by name."""
    known = {run.name for run in plan.runs} | plan.siblings
    found = folder.glob("*/run.json") if folder.is_dir() else ()
    return tuple(sorted(path.parent.name for path in found if path.parent.name not in known))
