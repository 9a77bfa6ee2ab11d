"""The figures of a coverage sweep: scores over coverage, and what functions carry of them."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from analysis.report.binding_figures import class_label
from analysis.report.coverage_tables import FAMILIARITIES, OBJECT, SWAP
from analysis.report.figures import COLOURS, GREY, NARROW, WIDTH, legend, styled

LOOKS = dict(zip(FAMILIARITIES, ("#0072B2", "#009E73", "#D55E00"), strict=True))
LETTERS = 30
"""of a line of a panel's title"""
APART = 0.008
"""between the lines of a panel, in coverage"""
BOUND = {
    SWAP: "model prefers unseen objects to their swap",
    OBJECT: "model recognises unseen objects, of all",
}
BAGS = {SWAP: 1 / 2, OBJECT: 1 / 6}
"""what a bag of concepts reaches by guessing, of two objects"""
Panel = tuple[str, float]
"""a grid and its share of swapped pairs"""


def panels_of(table: pl.DataFrame) -> list[Panel]:
    """Grids with their mixtures, in the order of the table."""
    return table.select("grid", "swap_share").unique(maintain_order=True).rows()


def panel_title(panel: Panel) -> str:
    grid, share = panel
    return f"{grid}, {share:.0%} of scenes in swapped pairs" if share else f"{grid}, plain scenes"


@styled
def coverage_figure(models: pl.DataFrame, means: pl.DataFrame) -> Figure:
    """A score over the share of objects that training showed, a panel per mixture.

    A dot per model; a line through the means over seeds, with Student's interval where there are
    three or more; dotted: a bag of concepts.

    Args:
        models: rows of `coverage_tables.scored` of one score.
        means: rows of `coverage_tables.over_seeds` of the same score.
    """
    shown = panels_of(models)
    columns = min(3, len(shown))
    lines = -(-len(shown) // columns)
    size = (WIDTH if columns > 1 else NARROW, 3.0 * lines + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for axes, panel in zip(grid, shown, strict=False):
        where = {"grid": panel[0], "swap_share": panel[1]}
        _panel(axes, models.filter(**where), means.filter(**where))
        axes.set_title(textwrap.fill(panel_title(panel), LETTERS))
        axes.set_xlabel("share of objects that training shows")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.set_xlim(0, 1)
        axes.set_ylim(-0.03, 1.03)
    for axes in grid[len(shown) :]:
        axes.set_visible(False)
    handles: list[Any] = [
        Line2D([], [], color=LOOKS[name], marker="o", markersize=4, label=label)
        for name, label in FAMILIARITIES.items()
    ]
    legend(figure, [*handles, Line2D([], [], color=GREY, linestyle=":", label="bag of concepts")])
    return figure


def _panel(axes: Axes, models: pl.DataFrame, means: pl.DataFrame) -> None:
    for number, (name, colour) in enumerate(LOOKS.items()):
        shift = APART * (number - 1)
        dots = models.filter(familiarity=name).drop_nulls("value")
        axes.plot(dots["coverage"] + shift, dots["value"], ".", color=colour, markersize=4)
        line = means.filter(familiarity=name).drop_nulls("value").sort("coverage")
        axes.plot(line["coverage"] + shift, line["value"], color=colour, linewidth=1.4)
        band = line.drop_nulls("lo")
        value, lo, hi = (band[key].to_numpy() for key in ("value", "lo", "hi"))
        errors = np.maximum([value - lo, hi - value], 0)
        axes.errorbar(
            (band["coverage"] + shift).to_numpy(),
            value,
            yerr=errors,
            fmt="none",
            color=colour,
            elinewidth=0.9,
        )
    floors = means.group_by("coverage").agg(pl.mean("floor")).drop_nulls().sort("coverage")
    axes.plot(floors["coverage"], floors["floor"], ":", color=GREY, linewidth=1.3)


@styled
def carried_figure(table: pl.DataFrame) -> Figure:
    """What every class of functions carries of a model's objects, by how well the model binds.

    A dot per model and class.

    Args:
        table: of `coverage_tables.carried`.
    """
    known = table.drop_nulls(["bound", "share"])
    grids = known["grid"].unique(maintain_order=True).to_list()
    size = (WIDTH if len(grids) > 1 else NARROW, 3.9)
    figure = Figure(figsize=size, layout="constrained")
    row = figure.subplots(1, len(grids), sharey=True, squeeze=False)[0]
    classes: Sequence[tuple[str, int | None]] = (
        known.select("class", "width").unique(maintain_order=True).rows()
    )
    for axes, grid in zip(row, grids, strict=True):
        for number, (name, width) in enumerate(classes):
            dots = known.filter(pl.col("class") == name, pl.col("width").eq_missing(width))
            dots = dots.filter(grid=grid)
            colour = COLOURS[number % len(COLOURS)]
            axes.plot(dots["bound"], dots["share"], "o", color=colour, markersize=4, alpha=0.8)
        by = known.filter(grid=grid)["bound_by"][0]
        axes.set_title(grid)
        axes.axvline(BAGS[by], color=GREY, linestyle=":", linewidth=1.2)
        axes.set_xlabel(BOUND[by])
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.set_ylim(-0.03, max(1.05, 1.05 * float(known["share"].to_numpy().max())))
    row[0].set_ylabel("objects carried, share of the ceiling")
    handles = [
        Line2D(
            [],
            [],
            color=COLOURS[n % len(COLOURS)],
            marker="o",
            linestyle="",
            label=class_label(*which),
        )
        for n, which in enumerate(classes)
    ]
    bag = Line2D([], [], color=GREY, linestyle=":", label="bag of concepts that guesses")
    legend(figure, [*handles, bag])
    return figure
