"""Figures of sharing by layer: a panel per setting, depth from left to right."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from analysis.report.figures import GREY, INK, NARROW, WIDTH, styled
from analysis.report.sharing_points import MOST_BANDS
from analysis.report.summary import setting_label

MOST_PANELS = 9
"""settings that have room"""
MOST_SITES = 12
"""sites whose names have room below a panel"""
MOST_MARKED = 4
"""lines of a kind in a panel whose points can be told from each other"""
LETTERS_PER_INCH, HANDLE = 12.5, 6
"""of a legend; what a handle takes, in letters"""
PANEL = 2.75
"""inches of a panel's height"""
LOWEST, HIGHEST = -0.5, 1.5
"""ends of an axis of similarity, however far single estimates go"""
TEST, EACH, OTHER = "#D55E00", "#EBA470", "#c4c4c4"
"""colours: mean of the pairs with the test domain, each of them, other pairs"""
CEILING, FLOOR = "#009E73", "#56B4E9"
CHANCE = "chance of each"
REPLICATES = (
    "A line per draw of held-out classes and seed; none is averaged. Of more than eight lines of a "
    "kind the band is the mean of their intervals."
)
"""what is said below a figure by layer of a replicated study"""
BANDS = {
    "ceiling": "other images of one domain",
    "floor": "untrained network",
    "chance": "classes shuffled",
}
"""what the bands of similarity are"""
LINES = ("pairs with {}: mean, 95 %", "each of them", "other pairs")
"""what lines of similarity are; {} stands for the test domain"""
Dashes = Literal["-", "--", ""]
"""how a line is drawn; empty for points alone"""
Looks = Mapping[str, tuple[str, Dashes, str]]
"""label, dashes and colour of a line, by its value in the column that tells them apart"""
DOT: dict[str, Any] = {"marker": "o", "markersize": 3.5}
DIAMOND: dict[str, Any] = {"marker": "D", "markersize": 6, "markerfacecolor": "none"}
"""a point on its line, and one without, through which the point of another can be seen"""
CLASS_SETS: Looks = {
    "seen": ("seen classes", "-", "#0072B2"),
    "held_out": ("held-out classes", "--", "#D55E00"),
}
GEOMETRY: Looks = {
    "s_id": ("S_id: in the same directions", "-", "#D55E00"),
    "s_rot": ("S_rot: after the best rotation", "--", "#0072B2"),
}


@dataclass(frozen=True)
class _Grid:
    """A figure with a panel per setting."""

    figure: Figure
    panels: list[tuple[Axes, str]]


# ---------------------------------------------------------------------------- pairs


@styled
def layer_figure(
    pairs: pl.DataFrame,
    means: pl.DataFrame,
    settings: Sequence[str],
    label: str,
    bands: Mapping[str, str] = BANDS,
    lines: Sequence[str] = LINES,
) -> Figure:
    """A measure by depth: every pair of domains, and the mean of those with the test domain.

    Args:
        pairs: rows of `sharing_tables.sharing_pairs` of one test domain, level, measure and class
            set.
        means: `sharing_tables.sharing` of the same rows.
        settings: to be drawn, the first MOST_PANELS of them; one without rows is missing.
        label: of the measure.
        bands: what ceiling, floor and chance are, as the legend says it.
        lines: what the mean, its pairs and the other pairs are; empty where it needs no word.
    """
    grid = _grid(pairs, settings, label)
    for axes, setting in grid.panels:
        part = pairs.filter(setting=setting)
        _bands(axes, part.filter(pairs="with_test_domain"))
        many = max(1, part.select("run", "draw").n_unique())
        for group, colour in (("others", OTHER), ("with_test_domain", EACH)):
            rows = part.filter(pairs=group).sort("depth", maintain_order=True)
            x, value = broken(rows, ["run", "draw", "domain_a", "domain_b"], ["depth", "value"])
            axes.plot(x, value, color=colour, linewidth=0.8 if many == 1 else 0.4)
        mean = means.filter(setting=setting, pairs="with_test_domain")
        _estimates(axes, mean, TEST, "-")
        _say_empty(axes, part)
    _similarity_axis(grid, means, pairs.select("value"))
    _legend(grid.figure, _layer_handles(pairs, bands, lines))
    return grid.figure


