"""Scores of the final weights in the test domain beyond the headline: results → tables.

Every table has a row per planned run, whether or not it has a score: a score that is not there is
null, and `missing` tells whether that is because its run has none at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from analysis.report.study import StudyResults
from analysis.report.study_plan import StudyPlan
from analysis.report.tables import CLASS_SETS, METRIC, served

KEYS = ["test_domain", "setting", "draw", "seed"]
SCORES = (METRIC, "balanced_top5", "top1", "macro_f1")
TAKEN = {"held_out": "held_out_as_seen", "seen": "seen_as_held_out"}
"""by class set: the share of its test samples that are taken for a class of the other one"""
CAPTIONS = "captions"
"""what `prompts` is of scores that have none: captions stand for them"""
DIRECTIONS = ("image_to_text", "text_to_image")
RECALLS = {f"{direction}_r{k}": (direction, k) for direction in DIRECTIONS for k in (1, 5, 10)}
GAP = "modality_gap"
COUNTED = ["value", "lo", "hi", "n", "n_classes", "chance"]


def prompt_scores(results: StudyResults) -> pl.DataFrame:
    """The headline's metric with every prompt set; columns as `scores`."""
    return scores(results, [METRIC], results.plan.prompts)


def more_scores(results: StudyResults) -> pl.DataFrame:
    """The headline's metric beside others, with the headline's prompts; columns as `scores`."""
    return scores(results, SCORES, results.plan.prompts[:1])


def calibration(results: StudyResults) -> pl.DataFrame:
    """Expected calibration errors with the headline's prompts; columns as `scores`."""
    return scores(results, ["ece"], results.plan.prompts[:1])


def retrieval(results: StudyResults) -> pl.DataFrame:
    """Recalls and modality gaps; columns as `scores`, and `direction` and `k` (null of a gap)."""
    table = scores(results, [*RECALLS, GAP], [CAPTIONS], [*CLASS_SETS, "all"])
    ways = {name: direction for name, (direction, _) in RECALLS.items()}
    ranks = {name: k for name, (_, k) in RECALLS.items()}
    return table.with_columns(
        direction=pl.col("metric").replace_strict(ways, default=None, return_dtype=pl.String),
        k=pl.col("metric").replace_strict(ranks, default=None, return_dtype=pl.Int64),
    )


def scores(
    results: StudyResults,
    metrics: Sequence[str],
    prompts: Sequence[str],
    class_sets: Sequence[str] = CLASS_SETS,
) -> pl.DataFrame:
    """Scores of the final weights in the test domain: a row per run and case that any run has.

    Columns: `test_domain`, `setting`, `draw`, `seed`, `split`, `classes`, `prompts`, `metric`,
    `run`, `value`, `lo`, `hi`, `n`, `n_classes`, `chance`, `missing`. Ordered as the grid, then as
    the arguments. No rows where no run has such scores.
    """
    case = ["split", "classes", "prompts", "metric"]
    found = results.evaluation.filter(
        "final",
        pl.col("metric").is_in(list(metrics)),
        pl.col("prompts").is_in(list(prompts)),
        pl.col("classes").is_in(list(class_sets)),
    ).rename({"domain": "test_domain"})
    orders = (results.plan.splits, class_sets, prompts, metrics)
    ranks = [_rank(key, order) for key, order in zip(case, orders, strict=True)]
    expected = (
        served(results)
        .drop("mixture")
        .join(_tested(results.plan), on=["test_domain", "draw"], maintain_order="left_right")
        .join(
            found.select(case).unique().sort(ranks),
            on=["split", "classes"],
            maintain_order="left_right",
        )
    )
    keys = ["run", "test_domain", "draw", *case]
    table = expected.join(found.select(*keys, *COUNTED), on=keys, how="left", maintain_order="left")
    return _told(table, results).select(*KEYS, *case, "run", *COUNTED, "missing")


def _rank(key: str, order: Sequence[str]) -> pl.Expr:
    places = {name: place for place, name in enumerate(order)}
    return pl.col(key).replace_strict(places, default=len(places), return_dtype=pl.Int64)


