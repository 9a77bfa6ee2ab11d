"""Effective robustness of a study's runs: their scores beside a line through natural-only runs.

Both accuracies are on the held-out classes, new instances: without shift in the natural domain,
under shift in the test domain.
"""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from analysis.report.study import StudyResults
from analysis.report.study_plan import StudyPlan
from analysis.report.tables import METRIC, served
from analysis.report.trajectory_tables import trajectories
from analysis.robustness import Baseline, effective_robustness, fit_baseline
from analysis.statistics import Refused
from gen.runs import Target

SPLIT, BASELINE = "test", "natural_only"
TRANSFORMS = ("logit", "probit")
PLACE = ["test_domain", "draw"]
NO_SCORES = "the run has no scores"
RHO = {
    "test_domain": pl.String,
    "setting": pl.String,
    "draw": pl.Int64,
    "seed": pl.Int64,
    "run": pl.String,
    **dict.fromkeys(["accuracy_id", "accuracy_ood", "expected"], pl.Float64),
    **dict.fromkeys(["value", "lo", "hi", "value_probit"], pl.Float64),
    **dict.fromkeys(["n_id", "n_ood", "n_classes"], pl.Int64),
    "reason": pl.String,
}
LINES = {
    "test_domain": pl.String,
    "draw": pl.Int64,
    "transform": pl.String,
    **dict.fromkeys(["slope", "intercept", "lowest", "highest", "r_squared"], pl.Float64),
    **dict.fromkeys(["points", "models"], pl.Int64),
    "reason": pl.String,
}
Fits = dict[tuple[Target, str], Baseline | Refused]


def is_baseline() -> pl.Expr:
    """Whether a setting shows the natural domain alone: `natural_only` or a variant of it."""
    return pl.col("setting").str.split("-").list.first() == BASELINE


def accuracy_pairs(results: StudyResults) -> pl.DataFrame:
    """Accuracies without and under shift of every run at every moment that has both.

    Columns: `test_domain`, `setting`, `draw`, `seed`, `run`, `samples_seen`, `final`,
    `accuracy_id`, `id_lo`, `id_hi`, `n_id` (natural domain), `accuracy_ood`, `ood_lo`, `ood_hi`,
    `n_ood` (test domain), `n_classes`; intervals over test samples. Targets whose held-out classes
    are not all tested in both domains are not there: `untestable` names them.
    """
    moment = ["run", "draw", "samples_seen", "final"]
    under = trajectories(results).filter(classes="held_out").drop_nulls("value")
    under = under.rename({"value": "accuracy_ood", "lo": "ood_lo", "hi": "ood_hi", "n": "n_ood"})
    without = results.evaluation.filter(
        pl.col("prompts") == results.plan.prompts[0],
        metric=METRIC,
        split=SPLIT,
        domain=results.plan.natural,
        classes="held_out",
    ).select(*moment, accuracy_id="value", id_lo="lo", id_hi="hi", n_id="n")
    refused = untestable(results.plan)
    pairs = under.drop("classes", "chance").join(
        without, on=moment, how="inner", nulls_equal=True, maintain_order="left"
    )
    kept = [Target(*place) not in refused for place in pairs.select(PLACE).iter_rows()]
    return pairs.filter(pl.Series(kept, dtype=pl.Boolean))


def untestable(plan: StudyPlan) -> dict[Target, str]:
    """Targets whose two accuracies would be of different classes, and why."""
    refused = {}
    tests = plan.tests.get(SPLIT, {})
    for target in sorted({target for run in plan.runs for target in run.mixtures}):
        held_out = set(plan.draws[target.draw])
        without, under = (
            held_out & tests.get(domain, frozenset())
            for domain in (plan.natural, target.test_domain)
        )
        if without != under:
            names = ", ".join(sorted(without ^ under))
            refused[target] = f"held-out classes with test images in one domain only: {names}"
    return refused


