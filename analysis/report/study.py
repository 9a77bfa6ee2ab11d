"""What a study's folder holds, as tables; what is missing or damaged is named, and not fatal."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import polars as pl

from analysis.report.schemas import (
    ANALYSES,
    BINDING_MODELS,
    CAUSE_DEPARTURES,
    CAUSE_QUANTITIES,
    CELLS,
    CIRCUIT_MEASURES,
    METRICS,
    MODALITY_MEASURES,
    PREDICTIONS,
    PROBES,
    RUN_COLUMNS,
    Schema,
)
from analysis.report.states import (
    Marker,
    mixed_tables,
    read_marker,
    run_states,
    strangers,
)
from analysis.report.study_files import (
    UNREADABLE,
    collect,
    read_lines,
    read_manifests,
    read_parquet,
    read_record,
)
from analysis.report.study_plan import PlannedRun, StudyPlan
from analysis.report.text_files import read_text_tables
from gen.evaluation.score import EVALUATION
from gen.runs import ANALYSES as TABLES_OF_KIND
from gen.schema import AnalysisKind

HEADLINE_METRIC = "balanced_top1"
CONTROLLED_FILE = "models.parquet"


@dataclass(frozen=True)
class StudyResults:
    """A study's plan and what its folder holds.

    Attributes:
        runs: one row per planned run: `run`, `setting`, `seed`, `state` (`states.py` has all of
            them) and the `reason` for it (empty: none).
        evaluation, predictions, cells, probes, metrics: the tables of docs/formats.md with `run`,
            `setting` and `seed`; those of finished runs, but `metrics` of all that are begun and
            not stale. `predictions` are those of the final weights with the headline's prompts,
            in the test domains of their run, of classes that some draw holds out unless all were
            asked for; they have `correct` instead of `top5`. The seed of a probe is `probe_seed`.
        text_robustness, text_probes: in the same way, the former in the run's test domains.
        analyses: the tables of the study's analyses in the same way, by name; those that the
            study does not ask for are empty. Similarity at milestones is that of the primary
            measure on seen classes.
        controlled: a row per model of the plan's coverage sweep (`schemas.BINDING_MODELS`).
        mixtures: manifest by name of the mixture's folder.
        records: run.json by run, of all that are begun and not stale.
        problems: what is damaged or absent although it should be there, one sentence each.
        strangers: folders of runs that the plan does not know.
        wall_seconds: from the first start to the last finish; None where nothing finished.
    """

    plan: StudyPlan
    runs: pl.DataFrame
    evaluation: pl.DataFrame
    predictions: pl.DataFrame
    cells: pl.DataFrame
    probes: pl.DataFrame
    text_robustness: pl.DataFrame
    text_probes: pl.DataFrame
    metrics: pl.DataFrame
    analyses: dict[str, pl.DataFrame]
    controlled: pl.DataFrame
    mixtures: dict[str, dict[str, Any]]
    records: dict[str, dict[str, Any]]
    problems: tuple[str, ...]
    strangers: tuple[str, ...]
    wall_seconds: float | None

    @cached_property
    def headline_scores(self) -> pl.DataFrame:
        """Rows of `evaluation` of the final weights, the first prompt set, balanced accuracy."""
        return headline_rows(self.plan, self.evaluation)


def headline_rows(plan: StudyPlan, evaluation: pl.DataFrame) -> pl.DataFrame:
    """Rows of the final weights, the headline's prompts and metric."""
    return evaluation.filter(
        "final", pl.col("prompts") == plan.prompts[0], pl.col("metric") == HEADLINE_METRIC
    )


