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
    """Ticks of a logarithmic axis as ordinary numbers, the finer the less it spans."""
    high = 1.1 * max(2.0, *values.fill_nan(1).to_list())
    ticks = [base * 10**power for power in range(7) for base in _bases(high)]
    kept = [tick for tick in ticks if tick <= high]
    axes.set_xlim(0.93, high)
    axes.set_xticks(kept, [f"{tick:g}" for tick in kept])
    axes.set_xticks([], minor=True)


def _bases(high: float) -> tuple[float, ...]:
    """Ticks within a power of ten, for an axis from 1 to `high`."""
    for limit, bases in (
        (4, (1, 1.2, 1.5, 2, 2.5, 3, 3.5)),
        (12, (1, 1.5, 2, 3, 4, 5, 7)),
        (120, (1, 2, 3, 5)),
        (1200, (1, 3)),
    ):
        if high <= limit:
            return bases
    return (1,)


def _matrices(
    figure: mpl.figure.SubFigure, counts: pl.DataFrame | None, domains: Sequence[str]
) -> None:
    """Pairs of near images by their domains: train × test, and either with itself."""
    if counts is None:
        figure.text(0.5, 0.5, "near duplicates: not checked, no perceptual hashes", ha="center")
        return
    train_a, train_b = (pl.col(f"split_{side}") == "train" for side in "ab")
    panels = {
        "train (rows) × test": _matrix(counts.filter(train_a & ~train_b), domains),
        "train × train": _symmetric(counts.filter(train_a & train_b), domains),
        "test × test": _symmetric(counts.filter(~train_a & ~train_b), domains),
    }
    most = max(1, *(matrix.max() for matrix in panels.values()))
    figure.suptitle("Near-duplicate pairs (–: within one split and domain, not looked for)")
    row = figure.subplots(1, len(panels), sharey=True)
    for axes, (title, matrix) in zip(row, panels.items(), strict=True):
        _counted(axes, matrix, domains, most)
        axes.set_title(title)


def _symmetric(counts: pl.DataFrame, domains: Sequence[str]) -> np.ndarray:
    """Pairs within the training or the test images: int64 [D, D], each pair in both halves.

    On the diagonal are pairs of two test splits, of which some datasets have but one.
    """
    matrix = _matrix(counts, domains)
    within = matrix.diagonal().copy()
    matrix += matrix.T
    np.fill_diagonal(matrix, np.where(within > 0, within, NOT_LOOKED_FOR))
    return matrix


def _matrix(counts: pl.DataFrame, domains: Sequence[str]) -> np.ndarray:
    """Pairs by domain of the first and of the second sample, int64 [D, D]."""
    place = {name: number for number, name in enumerate(domains)}
    matrix = np.zeros((len(domains), len(domains)), dtype=np.int64)
    for one, other, pairs in counts.select("domain_a", "domain_b", "pairs").iter_rows():
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
    many = len(domains) > MOST_NUMBERED
    for (row, column), pairs in np.ndenumerate(matrix):
        text = _short(pairs) if many else f"{pairs:,}"
        text = "–" if pairs == NOT_LOOKED_FOR else text
        colour = "#222222" if pairs > 0 else "#bbbbbb"
        size = 6 if many else 7
        axes.text(column, row, text, ha="center", va="center", fontsize=size, color=colour)
    if many:
        axes.set_xticks(range(len(domains)), domains, rotation=90, fontsize=8)
    else:
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
