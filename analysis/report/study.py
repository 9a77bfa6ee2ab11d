"""What a study's folder holds, as tables; what is missing or damaged is named, and not fatal."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from gen.runs import Target

RUN_COLUMNS = {"run": pl.String, "setting": pl.String, "seed": pl.Int64}
EVALUATION = {
    "draw": pl.Int64,
    "split": pl.String,
    "domain": pl.String,
    "classes": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "lo": pl.Float64,
    "hi": pl.Float64,
    "n": pl.Int64,
    "n_classes": pl.Int64,
    "chance": pl.Float64,
}
PREDICTIONS = {
    "id": pl.String,
    "split": pl.String,
    "domain": pl.String,
    "class_name": pl.String,
    "label": pl.Int64,
    "top5": pl.List(pl.Int64),
}
SIMILARITY = {
    "site": pl.String,
    "depth": pl.Int64,
    "domain_a": pl.String,
    "domain_b": pl.String,
    "measure": pl.String,
    "value": pl.Float64,
    "lo": pl.Float64,
    "hi": pl.Float64,
    "n": pl.Int64,
    "chance": pl.Float64,
    "ceiling": pl.Float64,
}
METRICS = {
    "step": pl.Int64,
    "samples_seen": pl.Int64,
    "loss": pl.Float64,
    "loss_floor": pl.Float64,
}
Schema = dict[str, Any]
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,  # a line that is JSON, but no object
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
)
REMEDIES = {
    "predictions.parquet": "`clipgen evaluate STUDY --run …` makes it again",
    "evaluation.parquet": "`clipgen evaluate STUDY --run …` makes it again",
    "analysis/similarity.parquet": "`clipgen analyze STUDY --run …` makes it again",
    "metrics.jsonl": "it was written while training and cannot be made again",
}
MANIFEST_KEYS = ("domains", "classes", "realised")


@dataclass(frozen=True)
class PlannedRun:
    """A run that a study expects.

    Attributes:
        mixtures: name of the mixture's folder in `mixtures/`, by what the run is tested on;
            several where their mixtures are the same.
        results_key: what the run's DONE must hold to count; anything where empty.
        mixture_sha256: what its mixtures' manifests must say; anything where empty.
    """

    name: str
    setting: str
    seed: int
    mixtures: dict[Target, str]
    results_key: str = ""
    mixture_sha256: str = ""

    @property
    def test_domains(self) -> list[str]:
        """The test domains that the run serves."""
        return list(dict.fromkeys(target.test_domain for target in self.mixtures))

    @property
    def draws(self) -> list[int]:
        """The draws of held-out classes that the run serves."""
        return sorted({target.draw for target in self.mixtures})


@dataclass(frozen=True)
class StudyPlan:
    """Everything about a study that is known before any run.

    Attributes:
        settings: all of them in their order; one may apply to some test domains only.
        draws: held-out classes of every draw.
        tests: split → domain → classes that have test images there.
        runs: between them the grid of (setting, test domain, draw, seed).
        dataset_seconds: how long the dataset took to build.
    """

    name: str
    dataset: str
    natural: str
    test_domains: tuple[str, ...]
    settings: tuple[str, ...]
    seeds: tuple[int, ...]
    draws: tuple[tuple[str, ...], ...]
    classes: tuple[str, ...]
    domains: tuple[str, ...]
    tests: dict[str, dict[str, frozenset[str]]]
    runs: tuple[PlannedRun, ...]
    dataset_seconds: float | None = None

    @property
    def splits(self) -> tuple[str, ...]:
        """The test splits that the dataset has."""
        return tuple(self.tests)

    @property
    def is_replicated(self) -> bool:
        """Whether anything but the test samples tells how numbers vary."""
        return len(self.draws) > 1 or len(self.seeds) > 1

    @property
    def grid(self) -> set[tuple[str, Target]]:
        """Every setting with what it is tested on."""
        return {(run.setting, target) for run in self.runs for target in run.mixtures}

    def is_tested(self, split: str, domain: str, classes: Collection[str]) -> bool:
        """Whether any of these classes has test images of a split in a domain."""
        return not self.tests.get(split, {}).get(domain, frozenset()).isdisjoint(classes)

    def class_set(self, name: str, draw: int) -> frozenset[str]:
        """The `held_out` or `seen` classes of a draw."""
        held_out = frozenset(self.draws[draw])
        return held_out if name == "held_out" else frozenset(self.classes) - held_out


@dataclass(frozen=True)
class StudyResults:
    """A study's plan and what its folder holds.

    Attributes:
        runs: one row per planned run: `run`, `setting`, `seed` and `state` (`done`, `running`
            (begun), `failed` or `missing`).
        evaluation, predictions, metrics, similarity: the tables of docs/formats.md with `run`,
            `setting` and `seed`; those of finished runs, but `metrics` of all. `predictions` has
            `correct` instead of `top5`, and only what comparisons are made of: classes that some
            draw holds out, in domains that are tested.
        mixtures: manifest by name of the mixture's folder.
        records: run.json by run.
        problems: what is damaged or absent although it should be there, one sentence each.
        wall_seconds: from the first start to the last finish; None where nothing finished.
    """

    plan: StudyPlan
    runs: pl.DataFrame
    evaluation: pl.DataFrame
    predictions: pl.DataFrame
    metrics: pl.DataFrame
    similarity: pl.DataFrame
    mixtures: dict[str, dict[str, Any]]
    records: dict[str, dict[str, Any]]
    problems: tuple[str, ...]
    wall_seconds: float | None


def load_results(plan: StudyPlan, folder: Path) -> StudyResults:
    """Read a study's folder; never fails because of what is or is not in it."""
    problems: list[str] = []
    states = {run.name: _state(run, folder / run.name) for run in plan.runs}
    done = [run for run in plan.runs if states[run.name] == "done"]
    begun = [run for run in plan.runs if states[run.name] != "missing"]

    def collect(runs: list[PlannedRun], name: str, schema: Schema, read: Callable) -> pl.DataFrame:
        return _collect(folder, runs, name, schema, read, problems)

    compared = pl.col("domain").is_in(plan.test_domains) & pl.col("class_name").is_in(
        sorted({name for held_out in plan.draws for name in held_out})
    )

    def read_compared(path: Path, schema: Schema) -> pl.DataFrame:
        return _read_parquet(path, schema, compared)

    predictions = collect(done, "predictions.parquet", PREDICTIONS, read_compared)
    records = {
        run.name: record
        for run in begun
        if (record := _read_json(folder / run.name / "run.json", problems)) is not None
    }
    return StudyResults(
        plan=plan,
        runs=_run_table(plan, states),
        evaluation=collect(done, "evaluation.parquet", EVALUATION, _read_parquet),
        predictions=predictions.with_columns(
            correct=pl.col("top5").list.first() == pl.col("label")
        ).drop("top5"),
        metrics=collect(begun, "metrics.jsonl", METRICS, _read_lines),
        similarity=collect(done, "analysis/similarity.parquet", SIMILARITY, _read_parquet),
        mixtures=_read_manifests(plan, folder, problems),
        records=records,
        problems=tuple(problems),
        wall_seconds=_wall_seconds(folder, done, records),
    )


