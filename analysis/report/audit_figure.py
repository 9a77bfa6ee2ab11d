"""The figure of an audit: how diverse and balanced the mixtures are, where near duplicates lie."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from analysis.report.figures import GREY, WIDTH, setting_colour, styled

MOST_MIXTURES = 60
"""mixtures that fit the figure; statistics.csv has them all"""
MOST_NUMBERED = 8
"""domains up to which the counts are written into the matrix in full"""
NOT_LOOKED_FOR = -1
"""pairs within one split and one domain"""


@styled
def audit_figure(
    statistics: pl.DataFrame, counts: pl.DataFrame | None, domains: Sequence[str]
) -> Figure:
    """Effective domains and class imbalance of each mixture, and pairs of near images.

    Args:
        statistics: one row per mixture (`splits.composition.statistics`).
        counts: `NearDuplicates.counts`, or None where there are no perceptual hashes.
        domains: of the dataset, in its order.
    """
    shown = statistics.head(MOST_MIXTURES)
    dots = 0.19 * shown.height + 1.3
    cells = 0.5 if counts is None else 0.3 * len(domains) + 1.5
    figure = Figure(figsize=(WIDTH, dots + cells), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=[dots, cells])
    upper, lower = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    left, right = upper.subplots(1, 2, sharey=True)
    _dots(left, shown, "effective_domains", "effective number of domains")
    _dots(right, shown, "class_imbalance", "largest class / smallest class")
    left.set_xlim(0.5, len(domains) + 0.5)
    right.set_xscale("log")
    _plain_ticks(right, shown["class_imbalance"])
    left.set_title("Diversity")
    right.set_title("Balance")
    left.set_yticks(range(shown.height), shown["mixture"].to_list(), fontsize=8)
    left.set_ylim(shown.height - 0.5, -0.5)
    if statistics.height > shown.height:
        note = f"the first {shown.height} of {statistics.height} mixtures; statistics.csv has all"
        upper.suptitle(note, fontsize=8.5, color=GREY)
    _matrices(lower, counts, domains)
    return figure


def _dots(axes: Axes, table: pl.DataFrame, column: str, label: str) -> None:
    settings = table["setting"].unique(maintain_order=True).to_list()
    colours = [setting_colour(name, settings) for name in table["setting"]]
    axes.scatter(table[column], range(table.height), c=colours, s=28, clip_on=False, zorder=3)
    axes.set_xlabel(label)
    axes.grid(True, axis="both")
    axes.tick_params(length=0)


def _plain_ticks(axes: Axes, values: pl.Series) -> None:
    """Ticks of a logarithmic axis as ordinary numbers."""
    high = max(2.0, *values.fill_nan(1).to_list())
    bases = (1, 2, 5) if high < 100 else (1,)
    ticks = [base * 10**power for power in range(7) for base in bases]
    axes.set_xlim(0.93, 1.1 * high)
    kept = [tick for tick in ticks if tick <= 1.1 * high]
    axes.set_xticks(kept, [f"{tick:g}" for tick in kept])
    axes.set_xticks([], minor=True)


def _matrices(
    figure: mpl.figure.SubFigure, counts: pl.DataFrame | None, domains: Sequence[str]
) -> None:
    if counts is None:
        figure.text(0.5, 0.5, "near duplicates: not checked, no perceptual hashes", ha="center")
        return
    across = _matrix(
        counts, domains, (pl.col("split_a") == "train") & (pl.col("split_b") != "train")
    )
    within = _matrix(
        counts, domains, (pl.col("split_a") == "train") & (pl.col("split_b") == "train")
    )
    within += within.T  # every pair stands in the table once, whichever domain comes first
    np.fill_diagonal(within, NOT_LOOKED_FOR)
    panels = figure.subplots(1, 2)
    most = max(1, across.max(), within.max())
    _counted(panels[0], across, domains, most)
    panels[0].set(title="Near-duplicate pairs, train × test", ylabel="train", xlabel="test")
    _counted(panels[1], within, domains, most)
    panels[1].set(title="Near-duplicate pairs, train × train", ylabel="train", xlabel="train")


def _matrix(counts: pl.DataFrame, domains: Sequence[str], condition: pl.Expr) -> np.ndarray:
    """Pairs by domain of the first and of the second sample, int64 [D, D]."""
    place = {name: number for number, name in enumerate(domains)}
    matrix = np.zeros((len(domains), len(domains)), dtype=np.int64)
    for one, other, pairs in (
        counts.filter(condition).select("domain_a", "domain_b", "pairs").iter_rows()
    ):
        matrix[place[one], place[other]] += pairs
    return matrix


def _counted(axes: Axes, matrix: np.ndarray, domains: Sequence[str], most: int) -> None:
    """A matrix of counts on a logarithmic scale of colours, with its numbers; none is white."""
    reds = mpl.colors.ListedColormap(mpl.colormaps["Oranges"](np.linspace(0.12, 0.75, 256)))
    axes.imshow(
        np.where(matrix > 0, matrix, np.nan),
        cmap=reds,
        norm=LogNorm(1, max(10, most)),
        aspect="auto",
    )
    axes.grid(False)
    for (row, column), pairs in np.ndenumerate(matrix):
        text = f"{pairs:,}" if len(domains) <= MOST_NUMBERED else _short(pairs)
        text = "–" if pairs == NOT_LOOKED_FOR else text
        colour = "#222222" if pairs > 0 else "#bbbbbb"
        axes.text(column, row, text, ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(domains)), domains, rotation=40, ha="right")
    axes.set_yticks(range(len(domains)), domains)
    axes.tick_params(length=0)
    axes.spines[:].set(visible=True, color="#bbbbbb")


def _short(value: int) -> str:
    """A count in at most four letters."""
    for unit, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= unit:
            return f"{value / unit:.0f}{letter}"
    return str(value)
