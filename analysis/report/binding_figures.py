"""The figures of binding: behaviour by measure, the binding function over fractions, all models."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from analysis.report.binding_tables import ACROSS, ANY, MEASURES, NOVEL, PARTS, SEEN, WITHIN
from analysis.report.figures import COLOURS, GREY, INK, NARROW, WIDTH, legend, styled

MOST_PANELS = 6
LETTERS = 38
PART_COLOURS = {SEEN: "#0072B2", NOVEL: "#D55E00", ANY: "#009E73"}
CLASS_LABELS = {
    "additive": "additive",
    "per_object": "products within objects",
    "global": "products over the scene",
    "mlp": "MLP",
    "forest": "random forest",
}
"""classes of functions, of rising complexity"""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@styled
def behaviour_figure(table: pl.DataFrame, titles: Mapping[str, str]) -> Figure:
    """Every measure of a model: dots with 95 % intervals, a stroke where a bag of concepts is.

    Args:
        table: rows of `binding_tables.behaviour` of one number of objects.
        titles: run → title of its panel; the first MOST_PANELS are drawn.
    """
    shown = list(titles)[:MOST_PANELS]
    names = [name for name in MEASURES if table.filter(measure=name)["value"].count()]
    columns = min(2, len(shown))
    lines = -(-len(shown) // columns)
    size = (WIDTH if columns > 1 else NARROW + 1, (0.27 * len(names) + 0.8) * lines + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes, run in zip(grid.ravel(), shown, strict=False):
        axes.set_title(textwrap.fill(titles[run], LETTERS))
        _measures(axes, table.filter(run=run), names)
        axes.set_yticks(range(len(names)), [MEASURES[name].label for name in names])
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlim(-0.02, 1.02)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.grid(visible=True, axis="x")
    for axes in grid.ravel()[len(shown) :]:
        axes.set_visible(False)
    parts = [part for part in PARTS if table.filter(part=part).height]
    handles = [
        Line2D([], [], color=PART_COLOURS[part], marker="o", linestyle="", label=PARTS[part])
        for part in parts
    ]
    bag = Line2D([], [], color=GREY, marker="|", markersize=10, linestyle="", label="bag")
    legend(figure, [*handles, bag])
    return figure


def _measures(axes: Axes, table: pl.DataFrame, names: Sequence[str]) -> None:
    parts = [part for part in PARTS if table.filter(part=part).height]
    for number, part in enumerate(parts):
        shift = 0.3 * (number - (len(parts) - 1) / 2)
        for row in table.filter(part=part).drop_nulls("value").iter_rows(named=True):
            if row["measure"] not in names:
                continue
            y = names.index(row["measure"]) + shift
            reach = [[row["value"] - row["lo"]], [row["hi"] - row["value"]]]
            axes.errorbar(
                [row["value"]],
                [y],
                xerr=np.maximum(reach, 0),
                marker="o",
                markersize=4,
                linewidth=1,
                color=PART_COLOURS[part],
            )
            if row["bag"] is not None:
                axes.plot([row["bag"]], [y], "|", color=GREY, markersize=9, markeredgewidth=1.4)


@styled
def function_figure(table: pl.DataFrame, titles: Mapping[str, str]) -> Figure:
    """Objects recognised in predicted embeddings over the share of objects that was fitted.

    A line per class of functions with Student's interval over splits; dashed: true embeddings;
    dotted: the best that a bag of concepts can reach.

    Args:
        table: rows of `binding_tables.function_curves` of one number of objects, kind "object" and
            bank "full", with the column `panel`.
        titles: value of `panel` → title; the first MOST_PANELS are drawn.
    """
    shown = list(titles)[:MOST_PANELS]
    columns = min(2, len(shown))
    lines = -(-len(shown) // columns)
    size = (WIDTH if columns > 1 else NARROW, 3.0 * lines + 1.0)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    classes = table.select("class", "width").unique(maintain_order=True).rows()
    for axes, panel in zip(grid.ravel(), shown, strict=False):
        rows = table.filter(panel=panel)
        axes.set_title(textwrap.fill(titles[panel], LETTERS))
        _function_panel(axes, rows, classes)
        axes.set_xlabel("share of objects that is fitted")
        axes.set_ylim(-0.03, 1.03)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.tick_params(labelbottom=True)
        if not rows["value"].count():
            axes.text(0.5, 0.5, "missing", transform=axes.transAxes, color=GREY, ha="center")
    for axes in grid.ravel()[len(shown) :]:
        axes.set_visible(False)
    handles = [
        Line2D([], [], color=COLOURS[n % len(COLOURS)], marker="o", label=class_label(*which))
        for n, which in enumerate(classes)
    ]
    true = Line2D([], [], color=INK, linestyle="--", label="true embeddings")
    bag = Line2D([], [], color=GREY, linestyle=":", label="best of a bag")
    legend(figure, [*handles, true, bag])
    return figure


def class_label(name: str, width: int | None) -> str:
    """A class of functions in words."""
    label = CLASS_LABELS.get(name, name)
    return label if width is None else f"{label}, width {width}"


def _function_panel(
    axes: Axes, rows: pl.DataFrame, classes: Sequence[tuple[str, int | None]]
) -> None:
    known = rows.drop_nulls("value").sort("fraction")
    for number, (name, width) in enumerate(classes):
        line = known.filter(pl.col("class") == name, pl.col("width").eq_missing(width))
        colour = COLOURS[number % len(COLOURS)]
        axes.plot(line["fraction"], line["value"], "o-", color=colour, markersize=3.5, linewidth=1)
        band = line.drop_nulls("lo")
        axes.fill_between(
            band["fraction"].to_numpy(),
            np.clip(band["lo"].to_numpy(), 0, 1),
            np.clip(band["hi"].to_numpy(), 0, 1),
            color=colour,
            alpha=0.12,
            linewidth=0,
        )
    levels = known.group_by("fraction").agg(pl.mean("ceiling", "bag_best")).sort("fraction")
    axes.plot(levels["fraction"], levels["ceiling"], "--", color=INK, linewidth=1)
    axes.plot(levels["fraction"], levels["bag_best"], ":", color=GREY, linewidth=1.4)


def models_figure(points: pl.DataFrame) -> Figure:
    """One point per model: binding across against within, and by how simple a function.

    Left: captions and images against attributes read off images. Right: objects that probes find in
    embeddings of images against those that they find in what the best class of functions makes of
    objects that it was not fitted on; on the line a function carries all of them. A colour per
    model, or per `group` where there are more models than colours. Dotted lines: what a bag of
    concepts reaches. The marker is the simplest class that carries the model's objects.

    Args:
        points: `model`, `group`, `simplest`, and `ACROSS`, `WITHIN`, "held" and "carried", each
            with `_lo`, `_hi` and `_bag`.
    """
    named = "model" if points["model"].n_unique() <= len(COLOURS) else "group"
    models = points[named].unique(maintain_order=True).to_list()
    simplest = points["simplest"].unique(maintain_order=True).to_list()
    size = (WIDTH, 3.6 + 0.1 * (len(models) + len(simplest)))
    figure = Figure(figsize=size, layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, (x, y) in ((left, (ACROSS, WITHIN)), (right, ("held", "carried"))):
        for row in points.drop_nulls([x, y]).iter_rows(named=True):
            axes.errorbar(
                [row[x]],
                [row[y]],
                xerr=_reach(row, x),
                yerr=_reach(row, y),
                marker=MARKERS[simplest.index(row["simplest"]) % len(MARKERS)],
                color=COLOURS[models.index(row[named]) % len(COLOURS)],
                markersize=6,
                linewidth=1,
            )
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.set_xlim(-0.02, 1.02)
        axes.set_ylim(-0.02, 1.02)
    for key, draw in ((ACROSS, left.axvline), (WITHIN, left.axhline), ("held", right.axvline)):
        for level in points[f"{key}_bag"].drop_nulls().round(3).unique():
            draw(level, color=GREY, linestyle=":", linewidth=1.2)
    right.plot([0, 1], [0, 1], color=GREY, linewidth=1)
    left.set_xlabel("across: image prefers its caption to the swap")
    left.set_ylabel("within: a noun's attribute, read off images")
    right.set_xlabel("objects, probe on images")
    right.set_ylabel("the same in what a function predicts")
    colours = [
        Line2D([], [], color=COLOURS[n % len(COLOURS)], marker="o", linestyle="", label=name)
        for n, name in enumerate(models)
    ]
    shapes = [
        Line2D([], [], color=INK, marker=MARKERS[n % len(MARKERS)], linestyle="", label=name)
        for n, name in enumerate(simplest)
    ]
    bag = Line2D([], [], color=GREY, linestyle=":", label="bag of concepts")
    legend(figure, [*colours, *shapes, bag])
    return figure


def _reach(row: Mapping[str, Any], key: str) -> Any:
    """[2, 1] how far the interval of a score reaches below and above it; None without one."""
    if row[f"{key}_lo"] is None:
        return None
    ends = [[row[key] - row[f"{key}_lo"]], [row[f"{key}_hi"] - row[key]]]
    return np.maximum(ends, 0)