def _state(run: PlannedRun, folder: Path) -> str:
    marker = folder / "DONE"
    if marker.is_file() and (not run.results_key or marker.read_text() == run.results_key):
        return "done"
    if (folder / "FAILED").is_file():
        return "failed"
    return "running" if (folder / "run.json").is_file() else "missing"


def _run_table(plan: StudyPlan, states: dict[str, str]) -> pl.DataFrame:
    rows = [
        {
            "run": run.name,
            "setting": run.setting,
            "seed": run.seed,
            "state": states[run.name],
        }
        for run in plan.runs
    ]
    return pl.DataFrame(rows, schema=RUN_COLUMNS | {"state": pl.String})


def _collect(
    folder: Path,
    runs: list[PlannedRun],
    name: str,
    schema: Schema,
    read: Callable[[Path, Schema], pl.DataFrame],
    problems: list[str],
) -> pl.DataFrame:
    """One table of all runs that have it, with the columns that name the run in front."""
    parts = [pl.DataFrame(schema=RUN_COLUMNS | schema)]
    for run in runs:
        path = folder / run.name / name
        if not path.is_file():
            problems.append(f"{run.name}/{name} is not there")
            continue
        try:
            table = read(path, schema)
        except UNREADABLE as error:
            reason = str(error).strip().split("\n")[0][:120]
            problems.append(f"{run.name}/{name} cannot be read ({reason}); {REMEDIES[name]}")
            continue
        named = {"run": run.name, "setting": run.setting, "seed": run.seed}
        columns = [pl.lit(value, dtype=RUN_COLUMNS[key]).alias(key) for key, value in named.items()]
        parts.append(table.select(*columns, *schema))
    return pl.concat(parts)


def _read_parquet(path: Path, schema: Schema, rows: pl.Expr | None = None) -> pl.DataFrame:
    table = pl.scan_parquet(path, glob=False).select(*schema)
    wanted = table if rows is None else table.filter(rows)
    return wanted.cast(schema).collect()  # type: ignore[arg-type]


def _read_lines(path: Path, schema: Schema) -> pl.DataFrame:
    """The lines of a JSONL file; a torn last line is what a killed writer leaves, and no damage."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines[:-1]]
    with suppress(ValueError):
        rows += [json.loads(line) for line in lines[-1:]]
    return pl.DataFrame([{key: row.get(key) for key in schema} for row in rows], schema=schema)


def _read_json(path: Path, problems: list[str]) -> dict[str, Any] | None:
    label = f"{path.parent.name}/{path.name}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(f"{label} is not there")
        return None
    except (OSError, ValueError) as error:
        problems.append(f"{label} cannot be read ({error})")
        return None
    if not isinstance(content, dict):
        problems.append(f"{label} holds no JSON object")
        return None
    return content


def _read_manifests(
    plan: StudyPlan, folder: Path, problems: list[str]
) -> dict[str, dict[str, Any]]:
    """Manifest of every mixture, once for all seeds."""
    wanted = {name: run.mixture_sha256 for run in plan.runs for name in run.mixtures.values()}
    manifests = {}
    for name, sha256 in wanted.items():
        manifest = _read_json(folder / "mixtures" / name / "manifest.json", problems)
        if manifest is None:
            continue
        lacking = [word for word in MANIFEST_KEYS if word not in manifest]
        if lacking:
            problems.append(f"{name}/manifest.json lacks {', '.join(lacking)}")
        elif sha256 and manifest["sha256"] != sha256:
            problems.append(f"{name}/manifest.json is that of another mixture than the runs'")
        else:
            manifests[name] = manifest
    return manifests


def _wall_seconds(
    folder: Path, done: list[PlannedRun], records: dict[str, dict[str, Any]]
) -> float | None:
    starts = [start for run in done if (start := _started(records.get(run.name, {}))) is not None]
    if not starts:
        return None
    finish = max((folder / run.name / "DONE").stat().st_mtime for run in done)
    return finish - min(starts) if finish >= min(starts) else None


def _started(record: dict[str, Any]) -> float | None:
    try:
        return datetime.fromisoformat(str(record.get("started"))).timestamp()
    except ValueError:
        return None