def fits(results: StudyResults, pairs: pl.DataFrame) -> Fits:
    """The baseline of every target and transform, or why there is none."""
    found: Fits = {}
    refused = untestable(results.plan)
    for place in served(results).select(PLACE).unique(maintain_order=True).iter_rows():
        target = Target(*place)
        points = pairs.filter(is_baseline(), **target._asdict()).drop_nulls("samples_seen")
        points = _without_twins(points, results.plan)
        for transform in TRANSFORMS:
            found[target, transform] = (
                Refused(refused[target]) if target in refused else _fit(points, transform)
            )
    return found


def _without_twins(points: pl.DataFrame, plan: StudyPlan) -> pl.DataFrame:
    """The rows of different models: one by several names counts once."""
    there = set(points["run"])
    again = [run.name for run in plan.runs if run.twin in there]
    return points.filter(~pl.col("run").is_in(again))


def _fit(points: pl.DataFrame, transform: str) -> Baseline | Refused:
    return fit_baseline(
        points["accuracy_id"].to_list(),
        points["accuracy_ood"].to_list(),
        points["n_id"].to_list(),
        points["n_ood"].to_list(),
        points["run"].to_list(),
        transform,
    )


def baselines(found: Fits) -> pl.DataFrame:
    """`fits` as a table.

    Columns: `test_domain`, `draw`, `transform`, `slope`, `intercept`, `lowest` and `highest`
    (accuracy without shift), `r_squared`, `points`, `models` (runs), `reason` (why there is no
    line, or no interval over models; null where there are both).
    """
    rows = []
    for (target, transform), fit in found.items():
        row = target._asdict() | {"transform": transform}
        if isinstance(fit, Refused):
            rows.append(row | {"reason": fit.reason})
            continue
        numbers = ("slope", "intercept", "lowest", "highest", "r_squared")
        row |= {name: getattr(fit, name) for name in numbers}
        rows.append(
            row | {"points": fit.n_points, "models": fit.n_models} | {"reason": fit.doubt or None}
        )
    return pl.DataFrame(rows, schema=LINES, orient="row", infer_schema_length=None)


def robustness(results: StudyResults, pairs: pl.DataFrame, found: Fits) -> pl.DataFrame:
    """Effective robustness of the final weights of every run that is no part of the baseline.

    Columns: `test_domain`, `setting`, `draw`, `seed`, `run`, `accuracy_id`, `accuracy_ood`,
    `expected` (what the baseline predicts), `value` (accuracy minus expected), `lo`, `hi` (95 %,
    over the baseline's runs; null where they allow none), `value_probit` (the same with the
    probit), `n_id`, `n_ood`, `n_classes`, `reason` (why there is no value; null where there is).
    """
    rows = list(_rows(results, pairs.filter("final"), found))
    return pl.DataFrame(rows, schema=RHO, orient="row", infer_schema_length=None)


def _rows(results: StudyResults, final: pl.DataFrame, found: Fits) -> Iterator[dict]:
    refused = untestable(results.plan)
    scores = {(row["run"], *(row[key] for key in PLACE)): row for row in final.to_dicts()}
    for run in served(results).filter(~is_baseline()).drop("mixture").to_dicts():
        target = Target(run["test_domain"], run["draw"])
        score = scores.get((run["run"], *target))
        if target in refused:
            yield run | {"reason": refused[target]}
        elif score is None:
            yield run | {"reason": NO_SCORES}
        else:
            yield run | _robustness(score, target, found)


def _robustness(score: dict, target: Target, found: Fits) -> dict:
    names = ("accuracy_id", "accuracy_ood", "n_id", "n_ood", "n_classes")
    row = {name: score[name] for name in names}
    logit, probit = (
        fit
        if isinstance(fit, Refused)
        else effective_robustness(fit, score["accuracy_id"], score["accuracy_ood"], score["n_id"])
        for fit in (found[target, transform] for transform in TRANSFORMS)
    )
    if isinstance(logit, Refused):
        return row | {"reason": logit.reason}
    row |= {"expected": logit.expected, "value": logit.value, "lo": logit.lo, "hi": logit.hi}
    return row | {"value_probit": None if isinstance(probit, Refused) else probit.value}
