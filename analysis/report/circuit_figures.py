"""Figures of the nodes that carry classes: what few of them carry, and where they lie."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from analysis.faithfulness_curves import ENOUGH
from analysis.report.faithfulness_tables import (
    EDGES,
    NODES,
    OTHER,
    OWN,
    RANDOM,
    REST,
    REST_OTHER,
    WRONG,
)
from analysis.report.figures import GREY, NARROW, WIDTH, legend, styled
from analysis.report.sharing_figures import MOST_PANELS, PANEL, Looks, broken
from analysis.report.sharing_points import MOST_BANDS
from analysis.report.summary import setting_label

CURVES: Looks = {
    OWN: ("nodes of the test domain", "-", "#D55E00"),
    OTHER: ("nodes of another domain: mean", "-", "#0072B2"),
    WRONG: ("nodes of another class", "--", "#CC79A7"),
    RANDOM: ("random nodes", "--", "#777777"),
    REST: ("without those of the test domain", "--", "#009E73"),
    REST_OTHER: ("without those of another domain: mean", "--", "#56B4E9"),
}
BESIDE: Looks = {
    f"{NODES} {OWN}": ("nodes of the test domain", "-", "#D55E00"),
    f"{EDGES} {OWN}": ("edges of the test domain", "--", "#D55E00"),
    f"{NODES} {OTHER}": ("nodes of another domain: mean", "-", "#0072B2"),
    f"{EDGES} {OTHER}": ("edges of another domain: mean", "--", "#0072B2"),
    f"{NODES} {RANDOM}": ("random nodes", "-", "#999999"),
    f"{EDGES} {RANDOM}": ("random edges", "--", "#999999"),
}
"""by parts and circuit: edges beside nodes"""
LOWEST, HIGHEST = -0.75, 1.75
"""ends of an axis of faithfulness, however far single estimates go"""
OWNERS = {
    "shared": ("test domain and at least half of the others", "#009E73"),
    "test": ("test domain alone", "#D55E00"),
    "others": ("at least half of the others, not the test domain", "#0072B2"),
}
"""label and colour by owner of a node"""
SMALL, LARGE = 4.0, 34.0
"""area of a node's marker: of none and of the largest contribution of its panel"""
RESOLUTION = 200
"""dots per inch of markers that are drawn as pixels"""


# ---------------------------------------------------------------------------- faithfulness


@styled
def curve_figure(
    table: pl.DataFrame,
    settings: Sequence[str],
    looks: Looks = CURVES,
    share: str = "share of the nodes, kept or taken away",
) -> Figure:
    """What a share of the parts carries of the answer: a panel per setting, a line per kind.

    Args:
        table: `faithfulness_tables.to_test_domain`, of one test domain and class set, `f` alone.
        settings: to be drawn, the first MOST_PANELS of them; one without rows is missing.
        looks: by `circuit`, of those that have a line.
        share: what the horizontal axis says.
    """
    settings = settings[:MOST_PANELS]
    columns = min(3, len(settings))
    lines = -(-len(settings) // columns)
    size = (WIDTH if columns > 1 else NARROW, PANEL * lines + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.ravel()[len(settings) :]:
        axes.set_visible(False)
    for axes, setting in zip(grid.ravel(), settings, strict=False):
        axes.set_title(textwrap.fill(setting_label(setting), 30))
        _curves(axes, table.filter(setting=setting), looks)
        axes.tick_params(labelbottom=True)
    for axes in grid[:, 0]:
        axes.set_ylabel("share of the answer, f")
    for axes in grid[-1]:
        axes.set_xlabel(share)
    _faithful_axis(grid[0, 0], table)
    legend(figure, _curve_handles(set(table.drop_nulls("value")["circuit"]), looks))
    return figure


def _curves(axes: Axes, rows: pl.DataFrame, looks: Looks) -> None:
    for level in (0, 1):
        axes.axhline(level, color="#999999", linewidth=0.7, zorder=0.5)
    axes.axhline(ENOUGH, color=GREY, linestyle=":", linewidth=1, zorder=0.5)
    if rows["value"].count() == 0:
        text = "missing" if rows.is_empty() else "not estimable"
        axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=GREY)
        return
    many = max(1, rows.select("run", "draw").n_unique())
    for circuit, (_, dashes, colour) in looks.items():
        part = rows.filter(circuit=circuit).sort("k", maintain_order=True)
        k, lo, hi, value = broken(part, ["run", "draw"], ["k", "lo", "hi", "value"])
        if many <= MOST_BANDS:
            axes.fill_between(k, lo, hi, color=colour, alpha=max(0.03, 0.18 / many), linewidth=0)
        look: dict[str, Any] = {"marker": "o", "markersize": 3} if many == 1 else {}
        width = 1.7 if many == 1 else 0.9
        axes.plot(k, value, color=colour, linestyle=dashes, linewidth=width, **look)


def _faithful_axis(axes: Axes, table: pl.DataFrame) -> None:
    """Shares of parts on a logarithmic axis; f as far as it can mean much."""
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:g} %"))
    axes.xaxis.set_minor_locator(NullLocator())
    known = table.drop_nulls("value")
    ends = [0.0, 1.0]
    for name in ("value", "lo", "hi"):
        ends += known[name].drop_nulls().to_list()
    axes.set_ylim(max(LOWEST, min(ends) - 0.05), min(HIGHEST, max(ends) + 0.05))


