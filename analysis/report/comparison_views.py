"""The tables of differences, and of what varies over draws and seeds, as readers see them."""

from __future__ import annotations

import polars as pl

from analysis.report.spread import FEWEST
from analysis.report.summary import MINUS, percent, points, setting_label
from analysis.report.views import CLASS_LABELS, MISSING, NONE, SPLIT_LABELS, View

QUESTION = ["Question", "Test domain", "Settings"]


def contrasts_view(table: pl.DataFrame, split: str) -> View:
    """`contrasts.contrasts` of one split."""
    many_draws = table["draw"].n_unique() > 1
    many_seeds = bool((table["seeds"] > 1).any())
    rows = []
    for row in table.filter(split=split).iter_rows(named=True):
        names = [*_question(row), *([str(row["draw"])] if many_draws else [])]
        seeds = [_over_seeds(row)] if many_seeds else []
        rows.append([*names, *_contrast_cells(row), *seeds])
    caption = (
        f"Differences on the same test samples ({SPLIT_LABELS[split]}, held-out classes of the "
        "test domain), in percentage points of balanced top-1 accuracy."
    )
    names = [*QUESTION, *(["Draw"] if many_draws else [])]
    columns = [*names, "From → to", "Difference", "95 % interval", "p", "p (Holm)", "Samples"]
    columns += ["Over seeds"] if many_seeds else []
    return View(caption, columns, rows, headers=len(names))


def over_draws_view(table: pl.DataFrame, split: str) -> View:
    """`contrasts.over_draws` of one split."""
    rows = [
        [*_question(row), _draws(row), *_over_draws_cells(row)]
        for row in table.filter(split=split).iter_rows(named=True)
    ]
    caption = (
        f"The same differences over draws of held-out classes ({SPLIT_LABELS[split]}), in "
        "percentage points: means and spread over draws, whose own differences stand above."
    )
    columns = [*QUESTION, "Draws", "From → to", "Mean difference", "Smallest to largest", "sd"]
    columns += ["95 % interval over draws"]
    return View(caption, columns, rows, headers=3)


def spread_view(table: pl.DataFrame) -> View:
    """`spread.accuracy_spread` of the held-out classes, on new instances."""
    table = table.filter(split="test", classes="held_out")
    many_draws, many_seeds = ((table[key] > 1).any() for key in ("draws", "seeds"))
    rows = []
    for row in table.iter_rows(named=True):
        mean = MISSING if row["value"] is None else percent(row["value"])
        draws = [_spread_over_draws(row), str(row["draws"])] if many_draws else []
        seeds = [_spread_over_seeds(row), str(row["seeds"])] if many_seeds else []
        rows.append([row["test_domain"], setting_label(row["setting"]), mean, *draws, *seeds])
    columns = ["Test domain", "Setting", "Mean"]
    columns += ["Over draws", "Draws"] if many_draws else []
    columns += ["Over seeds", "Seeds"] if many_seeds else []
    kinds = [word for word, many in (("draws", many_draws), ("seeds", many_seeds)) if many]
    notes = {
        "draws": " Over draws: range and sd of their means.",
        "seeds": " Over seeds: widest range and pooled sd"
        + (" within a draw, in points." if many_draws else ", in points."),
    }
    caption = (
        f"Accuracy on {CLASS_LABELS['held_out']} over {' and '.join(kinds)}, test samples aside."
        + "".join(notes[kind] for kind in kinds)
    )
    return View(caption, columns, rows, headers=2)


def _question(row: dict) -> list[str]:
    settings = f"{setting_label(row['setting'])} {MINUS} {setting_label(row['baseline'])}"
    return [row["contrast"], row["test_domain"], settings]


def _contrast_cells(row: dict) -> list[str]:
    if row["value"] is None:
        return [MISSING] * 6
    return [
        _change(row),
        points(row["value"]),
        f"{points(row['lo'])} to {points(row['hi'])}",
        _p(row["p"]),
        _p(row["p_holm"]),
        str(row["n"]),
    ]


def _over_seeds(row: dict) -> str:
    if row["value"] is None:
        return MISSING
    if row["seed_sd"] is None:
        return f"n {row['seeds']}"
    ends = f"{points(row['seed_smallest'])} to {points(row['seed_largest'])}"
    return f"{ends}, sd {_points(row['seed_sd'])}, n {row['seeds']}"


def _over_draws_cells(row: dict) -> list[str]:
    if row["value"] is None:
        return [MISSING] * 5
    several = row["draws"] > 1
    interval = NONE if row["draws"] >= FEWEST else f"needs {FEWEST} draws"
    if row["lo"] is not None:
        interval = f"{points(row['lo'])} to {points(row['hi'])}"
    return [
        _change(row),
        points(row["value"]),
        f"{points(row['smallest'])} to {points(row['largest'])}" if several else NONE,
        _points(row["sd"]) if several else NONE,
        interval,
    ]


def _draws(row: dict) -> str:
    missing = f" (missing: {row['missing_draws']})" if row["missing_draws"] else ""
    return f"{row['draws']}{missing}"


def _spread_over_draws(row: dict) -> str:
    if row["draw_sd"] is None:
        return NONE
    ends = f"{percent(row['draw_smallest'])} to {percent(row['draw_largest'])}"
    return f"{ends}, sd {_points(row['draw_sd'])}"


def _spread_over_seeds(row: dict) -> str:
    if row["seed_sd"] is None:
        return NONE
    return f"{_points(row['seed_range'])}, sd {_points(row['seed_sd'])}"


def _change(row: dict) -> str:
    return f"{percent(row['accuracy_baseline'])} → {percent(row['accuracy_setting'])}"


def _points(value: float) -> str:
    """A spread in percentage points, which has no sign."""
    return f"{100 * value:.1f}"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