def load_results(plan: StudyPlan, folder: Path, *, every_class: bool = False) -> StudyResults:
    """Read a study's folder; never fails because of what is or is not in it.

    Args:
        plan: what the study expects.
        folder: of the study.
        every_class: whether `predictions` have all classes, not only those that a draw holds out.
    """
    problems: list[str] = []
    markers = {run.name: read_marker(folder / run.name / "DONE") for run in plan.runs}
    records = _read_records(folder, markers, problems)
    others = strangers(plan, folder)
    states = run_states(plan, folder, records, markers, others)
    done = [run for run in plan.runs if states[run.name][0] == "done"]
    tables = _read_tables(plan, folder, done, every_class, problems)
    headlines = headline_rows(plan, tables["evaluation"])
    predictions, cells = tables["predictions"], tables["cells"]
    mixed = mixed_tables(plan, records, predictions, headlines, cells)
    states |= {name: ("stale", reason) for name, reason in mixed.items()}
    if mixed:
        tables = _without(tables, mixed)
    counted = {name: r for name, r in records.items() if states[name][0] != "stale"}
    logged = _named(_logged(plan, folder, states))
    return StudyResults(
        plan=plan,
        runs=_run_table(plan, states),
        **{name: table for name, table in tables.items() if name not in ANALYSES},
        analyses={name: tables[name] for name in ANALYSES},
        controlled=_read_controlled(plan, folder, problems),
        metrics=collect(folder, logged, "metrics.jsonl", METRICS, read_lines, problems),
        mixtures=read_manifests(folder / "mixtures", _wanted_mixtures(plan), problems),
        records=counted,
        problems=tuple(problems),
        strangers=others,
        wall_seconds=_wall_seconds(
            {run.name: markers[run.name] for run in done if run.name not in mixed}, records
        ),
    )


def controlled_path(plan: StudyPlan, folder: Path) -> Path:
    """The table of the models of a plan's coverage sweep, which is in the same folder of results.

    Args:
        plan: that names the sweep.
        folder: of the study.
    """
    return folder.parent / "coverage" / plan.coverage / CONTROLLED_FILE


def _read_controlled(plan: StudyPlan, folder: Path, problems: list[str]) -> pl.DataFrame:
    """The models of the plan's coverage sweep; no rows where it was not run."""
    path = controlled_path(plan, folder)
    if plan.coverage and path.is_file():
        try:
            return read_parquet(path, BINDING_MODELS)
        except UNREADABLE as error:
            again = f"clipgen coverage {plan.coverage} writes it again"
            problems.append(f"{path} cannot be read ({str(error)[:120]}); {again}")
    return pl.DataFrame(schema=BINDING_MODELS)


def _without(tables: dict[str, pl.DataFrame], runs: Collection[str]) -> dict[str, pl.DataFrame]:
    whole = ~pl.col("run").is_in(list(runs))
    return {name: table.filter(whole) for name, table in tables.items()}


def _wanted_mixtures(plan: StudyPlan) -> dict[str, tuple[str, str]]:
    """Hash and test domain by name of the mixture's folder."""
    return {
        name: (run.mixture_sha256, target.test_domain)
        for run in plan.runs
        for target, name in run.mixtures.items()
        if name
    }


def _read_records(
    folder: Path, markers: Mapping[str, Marker | None], problems: list[str]
) -> dict[str, dict[str, Any]]:
    """run.json of every run that is begun."""
    paths = {name: folder / name / "run.json" for name in markers}
    begun = {name: path for name, path in paths.items() if path.is_file() or markers[name]}
    found = {name: read_record(path, problems) for name, path in begun.items()}
    return {name: record for name, record in found.items() if record is not None}


def _logged(
    plan: StudyPlan, folder: Path, states: Mapping[str, tuple[str, str]]
) -> list[PlannedRun]:
    """Trained runs that have a log, or should have one; none that are stale."""
    return [
        run
        for run in plan.runs
        if not run.is_pretrained
        and (state := states[run.name][0]) != "stale"
        and (state == "done" or (folder / run.name / "metrics.jsonl").is_file())
    ]


