"""The tables on the page of a setting and test domain, as readers see them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import polars as pl

from analysis.report.study_plan import StudyPlan
from analysis.report.summary import percent
from analysis.report.views import CLASS_LABELS, MISSING, NONE, SPLIT_LABELS, View

CLASS_SETS = ("held_out", "seen", "all")
LABELS = CLASS_LABELS | {"all": "all classes"}
CONFUSIONS = {
    "held_out_as_seen": "held-out class taken for a seen one",
    "seen_as_held_out": "seen class taken for a held-out one",
}
EXTREMES = 10
"""best and worst classes that are listed"""


def domains_view(
    evaluation: pl.DataFrame, plan: StudyPlan, draw: int, seeds: Sequence[int]
) -> View:
    """Balanced accuracy per domain, with a column per class set."""
    scores = evaluation.filter(metric="balanced_top1")
    sets = {name: plan.class_set(name, draw) for name in CLASS_SETS}
    found = {
        (row["seed"], row["split"], row["domain"], row["classes"]): _score(row)
        for row in scores.iter_rows(named=True)
    }
    rows = []
    for split in plan.splits:
        for domain in (name for name in plan.domains if name in plan.tests[split]):
            absent = {
                name: MISSING if plan.is_tested(split, domain, sets[name]) else NONE
                for name in CLASS_SETS
            }
            for seed in seeds:
                cells = [
                    found.get((seed, split, domain, name), absent[name]) for name in CLASS_SETS
                ]
                names = [domain, SPLIT_LABELS.get(split, split)]
                rows.append([*names, *_seed(seed, seeds), *cells])
    columns = ["Domain", "Test images", *_seed("Seed", seeds)]
    caption = "Balanced top-1 accuracy per domain, with 95 % interval over test samples."
    return View(caption, [*columns, *(LABELS[name] for name in CLASS_SETS)], rows, headers=2)


def confusion_view(evaluation: pl.DataFrame, test_domain: str, seeds: Sequence[int]) -> View:
    """How often seen and held-out classes are taken for each other in the test domain."""
    table = evaluation.filter(pl.col("metric").is_in(list(CONFUSIONS)), domain=test_domain)
    cases = table.select("split", "metric").unique().sort("split", "metric").rows()
    found = {
        (row["split"], row["metric"], row["seed"]): [
            _score(row),
            NONE if row["chance"] is None else percent(row["chance"]),
            str(row["n"]),
        ]
        for row in table.iter_rows(named=True)
    }
    rows = [
        [
            CONFUSIONS[metric],
            SPLIT_LABELS.get(split, split),
            *_seed(seed, seeds),
            *found.get((split, metric, seed), [MISSING] * 3),
        ]
        for split, metric in cases
        for seed in seeds
    ]
    columns = ["Confusion", "Test images", *_seed("Seed", seeds)]
    caption = f"First choices across the two class sets in {test_domain}, with 95 % interval."
    return View(caption, [*columns, "Share", "By chance", "Samples"], rows, headers=2)


def extremes_view(cells: pl.DataFrame, held_out: Collection[str]) -> View:
    """The classes that are recognised best and worst, over all runs of the page."""
    counted = cells.group_by("class_name").agg(pl.col("n", "correct").sum())
    ordered = counted.with_columns(value=pl.col("correct") / pl.col("n")).sort(
        ["value", "class_name"], descending=[True, False]
    )
    few = min(EXTREMES, ordered.height // 2)
    worst = ordered.tail(few).reverse()
    rows = [
        [str(rank + 1), *_named(best, held_out), *_named(bad, held_out)]
        for rank, (best, bad) in enumerate(zip(ordered.head(few).rows(), worst.rows(), strict=True))
    ]
    columns = ["Rank", "Best", "Accuracy, best", "Worst", "Accuracy, worst"]
    return View("Classes that are recognised best and worst.", columns, rows)


def _named(row: tuple, held_out: Collection[str]) -> list[str]:
    name, _, _, value = row
    return [f"{name} (held out)" if name in held_out else name, percent(value)]


def class_view(cells: pl.DataFrame, held_out: Collection[str], seeds: Sequence[int]) -> View:
    """Every class: how many are right, and what it is mistaken for most often."""
    found = {
        (row["class_name"], row["seed"]): [
            f"{row['correct']} of {row['n']}",
            _score(row),
            row["mistaken_for"] or NONE,
            str(row["mistaken"]) if row["mistaken_for"] else NONE,
        ]
        for row in cells.iter_rows(named=True)
    }
    names = sorted(set(cells["class_name"]), key=lambda name: (name not in held_out, name))
    rows = [
        [
            name,
            "held out" if name in held_out else "seen",
            *_seed(seed, seeds),
            *found.get((name, seed), [MISSING] * 4),
        ]
        for name in names
        for seed in seeds
    ]
    columns = ["Class", "Set", *_seed("Seed", seeds), "Right", "Accuracy"]
    columns += ["Most often taken for", "Times"]
    caption = (
        "Every class in the test domain (new instances): share of right first choices with its "
        "95 % interval (Wilson), and the wrong class that is chosen most often."
    )
    return View(caption, columns, rows)


def _seed(seed: int | str, seeds: Sequence[int]) -> list[str]:
    """A cell for the seed, where there are several."""
    return [str(seed)] if len(seeds) > 1 else []


def _score(row: dict) -> str:
    if row["value"] is None:
        return MISSING
    if row["lo"] is None:
        return percent(row["value"])
    return f"{percent(row['value'])} ({100 * row['lo']:.1f} to {100 * row['hi']:.1f})"