def _bands(axes: Axes, rows: pl.DataFrame) -> None:
    """Chance, ceiling and floor of pairs: from the lowest to the highest, but the mean band of
    chance, which is an interval itself."""
    by_depth = rows.group_by("depth", maintain_order=True).agg(
        pl.col("chance_lo").mean(),
        pl.col("chance_hi").mean(),
        *(pl.col(key).min().alias(f"{key}_least") for key in ("ceiling", "floor")),
        *(pl.col(key).max().alias(f"{key}_most") for key in ("ceiling", "floor")),
    )
    by_depth = by_depth.sort("depth")
    for lower, upper, colour, edge in (
        ("chance_lo", "chance_hi", GREY, 0.0),
        ("floor_least", "floor_most", FLOOR, 1.2),
        ("ceiling_least", "ceiling_most", CEILING, 1.2),
    ):
        known = by_depth.drop_nulls([lower, upper])
        ends = known[lower], known[upper]
        axes.fill_between(known["depth"], *ends, color=colour, alpha=0.22, linewidth=0)
        for end in ends:  # a band of no width is a line
            axes.plot(known["depth"], end, color=colour, linewidth=edge, alpha=0.7)


def _layer_handles(
    pairs: pl.DataFrame, bands: Mapping[str, str], lines: Sequence[str]
) -> list[Artist]:
    mean, each, other = (text.format(pairs["test_domain"][0]) for text in lines)
    handles: list[Artist] = [Line2D([], [], color=TEST, label=mean, **DOT)]
    for text, colour in ((each, EACH), (other, OTHER)):
        if text:
            handles.append(Line2D([], [], color=colour, linewidth=0.9, label=text))
    for key, column, colour in (
        ("ceiling", "ceiling", CEILING),
        ("floor", "floor", FLOOR),
        ("chance", "chance_lo", GREY),
    ):
        if pairs[column].count():
            handles.append(Patch(color=colour, alpha=0.3, label=f"{key}: {bands[key]}"))
    return handles


# ---------------------------------------------------------------------------- kinds of line


@styled
def kinds_figure(
    table: pl.DataFrame,
    settings: Sequence[str],
    kind: str,
    looks: Looks,
    label: str,
    *,
    percent: bool = False,
    below: str = "",
    highest: float = HIGHEST,
) -> Figure:
    """Estimates by depth: a line with its 95 % band per kind, and what each is by chance.

    Args:
        table: of one test domain: `setting`, `run`, `draw`, `site`, `depth`, `value`, `lo`, `hi`,
            `chance`, and `chance_lo` and `chance_hi` where chance has a band.
        settings: to be drawn, the first MOST_PANELS of them; one without rows is missing.
        kind: column that tells the lines apart.
        looks: label, dashes and colour by value of that column.
        label: of the axis.
        percent: whether values are shares.
        below: label of the axis below, where it is not depth.
        highest: end of the axis, however far single estimates go.
    """
    grid = _grid(table, settings, label)
    banded = "chance_lo" in table.columns and table["chance_lo"].count() > 0
    for axes, setting in grid.panels:
        part = table.filter(setting=setting)
        for value, (_, dashes, colour) in looks.items():
            rows = part.filter(pl.col(kind) == value)
            (_chance_band if banded else _chance_line)(axes, rows, colour)
            _estimates(axes, rows, colour, dashes)
        _say_empty(axes, part)
        axes.set_xlabel(below)
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    _similarity_axis(grid, table, highest=highest)
    drawn = set(table.drop_nulls("value")[kind])
    shown = {value: look for value, look in looks.items() if value in drawn}
    _legend(grid.figure, [*_kind_handles(shown), *_chance_handle(table, banded=banded)])
    return grid.figure


def _kind_handles(looks: Looks) -> list[Artist]:
    return [
        Line2D([], [], color=colour, linestyle=dashes, label=text, **(DOT if dashes else DIAMOND))
        for text, dashes, colour in looks.values()
    ]


def _chance_handle(table: pl.DataFrame, *, banded: bool) -> list[Artist]:
    if banded:
        band = Patch(facecolor="none", edgecolor=INK, hatch="////", linewidth=0, alpha=0.5)
        band.set_label(CHANCE)
        return [band]
    line = Line2D([], [], color=INK, linestyle=":", linewidth=1, label=CHANCE)
    return [line] if table["chance"].count() else []


def _chance_band(axes: Axes, rows: pl.DataFrame, colour: str) -> None:
    """What a kind is by chance, as a hatched band: the mean over runs."""
    by_depth = rows.group_by("depth", maintain_order=True).agg(
        pl.col("chance_lo", "chance_hi").mean()
    )
    by_depth = by_depth.drop_nulls().sort("depth")
    axes.fill_between(
        by_depth["depth"],
        by_depth["chance_lo"],
        by_depth["chance_hi"],
        facecolor="none",
        edgecolor=colour,
        alpha=0.5,
        hatch="////",
        linewidth=0,
    )


def _chance_line(axes: Axes, rows: pl.DataFrame, colour: str) -> None:
    """What a kind is by chance, as a dotted line: the mean over runs."""
    by_depth = rows.group_by("depth", maintain_order=True).agg(pl.col("chance").mean())
    by_depth = by_depth.drop_nulls().sort("depth")
    axes.plot(by_depth["depth"], by_depth["chance"], color=colour, linestyle=":", linewidth=1)