def _read_tables(
    plan: StudyPlan,
    folder: Path,
    runs: list[PlannedRun],
    every_class: bool,
    problems: list[str],
) -> dict[str, pl.DataFrame]:
    """The tables of finished runs that stand under their own names in `StudyResults`."""
    named = _named(runs)
    compared = pl.col("final") & (pl.col("prompts") == plan.prompts[0])
    if not every_class:
        names = sorted({name for held_out in plan.draws for name in held_out})
        compared &= pl.col("class_name").is_in(names)
    right = pl.col("top5").list.first() == pl.col("label")
    test_domains = {run.name: run.test_domains for run in runs}

    def read_compared(path: Path, schema: Schema) -> pl.DataFrame:
        here = pl.col("domain").is_in(test_domains[path.parent.name])
        return read_parquet(path, schema, compared & here, correct=right)

    def read(name: str, schema: Schema, reader: Callable = read_parquet) -> pl.DataFrame:
        return collect(folder, named, f"{name}.parquet", schema, reader, problems)

    return {
        "predictions": read("predictions", PREDICTIONS, read_compared),
        "evaluation": read("evaluation", EVALUATION),
        "cells": read("cells", CELLS),
        **read_text_tables(plan, folder, runs, problems),
        **_read_analyses(plan, folder, named, problems),
    }


def _read_analyses(
    plan: StudyPlan, folder: Path, runs: list[dict[str, Any]], problems: list[str]
) -> dict[str, pl.DataFrame]:
    """The tables below `analysis/` of finished runs; what the study does not ask for is empty."""
    asked = {name for kind in plan.analyses for name in TABLES_OF_KIND[AnalysisKind(kind)]}
    asked |= {"probes"} if plan.probes else set()
    rows = {
        "similarity": _followed(plan),
        "circuit_sharing": _compared(CIRCUIT_MEASURES),
        "modality_sharing": _compared(MODALITY_MEASURES),
        "causes": _told(),
    }
    readers = {name: partial(read_parquet, rows=those) for name, those in rows.items()}

    def read(name: str, schema: Schema) -> pl.DataFrame:
        path, reader = f"analysis/{name}.parquet", readers.get(name, read_parquet)
        return collect(folder, runs if name in asked else [], path, schema, reader, problems)

    return {name: read(name, schema) for name, schema in (ANALYSES | {"probes": PROBES}).items()}


def _followed(plan: StudyPlan) -> pl.Expr:
    """Rows of similarity.parquet that a report has a use for: of milestones, most have none."""
    is_primary = (pl.col("measure") == plan.primary[1]) & (pl.col("classes") == "seen")
    return pl.col("final") | is_primary


def _compared(measures: Collection[str]) -> pl.Expr:
    """Rows of a table of sharing that a report has a use for: its measures, split classes."""
    return pl.col("measure").is_in(measures) & (pl.col("classes") != "all")


def _told() -> pl.Expr:
    """Rows of causes.parquet that a report has a use for: most are of pairs that it averages."""
    is_answer = pl.col("quantity").is_in(CAUSE_QUANTITIES) & (pl.col("classes") != "all")
    is_real = pl.col("control") == ""
    return is_answer | (pl.col("quantity").is_in(CAUSE_DEPARTURES) & is_real)


def _named(runs: list[PlannedRun]) -> list[dict[str, Any]]:
    """The values of RUN_COLUMNS of every run."""
    return [{"run": run.name, "setting": run.setting, "seed": run.seed} for run in runs]


def _run_table(plan: StudyPlan, states: dict[str, tuple[str, str]]) -> pl.DataFrame:
    rows = [
        named | {"state": states[named["run"]][0], "reason": states[named["run"]][1]}
        for named in _named(list(plan.runs))
    ]
    return pl.DataFrame(rows, schema=RUN_COLUMNS | {"state": pl.String, "reason": pl.String})


def _wall_seconds(
    done: Mapping[str, Marker | None], records: dict[str, dict[str, Any]]
) -> float | None:
    starts = [start for name in done if (start := _started(records.get(name, {}))) is not None]
    if not starts:
        return None
    finish = max(marker.written for marker in done.values() if marker)
    return finish - min(starts) if finish >= min(starts) else None


def _started(record: dict[str, Any]) -> float | None:
    try:
        return datetime.fromisoformat(str(record.get("started"))).timestamp()
    except (ValueError, OverflowError):
        return None
