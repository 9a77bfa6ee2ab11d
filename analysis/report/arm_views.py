"""The tables of the arms of a study as readers see them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from analysis.report.study_comparison_page import test_cells
from analysis.report.summary import MINUS, percent, points, setting_label
from analysis.report.views import MISSING, NONE, SPLIT_LABELS, View, count, duration

NOT_PLANNED = "not planned"


def scores_view(table: pl.DataFrame, labels: Sequence[str], split: str) -> View:
    """`arms.arm_scores` of one split, with a column per arm.

    Args:
        table: all of it.
        labels: of the arms.
        split: to be shown.
    """
    shown = table.filter(pl.col("arm") != "", split=split)
    rows = []
    for (test_domain, setting), group in _by_place(shown):
        cells = {row["arm"]: _score(row) for row in group.iter_rows(named=True)}
        named = [test_domain, setting_label(setting)]
        scores = [cells.get(label, NOT_PLANNED) for label in labels]
        rows.append([*named, *scores, _samples(group), _chance(group)])
    caption = (
        f"Balanced top-1 accuracy on the held-out classes of each test domain "
        f"({SPLIT_LABELS[split]}), {_covered(shown)}"
    )
    columns = ["Test domain", "Setting", *labels, "Images", "Chance"]
    return View(caption, columns, rows, headers=2)


def pretrained_view(table: pl.DataFrame) -> View:
    """The pretrained models of `arms.arm_scores`, which belong to no arm."""
    shown = table.filter(arm="")
    rows = [
        [
            row["test_domain"],
            setting_label(row["setting"]),
            SPLIT_LABELS[row["split"]],
            _score(row),
            MISSING if row["n"] is None else count(row["n"]),
        ]
        for row in shown.iter_rows(named=True)
    ]
    caption = f"The same of models that are not trained here, {_covered(shown)}"
    columns = ["Test domain", "Model", "Test images", "Accuracy", "Images"]
    return View(caption, columns, rows, headers=3)


def _by_place(table: pl.DataFrame) -> list[tuple[tuple[str, str], pl.DataFrame]]:
    groups = table.group_by("test_domain", "setting", maintain_order=True)
    return [((str(domain), str(setting)), group) for (domain, setting), group in groups]


def _covered(table: pl.DataFrame) -> str:
    """What the brackets behind the values hold."""
    parts = []
    if (table["scores"] == 1).any():
        parts.append("with the 95 % interval over test samples")
    if (table["scores"] > 1).any():
        parts.append(
            "means over draws of means over seeds, in brackets the smallest and the largest of n "
            "scores (draws × seeds), which is no interval"
        )
    return "; ".join(parts) + "."


def _score(row: dict) -> str:
    if row["value"] is None:
        return MISSING
    if row["scores"] == 1:
        return f"{percent(row['value'])} ({100 * row['lo']:.1f} to {100 * row['hi']:.1f})"
    ends = f"{100 * row['smallest']:.1f} to {100 * row['largest']:.1f}"
    gaps = f", {row['missing']} {MISSING}" if row["missing"] else ""
    return f"{percent(row['value'])} ({ends}, n {row['scores'] - row['missing']}{gaps})"


def _chance(group: pl.DataFrame) -> str:
    known = group["chance"].drop_nulls()
    return percent(known[0]) if len(known) else NONE


def _samples(group: pl.DataFrame) -> str:
    known = group["n"].drop_nulls().unique().sort().to_list()
    return " or ".join(map(count, known)) if known else NONE


def differences_view(table: pl.DataFrame, split: str) -> View:
    """`arms.arm_differences` of one split."""
    table = table.filter(split=split)
    many_draws = table["draw"].n_unique() > 1
    rows = [
        [
            row["test_domain"],
            setting_label(row["setting"]),
            f"{row['arm']} {MINUS} {row['baseline']}",
            *([str(row["draw"])] if many_draws else []),
            _change(row),
            MISSING if row["difference"] is None else points(row["difference"]),
            *test_cells(row),
        ]
        for row in table.iter_rows(named=True)
    ]
    columns = ["Test domain", "Setting", "Arms", *(["Draw"] if many_draws else []), "From → to"]
    columns += ["Difference", "95 % interval", "p", "p (Holm)", "Images"]
    caption = (
        f"Differences on the same test samples ({SPLIT_LABELS[split]}, held-out classes of the "
        "test domain), in percentage points of balanced top-1 accuracy."
    )
    return View(caption, columns, rows, headers=2)


def _change(row: dict) -> str:
    ends = (row["value_baseline"], row["value_arm"])
    return " → ".join(MISSING if value is None else percent(value) for value in ends)


def cost_view(table: pl.DataFrame) -> View:
    """`arms.arm_cost`."""
    rows = [
        [
            row["arm"],
            f"{row['done']} of {row['runs']}",
            str(row["trained"]),
            count(row["samples_seen"]),
            count(row["samples_per_second"]),
            *(duration(row[f"{stage}_seconds"]) for stage in ("train", "evaluate", "analyze")),
        ]
        for row in table.iter_rows(named=True)
    ]
    columns = ["Arm", "Runs done", "Models", "Samples seen by each", "Samples / s"]
    caption = "What the runs of each arm took: medians of samples per second, sums of times."
    return View(caption, [*columns, "Train", "Evaluate", "Analyze"], rows)


def keys_view(table: pl.DataFrame) -> View:
    """`arms.arm_keys`."""
    rows = [[cell or NONE for cell in row] for row in table.iter_rows()]
    columns = ["Arm", *table.columns[1:]]
    return View("In what the arms differ; all else is the same.", columns, rows)