def beyond_axis(rows: pl.DataFrame) -> list[str]:
    """What is said where an estimate lies outside of the axis of faithfulness."""
    if rows.filter((pl.col("value") < LOWEST) | (pl.col("value") > HIGHEST)).is_empty():
        return []
    return [f"Estimates beyond {LOWEST:g} and {HIGHEST:g} leave the axis."]


def _curve_handles(drawn: set[str], looks: Looks) -> list[Artist]:
    handles: list[Artist] = [
        Line2D([], [], color=colour, linestyle=dashes, marker="o", markersize=3, label=label)
        for circuit, (label, dashes, colour) in looks.items()
        if circuit in drawn
    ]
    dotted = Line2D([], [], color=GREY, linestyle=":", label=f"f = {ENOUGH:g}")
    return [*handles, dotted]


# ---------------------------------------------------------------------------- drawn nodes


@styled
def parts_figure(
    panels: Mapping[str, pl.DataFrame], sites: Sequence[str], units: Mapping[str, int]
) -> Figure:
    """The strongest nodes of single classes: sites from left to right, nodes in their order.

    Args:
        panels: by title, rows of `circuit_tables.owned_nodes` of one class.
        sites: columns of a panel, from the input to the output.
        units: the highest number of a node by site: a site is drawn from 0 to it.
    """
    columns = 2 if len(panels) > 1 else 1
    lines = -(-len(panels) // columns)
    width = WIDTH if columns > 1 else NARROW
    size = (width, 2.6 * lines + 1.0)
    figure = Figure(figsize=size, dpi=RESOLUTION, layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes, (title, rows) in zip(grid, panels.items(), strict=False):
        axes.set_title(textwrap.fill(title, 48 if columns > 1 else 60))
        _class_panel(axes, rows, sites, units)
    for axes in grid[::columns]:
        axes.set_ylabel("place among the site's nodes")
    handles = [
        Line2D([], [], color=colour, marker="o", linestyle="", markersize=5, label=label)
        for label, colour in OWNERS.values()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)
    return figure


def _class_panel(
    axes: Axes, rows: pl.DataFrame, sites: Sequence[str], units: Mapping[str, int]
) -> None:
    """A column of markers per site; owners beside each other, so that none hides another."""
    axes.grid(False)
    for place in range(len(sites)):
        axes.axvline(place, color="#eeeeee", linewidth=6, zorder=0)
    largest = rows["value"].max() or 1.0
    for shift, (owner, (_, colour)) in zip((0.0, -0.22, 0.22), OWNERS.items(), strict=True):
        part = rows.filter(pl.col("site").is_in(list(sites)), owner=owner)
        x = [sites.index(site) + shift for site in part["site"]]
        y = [node / max(1, units[site]) for site, node in part.select("site", "node").iter_rows()]
        share = np.clip(part["value"].fill_null(0).to_numpy() / largest, 0, 1)
        area = SMALL + (LARGE - SMALL) * share
        axes.scatter(x, y, s=area, color=colour, alpha=0.75, linewidths=0, rasterized=True)
    axes.set_xticks(range(len(sites)), sites, rotation=60, ha="right", fontsize=7)
    axes.set_yticks([0, 1], ["first", "last"])
    axes.tick_params(labelbottom=True)
    axes.set_ylim(-0.04, 1.04)
