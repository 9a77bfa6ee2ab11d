"""The figure of disturbed prompts: accuracy by how they are written, a line per model."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from analysis.report.figures import COLOURS, GREY, NARROW, WIDTH, legend, styled
from analysis.report.text_tables import way_label, ways_of

MOST_PANELS = 9
HEIGHT, FEW_LETTERS = 3.2, 34
"""inches of a panel; letters of its title"""
SPREAD = 0.5
"""of a place on the axis, over which the lines of a panel stand beside each other"""


@styled
def robustness_figure(
    table: pl.DataFrame, panel: str, titles: Mapping[str, str], series: Mapping[str, str]
) -> Figure:
    """Accuracy by how prompts are written, undisturbed ones first; dotted: chance.

    A line per run and draw of held-out classes, in the colour of its series, with 95 % intervals
    over test samples; of typos the mean over draws, beside it as dots the smallest and the largest.

    Args:
        table: rows of `text_tables.text_scores` of one split and class set, and the columns
            `panel` and `series`.
        panel: column whose values have a panel each.
        titles: value of the column → title; the first MOST_PANELS are drawn.
        series: value of the column `series` → label, in their order.
    """
    shown = list(titles)[:MOST_PANELS]
    columns = min(2, len(shown))
    lines = -(-len(shown) // columns)
    size = (WIDTH if columns > 1 else NARROW, HEIGHT * lines + 1.1)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    ways = ways_of(table)
    colours = {name: COLOURS[n % len(COLOURS)] for n, name in enumerate(series)}
    for axes, name in zip(grid.ravel(), shown, strict=False):
        axes.set_title(textwrap.fill(titles[name], FEW_LETTERS))
        part = table.filter(pl.col(panel) == name)
        _panel(axes, part, ways, colours)
        axes.set_xticks(range(len(ways)), [way_label(*way) for way in ways])
        axes.tick_params(axis="x", rotation=45, labelbottom=True)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        if not part["value"].count():
            axes.text(0.5, 0.5, "missing", transform=axes.transAxes, color=GREY, ha="center")
    grid[0, 0].set_ylim(bottom=0)  # of all panels, so not before the last one is drawn
    for axes in grid.ravel()[len(shown) :]:
        axes.set_visible(False)
    handles = [
        Line2D([], [], color=colours[name], marker="o", markersize=4, label=label)
        for name, label in series.items()
    ]
    chance = Line2D([], [], color=GREY, linestyle=":", label="chance")
    legend(figure, [*handles, chance])
    return figure


def _panel(
    axes: Axes,
    table: pl.DataFrame,
    ways: list[tuple[str, int | None]],
    colours: Mapping[str, str],
) -> None:
    places = {way: place for place, way in enumerate(ways)}
    known = table.drop_nulls("value")
    groups = [rows for _, rows in known.group_by("series", "run", "draw", maintain_order=True)]
    for number, rows in enumerate(groups):
        colour = colours[rows["series"][0]]
        shift = SPREAD * ((number + 0.5) / len(groups) - 0.5)
        x = np.array([places[way] for way in rows.select("disturbance", "strength").rows()]) + shift
        value, lo, hi = (rows[key].to_numpy() for key in ("value", "lo", "hi"))
        errors = np.maximum([value - lo, hi - value], 0)
        style: dict[str, Any] = {
            "color": colour,
            "marker": "o",
            "markersize": 3.5,
            "linewidth": 0.8,
        }
        axes.errorbar(x, value, yerr=errors, elinewidth=0.8, **style)
        several = (rows["text_draws"] > 1).to_numpy()
        for key in ("smallest", "largest"):
            axes.plot(
                x[several] + 0.05, rows[key].to_numpy()[several], ".", color=colour, markersize=3
            )
    for chance in known.filter(pl.col("disturbance") == ways[0][0])["chance"].unique().sort():
        axes.axhline(chance, color=GREY, linestyle=":", linewidth=1.2)