# ---------------------------------------------------------------------------- panels


def _grid(table: pl.DataFrame, settings: Sequence[str], label: str) -> _Grid:
    settings = settings[:MOST_PANELS]
    columns = min(3, len(settings))
    lines = -(-len(settings) // columns)
    size = (WIDTH if columns > 1 else NARROW, PANEL * lines + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for axes in grid.ravel()[len(settings) :]:
        axes.set_visible(False)
    panels = list(zip(grid.ravel(), settings, strict=False))
    for axes, setting in panels:
        axes.set_title(textwrap.fill(setting_label(setting), 30))
        name_sites(axes, table.filter(setting=setting))
    for axes in grid[:, 0]:
        axes.set_ylabel(textwrap.fill(label, 28))
    return _Grid(figure, panels)


def _legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Legend below the panels, in as many columns as its longest label leaves room for."""
    longest = max(len(str(handle.get_label())) for handle in handles)
    room = int(figure.get_figwidth() * LETTERS_PER_INCH / (longest + HANDLE))
    columns = max(1, min(4, room, len(handles)))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def name_sites(axes: Axes, table: pl.DataFrame) -> None:
    """Names of sites below their depths; of many sites some, evenly, the last one among them."""
    sites = table.select("depth", "site").unique().sort("depth", "site")
    step = max(1, -(-sites.height // MOST_SITES))
    named = sites.reverse().gather_every(step)
    axes.set_xticks(named["depth"].to_list(), named["site"].to_list(), rotation=45, ha="right")


def _estimates(axes: Axes, rows: pl.DataFrame, colour: str, dashes: Dashes) -> None:
    """A line per run and draw with its band; of many lines one band, the mean of theirs."""
    rows = rows.sort("depth", maintain_order=True)
    many = max(1, rows.select("run", "draw").n_unique())
    x, lo, hi, value = broken(rows, ["run", "draw"], ["depth", "lo", "hi", "value"])
    if many > MOST_BANDS:
        mean = rows.group_by("depth", maintain_order=True).agg(pl.col("lo", "hi").mean())
        axes.fill_between(mean["depth"], mean["lo"], mean["hi"], color=colour, alpha=0.15, lw=0)
    else:
        axes.fill_between(x, lo, hi, color=colour, alpha=max(0.03, 0.2 / many), linewidth=0)
    width = 1.9 if many == 1 else 1.1
    axes.plot(x, value, color=colour, linestyle=dashes, linewidth=width, **_point(dashes, many))


def _point(dashes: Dashes, many: int) -> dict[str, Any]:
    """How the points of a line look; on its line, of many runs there is none."""
    if not dashes:
        return DIAMOND
    return DOT if many == 1 else DOT | {"markersize": 2.5 * (many <= MOST_MARKED)}


def broken(table: pl.DataFrame, keys: list[str], columns: list[str]) -> list[np.ndarray]:
    """Columns in which a NaN parts one group from the next: one artist draws all their lines."""
    groups = [rows for _, rows in table.group_by(keys, maintain_order=True)]
    if not groups:
        return [np.empty(0) for _ in columns]
    pieces = [[rows[key].cast(pl.Float64).to_numpy() for rows in groups] for key in columns]
    return [np.concatenate([np.append(piece, np.nan) for piece in part])[:-1] for part in pieces]


def beyond_axis(rows: pl.DataFrame) -> list[str]:
    """What is said where a `value` lies outside of the axis of a figure by layer."""
    if rows.filter((pl.col("value") < LOWEST) | (pl.col("value") > HIGHEST)).is_empty():
        return []
    return [f"Estimates beyond {LOWEST:g} and {HIGHEST:g} leave the axis."]


def _similarity_axis(grid: _Grid, *tables: pl.DataFrame, highest: float = HIGHEST) -> None:
    """One scale that holds all that is drawn, as far as similarities can mean much."""
    names = ("value", "lo", "hi", "chance", "chance_lo", "chance_hi", "ceiling", "floor")
    ends = [
        float(end)
        for table in tables
        for name in names
        if name in table.columns
        for end in table[name].drop_nulls()
    ]
    least, most = min([0.0, *ends]), max(ends, default=1.0)
    room = 0.04 * (most - least)
    axes = grid.panels[0][0]
    axes.set_ylim(max(LOWEST, least - room), min(highest, most + room))
    for panel, _ in grid.panels:
        panel.axhline(0, color="#999999", linewidth=0.7, zorder=0.5)


def _say_empty(axes: Axes, rows: pl.DataFrame) -> None:
    """Why a panel has no line."""
    if rows["value"].count():
        return
    text = "missing" if rows.is_empty() else "not estimable"
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", color=GREY, style="italic")