def _told(table: pl.DataFrame, results: StudyResults) -> pl.DataFrame:
    """The table with `missing`: whether the run has no score of any kind."""
    scored = results.evaluation["run"].unique().to_list()
    return table.with_columns(missing=~pl.col("run").is_in(scored))


def _tested(plan: StudyPlan) -> pl.DataFrame:
    """Every (test domain, draw, split, class set) that the dataset has test images for."""
    schema = {"test_domain": pl.String, "draw": pl.Int64, "split": pl.String, "classes": pl.String}
    return pl.DataFrame(list(_targets(plan)), schema=schema, orient="row")


def _targets(plan: StudyPlan) -> Iterator[tuple[str, int, str, str]]:
    for test_domain in plan.test_domains:
        for draw in range(len(plan.draws)):
            sets = {name: plan.class_set(name, draw) for name in CLASS_SETS}
            for split in plan.splits:
                for name, classes in {**sets, "all": frozenset(plan.classes)}.items():
                    if plan.is_tested(split, test_domain, classes):
                        yield test_domain, draw, split, name


def taken_for(results: StudyResults) -> pl.DataFrame:
    """What test samples of held-out and of seen classes are taken for: shares that sum to one.

    Columns: `test_domain`, `setting`, `draw`, `seed`, `split`, `classes`, `run`; `value`, `lo`,
    `hi`, the share whose first choice is a class of the other set, and its `chance`; `accuracy`
    (plain), `accuracy_lo`, `accuracy_hi`, `accuracy_chance`; `wrong_within`, the share whose first
    choice is a wrong class of the same set; `n`, `n_classes`, `missing`.
    """
    table = scores(results, ["top1", *TAKEN.values()], results.plan.prompts[:1])
    keys = [*KEYS, "split", "classes", "run"]
    told = table.filter(pl.col("metric") == pl.col("classes").replace_strict(TAKEN))
    right = table.filter(metric="top1").select(
        *keys,
        accuracy="value",
        **{f"accuracy_{key}": key for key in ("lo", "hi", "chance")},
    )
    joined = told.drop("prompts", "metric").join(right, on=keys, how="left", maintain_order="left")
    within = (1 - pl.col("accuracy") - pl.col("value")).clip(0, 1)  # rounding can leave -1e-17
    return joined.with_columns(wrong_within=within)


def class_scores(results: StudyResults) -> pl.DataFrame:
    """Accuracy on every class of the test domain, with the headline's prompts.

    Columns: `test_domain`, `setting`, `draw`, `seed`, `split`, `class_name`, `held_out` (is the
    class, in that draw), `run`, `n`, `correct`, `value`, `lo`, `hi`, `mistaken_for`, `mistaken`,
    `missing`. No rows where no run has any.
    """
    if results.cells.is_empty():
        return pl.DataFrame()
    plan = results.plan
    rows = [
        (test_domain, draw, split, name, name in plan.draws[draw])
        for test_domain in plan.test_domains
        for draw in range(len(plan.draws))
        for split in plan.splits
        for name in plan.classes
        if plan.is_tested(split, test_domain, [name])
    ]
    named = {"test_domain": pl.String, "draw": pl.Int64, "split": pl.String}
    schema = {**named, "class_name": pl.String, "held_out": pl.Boolean}
    expected = served(results).join(
        pl.DataFrame(rows, schema=schema, orient="row"),
        on=["test_domain", "draw"],
        maintain_order="left_right",
    )
    keys = ["run", "split", "test_domain", "class_name"]
    counted = ["n", "correct", "value", "lo", "hi", "mistaken_for", "mistaken"]
    cells = results.cells.rename({"domain": "test_domain"}).select(*keys, *counted)
    table = expected.join(cells, on=keys, how="left", maintain_order="left")
    listed = results.cells["run"].unique().to_list()
    first = [*KEYS, "split", "class_name", "held_out", "run"]
    return table.with_columns(missing=~pl.col("run").is_in(listed)).select(
        *first, *counted, "missing"
    )
