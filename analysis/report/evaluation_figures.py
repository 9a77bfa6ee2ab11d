"""Figures of scores by setting: a panel per test domain, a row per setting, all points apart.

Draws of held-out classes, seeds and series (prompt sets, class sets, …) stand below each other
within a row, each with its own interval; nothing is averaged.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator, PercentFormatter, ScalarFormatter

from analysis.report.accuracy_figures import FAR, GAP, LABEL_GROUND, LETTERS, LINE, MARKERS
from analysis.report.figures import GREY, INK, NARROW, WIDTH, legend, styled
from analysis.report.summary import setting_label

SERIES_COLOURS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9"]
"""of Okabe & Ito, as those of the settings"""
STEP, TALLEST = 0.09, 1.3
"""inches: between the points of a row; of all points of a row"""
PARTS = {
    "value": ("wrong: a seen class", "#D55E00"),
    "wrong_within": ("wrong: another held-out class", "#F3C98B"),
    "accuracy": ("right", "#0072B2"),
}
"""of a bar, from its left: column of the table → label and colour"""


@dataclass(frozen=True)
class _Layout:
    """Rows of all panels, in inches.

    Attributes:
        middles: from the top of a panel to the middle of a row, by setting.
        lines: from the top of a panel to the lines between rows.
        step: between the points of a row.
        height: of a panel.
    """

    middles: dict[str, float]
    lines: list[float]
    step: float
    height: float


@styled
def dot_figure(
    table: pl.DataFrame,
    label: str,
    series: str,
    labels: Mapping[str, str],
    *,
    signed: bool = False,
) -> Figure:
    """Points with 95 % intervals by setting, in a panel per test domain; dotted: chance.

    Args:
        table: `test_domain`, `setting`, `draw`, `seed`, `value`, `lo`, `hi`, `chance`, and the
            column of the series; a row without value is missing.
        label: of the axis.
        series: column whose values have a colour each.
        labels: value of the series → label, in order; five at most.
        signed: whether values are no shares, but lie on both sides of 0.
    """
    layout = _layout(table, STEP)
    figure, panels = _panels(table, layout)
    ranks = {name: place for place, name in enumerate(labels)}
    table = table.sort(pl.col(series).replace_strict(ranks), "draw", "seed", maintain_order=True)
    colours = dict(zip(labels, SERIES_COLOURS[: len(labels)], strict=True))
    draws = table["draw"].unique().sort().to_list()
    for axes, test_domain in panels:
        part = _placed(table.filter(test_domain=test_domain), layout)
        _dots(axes, part, layout.step, [colours[name] for name in part[series]], draws)
        _say_missing(axes, part, layout)
        _chance_line(axes, part)
        if signed:
            axes.set_xlim(*_both_ends(table))
            axes.xaxis.set_major_formatter(ScalarFormatter())
        else:
            axes.set_xlim(0, _right_end(table))
        axes.set_xlabel(label)
    legend(figure, _dot_legend(labels, colours, draws, bool(table["chance"].count())))
    return figure


def _layout(table: pl.DataFrame, step: float) -> _Layout:
    """Rows as high as their labels and their points need, which are `step` inches apart."""
    counts = table.group_by("test_domain", "setting", maintain_order=True).len()
    most = counts.group_by("setting", maintain_order=True).agg(pl.max("len"))
    step = min(step, TALLEST / int(most["len"].max() or 1))  # type: ignore[arg-type]
    middles, lines, top = {}, [], 0.0
    for setting, points in most.iter_rows():
        height = GAP + max(step * points, LINE * (1 + _setting_text(setting).count("\n")))
        middles[setting] = top + height / 2
        top += height
        lines.append(top)
    return _Layout(middles, lines[:-1], step, top)


def _placed(table: pl.DataFrame, layout: _Layout) -> pl.DataFrame:
    """The rows of a panel with their `place`, inches from its top; missing ones have one too."""
    middle = pl.col("setting").replace_strict(layout.middles, return_dtype=pl.Float64)
    below = pl.int_range(pl.len()).over("setting") - (pl.len().over("setting") - 1) / 2
    return table.with_columns(place=middle + layout.step * below)


def _setting_text(setting: str) -> str:
    return textwrap.fill(setting_label(setting), LETTERS)


def _panels(table: pl.DataFrame, layout: _Layout) -> tuple[Figure, list[tuple[Axes, str]]]:
    """A panel per test domain, with the names of the settings at the left."""
    test_domains = table["test_domain"].unique(maintain_order=True).to_list()
    columns = min(3, len(test_domains))
    lines = -(-len(test_domains) // columns)
    width = WIDTH if columns > 1 else NARROW
    size = (width, lines * (layout.height + 0.85) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    texts = [_setting_text(setting) for setting in layout.middles]
    for axes in grid[:, 0]:
        axes.set_ylim(layout.height, 0)
        axes.set_yticks(list(layout.middles.values()), texts)
    for axes, test_domain in zip(grid.ravel(), test_domains, strict=False):
        axes.set_title(f"test domain {test_domain}")
        _plain_rows(axes, layout)
    for axes in grid.ravel()[len(test_domains) :]:
        axes.set_visible(False)
    return figure, list(zip(grid.ravel(), test_domains, strict=False))


def _plain_rows(axes: Axes, layout: _Layout) -> None:
    """Lines between the rows, and a grid for reading shares."""
    for line in layout.lines:
        axes.axhline(line, color="#ececea", linewidth=0.8, zorder=0)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labeltop=len(layout.middles) > FAR)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))


def _dots(
    axes: Axes, table: pl.DataFrame, step: float, colours: list[str], draws: list[int]
) -> None:
    """The points of a panel with their intervals; a marker per draw."""
    size = min(4.5, 0.8 * 72 * step)
    with_colours = table.with_columns(colour=pl.Series(colours, dtype=pl.String))
    bounded = with_colours.drop_nulls(["value", "lo", "hi"])
    axes.hlines(
        bounded["place"],
        bounded["lo"],
        bounded["hi"],
        colors=bounded["colour"].to_list(),
        linewidth=min(1.1, 0.3 * 72 * step),
        clip_on=False,
    )
    known = with_colours.drop_nulls("value")
    for (draw,), points in known.group_by("draw", maintain_order=True):
        axes.scatter(
            points["value"],
            points["place"],
            s=size**2,
            c=points["colour"].to_list(),
            marker=MARKERS[draws.index(int(draw)) % len(MARKERS)],
            linewidths=0,
            clip_on=False,
            zorder=3,
        )


def _say_missing(axes: Axes, table: pl.DataFrame, layout: _Layout) -> None:
    """Write at the right of a row how many of its points are missing; if all are, so."""
    counts = table.group_by("setting").agg(rows=pl.len(), gaps=pl.col("value").null_count())
    found = {setting: (rows, gaps) for setting, rows, gaps in counts.iter_rows()}
    for setting, middle in layout.middles.items():
        rows, gaps = found.get(setting, (0, 0))
        if not rows:
            _write_right(axes, middle, "does not apply")
        elif gaps:
            _write_right(axes, middle, "missing" if gaps == rows else f"{gaps} missing")


def _write_right(axes: Axes, middle: float, text: str) -> None:
    axes.annotate(
        text,
        (0.985, middle),
        xycoords=axes.get_yaxis_transform(),
        ha="right",
        va="center",
        fontsize=8,
        color=GREY,
        style="italic",
        bbox=LABEL_GROUND,
        zorder=5,
    )


def _chance_line(axes: Axes, table: pl.DataFrame, colour: str = GREY) -> None:
    """A dotted line per value of chance: series can have one each."""
    for chance in table["chance"].drop_nulls().unique().sort():
        axes.axvline(chance, color=colour, linestyle=":", linewidth=1.2)


def _both_ends(table: pl.DataFrame) -> tuple[float, float]:
    """A little beyond the intervals; 0 is among them."""
    known = table.drop_nulls("value")
    ends = [0.0, *(end for key in ("value", "lo", "hi") for end in known[key].drop_nulls())]
    room = 0.05 * (max(ends) - min(ends)) or 1.0
    return min(ends) - room, max(ends) + room


def _right_end(table: pl.DataFrame) -> float:
    """A little above the highest interval."""
    highest = table.select(pl.max_horizontal("value", "hi", "chance").max()).item()
    return min(1.02, 1.08 * highest) if highest else 1.0


def _dot_legend(
    labels: Mapping[str, str], colours: Mapping[str, str], draws: list[int], chance: bool
) -> list[Artist]:
    point = {"markersize": 4.5, "linewidth": 1}
    series = [
        Line2D([], [], color=colours[name], marker="o", label=label, **point)  # type: ignore[arg-type]
        for name, label in labels.items()
    ]
    shapes = [
        Line2D(
            [],
            [],
            color=INK,
            marker=MARKERS[place % len(MARKERS)],
            label=f"draw {draw}, 95 % interval" if len(draws) > 1 else "95 % interval",
            **point,  # type: ignore[arg-type]
        )
        for place, draw in enumerate(draws)
    ]
    dotted = [Line2D([], [], color=GREY, linestyle=":", label="chance")] if chance else []
    return [*series, *shapes, *dotted]


@styled
def taken_for_figure(table: pl.DataFrame) -> Figure:
    """What test samples of held-out classes are taken for: a bar per run, in three parts.

    Args:
        table: rows of `evaluation_tables.taken_for` of held-out classes and of one split.
    """
    layout = _layout(table, 2 * STEP)
    figure, panels = _panels(table, layout)
    table = table.sort("draw", "seed", maintain_order=True)
    for axes, test_domain in panels:
        part = _placed(table.filter(test_domain=test_domain), layout)
        _bars(axes, part, layout.step)
        _say_missing(axes, part, layout)
        _chance_line(axes, part, INK)
        axes.set_xlim(0, 1)
        axes.set_xlabel("share of the test samples")
    handles = [Patch(color=colour, label=label) for label, colour in PARTS.values()]
    interval = Line2D([], [], color=INK, linewidth=1, label="95 % interval of the first part")
    dotted = Line2D([], [], color=INK, linestyle=":", label="the first part by chance")
    legend(figure, [*handles, interval, dotted])
    return figure


def _bars(axes: Axes, table: pl.DataFrame, step: float) -> None:
    """The stacked bars of a panel, and the interval of their first part."""
    known = table.drop_nulls(["value", "accuracy"])
    left = np.zeros(known.height)
    for column, (_, colour) in PARTS.items():
        width = known[column].to_numpy()
        axes.barh(known["place"], width, height=0.86 * step, left=left, color=colour, linewidth=0)
        left = left + width
    bounded = known.drop_nulls(["lo", "hi"])
    ends = bounded["lo"], bounded["hi"]
    axes.hlines(bounded["place"], *ends, color=INK, linewidth=1, zorder=4)
