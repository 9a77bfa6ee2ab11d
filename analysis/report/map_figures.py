"""Figures of maps: images as points, coloured by domain, and distances between domains."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping, Sequence

import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.report.figures import GREY, INK, NARROW, WIDTH, legend, styled
from analysis.report.sharing_heat import MOST_ROWS
from analysis.report.summary import percent, setting_label

TEST, NATURAL, OTHER = "#D55E00", "#0072B2", "#c4c4c4"
COLOURS = ("#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""of the domains that are neither tested nor natural, while there are enough"""
SIZE, MARKED = 5.0, 16.0
"""points² of an image, and of one of a held-out cell"""
PANEL = 2.4
"""inches"""


@styled
def map_figure(
    panels: Mapping[str, pl.DataFrame],
    sites: Sequence[str],
    domains: Sequence[str],
    test_domain: str,
    natural: str,
    held_out: Collection[str],
) -> Figure:
    """Maps of one method: rows of panels are runs, columns are sites.

    Args:
        panels: rows of a run's maps, of one method, by what stands at the left; the first
            MOST_ROWS are drawn.
        sites: columns of the figure; a run that has no site of a name has an empty panel.
        domains: in the order of the legend.
        test_domain: drawn above the others.
        natural: has its own colour in every figure.
        held_out: classes whose images in the test domain are marked.
    """
    names = list(panels)[:MOST_ROWS]
    width = WIDTH if len(sites) > 2 else NARROW
    height = len(names) * min(PANEL, width / len(sites)) + 0.4 + 0.25 * -(-len(domains) // 4)
    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(len(names), len(sites), squeeze=False)
    colours = domain_colours(domains, test_domain, natural)
    for row, name in zip(grid, names, strict=True):
        for axes, site in zip(row, sites, strict=True):
            points = panels[name].filter(pl.col("site") == site)
            _map_panel(axes, points, colours, test_domain, held_out)
        row[0].set_ylabel(textwrap.fill(setting_label(name), 24))
    for axes, site in zip(grid[0], sites, strict=True):
        axes.set_title(site)
    legend(figure, _legend(colours, test_domain))
    return figure


def domain_colours(domains: Sequence[str], test_domain: str, natural: str) -> dict[str, str]:
    """A colour per domain; where there are more than can be told apart, the others are grey."""
    others = [name for name in domains if name not in (test_domain, natural)]
    greys = [OTHER] * len(others)
    named = dict(zip(others, COLOURS if len(others) <= len(COLOURS) else greys, strict=False))
    named |= {natural: NATURAL, test_domain: TEST}
    return {name: named[name] for name in domains}


def _map_panel(
    axes: Axes,
    points: pl.DataFrame,
    colours: Mapping[str, str],
    test_domain: str,
    held_out: Collection[str],
) -> None:
    """The images of one map; those of the test domain are on top, held-out ones above all."""
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=True, color="#dddddd")
    if points.is_empty():
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=GREY)
        return
    is_test = points["domain"] == test_domain
    is_marked = is_test & points["class_name"].is_in(list(held_out))
    for layer, part in enumerate((points.filter(~is_test), points.filter(is_test & ~is_marked))):
        colour = [colours[name] for name in part["domain"]]
        axes.scatter(
            part["x"], part["y"], c=colour, s=SIZE, linewidths=0, alpha=0.65, zorder=layer + 1
        )
    marked = points.filter(is_marked)
    axes.scatter(
        marked["x"], marked["y"], c=TEST, s=MARKED, edgecolors=INK, linewidths=0.7, zorder=3
    )
    axes.set_aspect("equal", adjustable="datalim")
    explained = points["explained"][0]
    if explained is not None:
        axes.set_xlabel(f"{percent(explained)} of the variance", fontsize=7.5, color=GREY)


def _legend(colours: Mapping[str, str], test_domain: str) -> list[Artist]:
    point = {"linestyle": "", "marker": "o"}
    shown: dict[str, list[str]] = {}
    for name, colour in colours.items():
        shown.setdefault(colour, []).append(name)
    labels = {
        colour: names[0] if len(names) == 1 else f"{len(names)} other domains"
        for colour, names in shown.items()
    }
    handles: list[Artist] = [
        Line2D([], [], color=colour, markersize=4, label=label, **point)  # type: ignore[arg-type]
        for colour, label in labels.items()
    ]
    marked = {"markeredgecolor": INK, "markeredgewidth": 0.7, "markersize": 5}
    label = f"{test_domain}, held-out classes"
    return [*handles, Line2D([], [], color=TEST, label=label, **marked, **point)]  # type: ignore[arg-type]
