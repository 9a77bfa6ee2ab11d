"""The numbers of a report: results → tables. What is missing is null, never zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import polars as pl

from analysis.report.study import HEADLINE_METRIC, StudyResults
from gen.runs import Target

CLASS_SETS = ("held_out", "seen")
METRIC = HEADLINE_METRIC
STAGES = ("train", "evaluate", "analyze")


def headline(results: StudyResults) -> pl.DataFrame:
    """Accuracy in the test domain, by setting, draw, seed, split and class set.

    Columns: `test_domain`, `setting`, `draw`, `seed`, `split`, `classes` (`held_out` or `seen`),
    `run`, `value`, `lo`, `hi`, `n`, `n_classes`, `chance`. Every planned row that the dataset has
    test images for is there.
    """
    plan = results.plan
    keys = ["test_domain", "draw", "split", "classes"]
    targets = product(plan.test_domains, range(len(plan.draws)), plan.splits, CLASS_SETS)
    tested = [
        (domain, draw, split, classes)
        for domain, draw, split, classes in targets
        if plan.is_tested(split, domain, plan.class_set(classes, draw))
    ]
    schema = {key: pl.Int64 if key == "draw" else pl.String for key in keys}
    expected = served(results).join(
        pl.DataFrame(tested, schema=schema, orient="row"),
        on=["test_domain", "draw"],
        how="inner",
        maintain_order="left_right",
    )
    scores = results.headline_scores.drop(
        "setting", "seed", "metric", "samples_seen", "final", "prompts"
    )
    joined = expected.drop("mixture").join(
        scores.rename({"domain": "test_domain"}),
        on=["run", *keys],
        how="left",
        maintain_order="left",
    )
    first = ["test_domain", "setting", "draw", "seed", "split", "classes", "run"]
    return joined.select(*first, pl.exclude(*first))


def served(results: StudyResults) -> pl.DataFrame:
    """The grid: which run answers for which (test domain, setting, draw, seed), in its order.

    Columns: `test_domain`, `setting`, `draw`, `seed`, `run`, `mixture` (name of its folder; empty
    for a pretrained model). What a setting does not apply to has no row.
    """
    plan = results.plan
    rows = [
        (*target, run.setting, run.seed, run.name, mixture)
        for run in plan.runs
        for target, mixture in run.mixtures.items()
    ]
    schema = {
        **{"test_domain": pl.String, "draw": pl.Int64, "setting": pl.String, "seed": pl.Int64},
        **{"run": pl.String, "mixture": pl.String},
    }
    order = {"test_domain": plan.test_domains, "setting": plan.settings}
    ranks = [pl.col(key).cast(pl.Enum(values)).to_physical() for key, values in order.items()]
    table = pl.DataFrame(rows, schema=schema, orient="row").sort(*ranks, "draw", "seed")
    return table.select("test_domain", "setting", "draw", "seed", "run", "mixture")


def mixtures(results: StudyResults) -> pl.DataFrame:
    """Every (test domain, setting, draw) of the grid that has a `mixture`, in the grid's order."""
    trained = served(results).filter(pl.col("mixture") != "")
    return trained.drop("seed", "run").unique(maintain_order=True)


def unknown_exposures(results: StudyResults) -> pl.DataFrame:
    """`test_domain` and `setting` of pretrained models: nobody knows what they were shown."""
    pretrained = served(results).filter(mixture="").select("test_domain", "setting")
    return pretrained.unique(maintain_order=True)


