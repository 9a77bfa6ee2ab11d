"""Heat maps: domain against domain, a panel per setting and site."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.report.domain_matrices import Matrix
from analysis.report.figures import GREY, NARROW, WIDTH, styled
from analysis.report.sharing_text import number
from analysis.report.summary import setting_label

MOST_ROWS, MOST_COLUMNS = 3, 5
"""settings and sites that have room"""
TOLD = ("natural_only", "leave_out_domain", "cg_high_diversity")
"""settings that are drawn before all others"""
WRITTEN = 7
"""domains above which a cell has no room for its number"""
SQUARE = 1.75
"""inches of a panel"""
BESIDE, BELOW = 2.3, 1.3
"""inches for names of domains and the scale of colours"""


def some_sites(table: pl.DataFrame, most: int = MOST_COLUMNS) -> list[str]:
    """Sites by depth; of many the last, and some evenly from the first to the one before it."""
    sites = table.select("depth", "site").unique().sort("depth", "site")["site"].to_list()
    if len(sites) <= most:
        return sites
    inner = np.linspace(0, len(sites) - 2, most - 1).round().astype(int)
    return [*(sites[place] for place in inner), sites[-1]]


def some_settings(names: Iterable[str]) -> list[str]:
    """The settings that are drawn, of many, in their order."""
    every = list(names)
    first = sorted(every, key=lambda name: name not in TOLD)[:MOST_ROWS]
    return [name for name in every if name in first]


@styled
def heat_figure(
    panels: Mapping[str, pl.DataFrame],
    sites: Sequence[str],
    domains: Sequence[str],
    matrix: Matrix,
    label: str,
    axes_labels: tuple[str, str] = ("", ""),
) -> Figure:
    """A panel per row and site on one scale of colours; a cell with a dot is no more than chance.

    Args:
        panels: rows of one run by setting; `some_settings` are drawn.
        sites: columns of the figure; a run that has no site of a name has an empty panel.
        domains: names of rows and columns of a panel.
        matrix: what makes a panel of rows.
        label: of the colours.
        axes_labels: what rows and columns of a panel are; empty for nothing.
    """
    names = some_settings(panels)
    figure = Figure(figsize=_size(len(names), len(sites)), layout="constrained")
    grid = figure.subplots(len(names), len(sites), sharex=True, sharey=True, squeeze=False)
    found = {
        (name, site): matrix(panels[name].filter(pl.col("site") == site))
        for name in names
        for site in sites
    }
    norm = _scale([values for values, _ in found.values()])
    colours = mpl.colormaps["cividis"].with_extremes(bad="#eeeeee")
    for row, name in zip(grid, names, strict=True):
        for axes, site in zip(row, sites, strict=True):
            image = axes.imshow(np.ma.masked_invalid(found[name, site][0]), cmap=colours, norm=norm)
            _panel(axes, *found[name, site], norm)
        row[0].set_ylabel(_side(name, axes_labels[0]))
    for axes, site in zip(grid[0], sites, strict=True):
        axes.set_title(site)
    _name_domains(grid, domains, axes_labels[1])
    bar = figure.colorbar(image, ax=grid.ravel().tolist(), shrink=0.75, pad=0.01)
    bar.set_label(label)
    bar.outline.set_visible(False)
    return figure


def _size(rows: int, columns: int) -> tuple[float, float]:
    width = min(WIDTH, max(NARROW, SQUARE * columns + BESIDE))
    return width, rows * (0.12 + (width - BESIDE) / columns) + BELOW


def _scale(matrices: Sequence[np.ndarray]) -> mpl.colors.Normalize:
    known = np.concatenate([values[np.isfinite(values)] for values in matrices])
    return (
        mpl.colors.Normalize(min(0.0, *known), max(known))
        if len(known)
        else (mpl.colors.Normalize(0, 1))
    )


def _side(name: str, what: str) -> str:
    """What stands at the left of a row of panels."""
    text = textwrap.fill(setting_label(name), 22)
    return f"{text}\n{what}" if what else text


def _panel(
    axes: Axes, values: np.ndarray, by_chance: np.ndarray, norm: mpl.colors.Normalize
) -> None:
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set(visible=False)
    if not np.isfinite(values).any():
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=GREY)
        return
    inks = np.where(norm(np.nan_to_num(values)) < 0.5, "white", "black")
    for i, j in np.argwhere(np.isfinite(values)) if len(values) <= WRITTEN else ():
        text, ink = number(values[i, j]).replace("0.", ".", 1), str(inks[i, j])
        axes.text(j, i, text, ha="center", va="center", color=ink, fontsize=5.5)
    dots = np.argwhere(by_chance & np.isfinite(values))
    axes.scatter(dots[:, 1] + 0.36, dots[:, 0] + 0.34, s=1.5, c=inks[tuple(dots.T)].tolist())


def _name_domains(grid: np.ndarray, domains: Sequence[str], below: str) -> None:
    places = range(len(domains))
    for axes in grid[:, 0]:
        axes.set_yticks(places, domains)
        axes.tick_params(labelsize=7.5)
    for axes in grid[-1]:
        axes.set_xticks(places, domains, rotation=60, ha="right")
        axes.tick_params(labelsize=7.5)
        axes.set_xlabel(below)
