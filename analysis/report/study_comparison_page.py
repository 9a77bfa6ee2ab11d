"""The page that compares two studies, and its numbers as a table beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from analysis.report.rendering import render
from analysis.report.study_comparison import (
    ComparedStudy,
    compare_scores,
    differing_keys,
    only_in,
)
from analysis.report.summary import (
    banner_lines,
    is_complete,
    percent,
    points,
    setting_label,
)
from analysis.report.views import CLASS_LABELS, MISSING, NONE, SPLIT_LABELS, View
from splits.files import write_text

PAIRED = (
    "Differences are paired: on the same test samples, each with the share of seeds that got it "
    "right. Interval: 95 %, bootstrap within class, over test samples only. p: sign-flip "
    "permutation test; Holm: corrected for all paired comparisons of the split. Other seeds or "
    "draws of held-out classes may give other differences."
)


def write_study_comparison(
    a: ComparedStudy, b: ComparedStudy, folder: Path, command: str, left_out: Sequence[str] = ()
) -> Path:
    """Write `compare-with-B.html` and `compare-with-B.csv`, each as a whole.

    Args:
        a: the study whose report it is part of.
        b: the other study.
        folder: of the report of a.
        command: the command line that made it, to be shown in it.
        left_out: what of the two studies is compared nowhere, a sentence each.

    Returns:
        The path of the page.
    """
    table = compare_scores(a.results, b.results)
    name = f"compare-with-{b.name}"
    content = {
        "names": (a.title, b.title),
        "command": command,
        "csv": f"{name}.csv",
        "banners": [
            (side.title, banner_lines(side.results), is_complete(side.results)) for side in (a, b)
        ],
        "lead": _lead(table, a.title, b.title),
        "views": [
            comparison_view(table, split, a.title, b.title)
            for split in table["split"].unique(maintain_order=True)
        ],
        "note": PAIRED,
        "unpaired": unpaired_lines(table),
        "left_out": left_out,
        "only": [
            (a.title, only_in(a.results, b.results)),
            (b.title, only_in(b.results, a.results)),
        ],
        "differing": configuration_view(a, b),
    }
    write_text(folder / f"{name}.csv", table.write_csv())
    write_text(folder / f"{name}.html", render("study_compare.html.j2", content))
    return folder / f"{name}.html"


def _lead(table: pl.DataFrame, a: str, b: str) -> str:
    """How many comparisons there are, and how many of them are clear."""
    if table.is_empty():
        return f"{a} and {b} have no setting with a test domain in common."
    paired = table.drop_nulls("p_holm")
    clear = paired.filter(pl.col("p_holm") <= 0.05)
    better = int((clear["difference"] > 0).sum())
    text = (
        f"{table.height} scores are in both studies; {paired.height} can be compared on the same "
        f"test samples."
    )
    if paired.height:
        text += (
            f" After Holm's correction {b} is better in {better} of them, {a} in "
            f"{clear.height - better}; the others show no clear difference."
        )
    return text


def comparison_view(table: pl.DataFrame, split: str, a: str, b: str) -> View:
    """`compare_scores` of one split."""
    table = table.filter(split=split)
    many_draws = table["draw"].n_unique() > 1
    rows = [
        [
            row["test_domain"],
            setting_label(row["setting"]),
            CLASS_LABELS[row["classes"]],
            *([str(row["draw"])] if many_draws else []),
            *(MISSING if row[key] is None else percent(row[key]) for key in ("value_a", "value_b")),
            MISSING if row["difference"] is None else points(row["difference"]),
            *test_cells(row),
        ]
        for row in table.iter_rows(named=True)
    ]
    columns = ["Test domain", "Setting", "Classes", *(["Draw"] if many_draws else []), a, b]
    columns += ["Difference", "95 % interval", "p", "p (Holm)", "Samples"]
    caption = (
        f"Balanced top-1 accuracy in the test domain ({SPLIT_LABELS.get(split, split)}), means "
        f"over seeds, and the difference {b} minus {a} in percentage points."
    )
    return View(caption, columns, rows, headers=2)


def unpaired_lines(table: pl.DataFrame) -> list[str]:
    """Why scores are not paired: a line per reason with the settings and test domains it is for."""
    lines = []
    rows = table.drop_nulls("unpaired")
    for (reason,), group in rows.group_by("unpaired", maintain_order=True):
        places = dict.fromkeys(
            f"{setting_label(setting)} in {test_domain}"
            for setting, test_domain in group.select("setting", "test_domain").rows()
        )
        lines.append(f"Not paired, because {reason}: {', '.join(places)}.")
    return lines


def test_cells(row: dict) -> list[str]:
    """Interval, p-values and number of samples of a row of `compare_scores`."""
    if row["p"] is None:
        return [NONE] * 4
    interval = f"{points(row['lo'])} to {points(row['hi'])}"
    return [interval, _p(row["p"]), _p(row["p_holm"]), str(row["n"])]


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def configuration_view(a: ComparedStudy, b: ComparedStudy) -> View:
    """Keys of the configurations that differ; their names, which must, are left out."""
    rows = [
        [key, left or NONE, right or NONE]
        for key, left, right in differing_keys(a.config, b.config)
        if key != "study.name"
    ]
    caption = "Keys of the configuration whose values differ."
    return View(caption, ["Key", a.title, b.title], rows)