def all_domains(results: StudyResults) -> pl.DataFrame:
    """Accuracy of every run in every domain, by the draws that the run serves and by class set.

    Columns: `run`, `setting`, `seed`, `draw`, `split`, `domain`, `classes` (`held_out`, `seen` or
    `all`), `value`, `lo`, `hi`, `n`. Every planned row that the dataset has test images for is
    there.
    """
    plan = results.plan
    tested = [
        (draw, split, domain, classes)
        for draw, split, domain, classes in product(
            range(len(plan.draws)), plan.splits, plan.domains, (*CLASS_SETS, "all")
        )
        if plan.is_tested(split, domain, plan.class_set(classes, draw))
    ]
    schema = {"draw": pl.Int64, **dict.fromkeys(["split", "domain", "classes"], pl.String)}
    served_draws = [(run.name, run.setting, run.seed, n) for run in plan.runs for n in run.draws]
    runs = {"run": pl.String, "setting": pl.String, "seed": pl.Int64, "draw": pl.Int64}
    expected = pl.DataFrame(served_draws, schema=runs, orient="row").join(
        pl.DataFrame(tested, schema=schema, orient="row"), on="draw", maintain_order="left_right"
    )
    keys = ["run", *schema]
    scores = results.headline_scores.select(*keys, "value", "lo", "hi", "n")
    return expected.join(scores, on=keys, how="left", maintain_order="left")


def exposure_counts(results: StudyResults) -> pl.DataFrame:
    """Training samples of every (domain, class) cell of every mixture.

    Columns: `test_domain`, `setting`, `draw`, `domain`, `class_name`, `held_out` (is the class, in
    that draw), `samples`.
    """
    schema = {
        **{"test_domain": pl.String, "setting": pl.String, "draw": pl.Int64, "domain": pl.String},
        **{"class_name": pl.String, "held_out": pl.Boolean, "samples": pl.Int64},
    }
    return pl.DataFrame(list(_cells(results)), schema=schema, orient="row")


def _cells(results: StudyResults) -> Iterator[tuple]:
    for test_domain, setting, draw, mixture in mixtures(results).iter_rows():
        manifest = results.mixtures.get(mixture)
        if manifest is None:
            continue
        held_out = set(results.plan.draws[draw])
        for domain, row in zip(manifest["domains"], manifest["realised"], strict=True):
            for name, count in zip(manifest["classes"], row, strict=True):
                yield test_domain, setting, draw, domain, name, name in held_out, count


def cost(results: StudyResults) -> pl.DataFrame:
    """What every run took: state, seconds per stage, samples seen, samples per second.

    Columns: `run`, `setting`, `seed`, `state`, `trained` (whether it is trained here),
    `same_weights_as` (the run whose training it takes over, if any), `train_seconds`,
    `evaluate_seconds`, `analyze_seconds`, `samples_seen`, `samples_per_second`.
    """
    rows = []
    planned = {run.name: run for run in results.plan.runs}
    for run in results.runs.iter_rows(named=True):
        record = results.records.get(run["run"], {})
        twin = planned[run["run"]].twin or None
        seconds = dict(record.get("seconds", {})) | ({"train": None} if twin else {})
        rows.append(
            {key: run[key] for key in ("run", "setting", "seed", "state")}
            | {"trained": not planned[run["run"]].is_pretrained, "same_weights_as": twin}
            | {f"{stage}_seconds": _float(seconds.get(stage)) for stage in STAGES}
            | {
                "samples_seen": record.get("samples_seen"),
                "samples_per_second": _float(record.get("samples_per_second")),
            }
        )
    types: dict[str, Any] = dict.fromkeys(
        ["samples_per_second", *(f"{stage}_seconds" for stage in STAGES)], pl.Float64
    )
    types |= {"samples_seen": pl.Int64, "same_weights_as": pl.String}
    return pl.DataFrame(rows, schema_overrides=types, infer_schema_length=None)


def equal_compute(table: pl.DataFrame) -> bool | None:
    """Whether all trained runs of `cost` saw as many samples; None where fewer than two tell."""
    seen = table.filter("trained")["samples_seen"].drop_nulls()
    return None if len(seen) < 2 else seen.n_unique() == 1


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def missing_runs(results: StudyResults, settings: Sequence[str], target: Target) -> list[str]:
    """Runs of these settings for a target that are not finished."""
    states = dict(results.runs.select("run", "state").iter_rows())
    runs = served(results).filter(pl.col("setting").is_in(settings), **target._asdict())
    return [run for run in runs["run"] if states[run] != "done"]
