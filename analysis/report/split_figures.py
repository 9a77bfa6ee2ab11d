"""The figures of mixtures: functions from a table of cells to a matplotlib Figure, without files.

A table of cells has one row per (domain, class) cell, domain by domain: `domain`, `class_name`,
`held_out` (is the class), `exposure` (0 to 1) and the numbers to draw.

Legend: D domains, C classes, the held-out ones last.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.report.figures import NARROW, WIDTH, styled
from analysis.report.split_colours import blues, colour_bar, difference_scale, scale_of
from analysis.report.summary import thousands
from analysis.report.views import count

SEEN_COLOUR, HELD_OUT_COLOUR = "#0072B2", "#D55E00"
HIDDEN = {"facecolor": "#f2f2f0", "edgecolor": "#c4c4c0", "hatch": "/////", "linewidth": 0}
MOST_PANELS = 24
"""mixtures that an overview shows; more would be too small to read"""
NARROWEST = 0.13
"""share of the width that the held-out classes have at least, however few they are"""
HEAT_WIDTH = 6.0
"""inches of a mixture's heat map, about: what is left of WIDTH"""
POINTS = 72
"""per inch"""
LETTER = 0.62
"""width of a letter, in its size"""
LONGEST = 26
"""letters of a name on an axis"""


@dataclass(frozen=True)
class _Grid:
    """A table of cells as matrices; columns: seen classes, then held-out ones, in its order."""

    domains: list[str]
    classes: list[str]
    seen: int
    """number of seen classes"""
    hidden_DC: np.ndarray
    """cells that the setting does not show"""
    values_DC: np.ndarray

    @property
    def parts(self) -> list[tuple[str, slice]]:
        """The seen and the held-out classes that there are: label and columns."""
        seen, held_out = self.seen, len(self.classes) - self.seen
        found = [
            (f"seen classes ({seen})", slice(0, seen)),
            (f"held-out ({held_out})", slice(seen, None)),
        ]
        return [part for part, count in zip(found, (seen, held_out), strict=True) if count]

    @property
    def widths(self) -> list[float]:
        """Width of each part, in classes."""
        count = len(self.classes)
        return [max(NARROWEST * count, len(self.classes[part])) for _, part in self.parts]


def _grid(cells: pl.DataFrame, values: str = "realised", exposure: str = "exposure") -> _Grid:
    domains = cells["domain"].unique(maintain_order=True).to_list()
    first = cells.head(cells.height // len(domains))
    order_C = np.argsort(first["held_out"].to_numpy(), kind="stable")

    def matrix(column: str) -> np.ndarray:
        return cells[column].to_numpy().reshape(len(domains), -1)[:, order_C]

    values_DC = matrix(values).astype(float)
    return _Grid(
        domains=domains,
        classes=first["class_name"].gather(order_C).to_list(),
        seen=int((~first["held_out"]).sum()),
        hidden_DC=(matrix(exposure) == 0) & (values_DC == 0),
        values_DC=values_DC,
    )


# ---------------------------------------------------------------------------- one mixture


@styled
def mixture_figure(cells: pl.DataFrame, *, test_domain: str, natural: str) -> Figure:
    """Samples of every cell of a mixture, with the sums per domain and per class.

    Args:
        cells: a table of cells with the samples in `realised`.
        test_domain, natural: two of its domains, to be marked.
    """
    grid = _grid(cells)
    heat_height = max(1.5, 0.27 * len(grid.domains))
    figure = Figure(figsize=(WIDTH, heat_height + 2.7), layout="constrained")
    parts = len(grid.parts)
    specification = figure.add_gridspec(
        2,
        parts + 1,
        width_ratios=[*grid.widths, 0.25 * sum(grid.widths)],
        height_ratios=[0.9, heat_height],
    )
    scale = scale_of([grid.values_DC])
    heat, bars = _shared_axes(figure, specification, parts)
    for place, (label, part) in enumerate(grid.parts):
        image = _heat(heat[place], grid, part, scale)
        heat[place].set_xlabel(label)
        _class_labels(heat[place], grid, part)
        _numbers(heat[place], grid, part, scale)
        _class_bars(bars[place], grid, part)
    _domain_labels(heat[0], grid.domains, test_domain, natural)
    bars[0].set_ylabel("per class")
    sums = figure.add_subplot(specification[1, parts], sharey=heat[0])
    _domain_bars(sums, grid)
    colour_bar(figure, image, [*bars, *heat, sums], "training samples per cell", heat_height + 0.9)
    _mixture_legend(figure, grid)
    return figure


def _shared_axes(
    figure: Figure, specification: GridSpec, parts: int
) -> tuple[list[Axes], list[Axes]]:
    """Axes of the heat map's parts, and of the bars above them."""
    heat: list[Axes] = []
    bars: list[Axes] = []
    for place in range(parts):
        heat.append(figure.add_subplot(specification[1, place], sharey=heat[0] if heat else None))
        bars.append(
            figure.add_subplot(
                specification[0, place], sharex=heat[place], sharey=bars[0] if bars else None
            )
        )
    for axes in (*heat[1:], *bars[1:]):
        axes.tick_params(labelleft=False)
    return heat, bars


def _heat(
    axes: Axes, grid: _Grid, part: slice, scale: Normalize, colours: Colormap | None = None
) -> AxesImage:
    """The heat map of some columns; cells that are not shown are hatched, others of 0 white."""
    values_DC = grid.values_DC[:, part]
    if colours is None:
        values_DC, colours = np.where(values_DC > 0, values_DC, np.nan), blues()
    image = axes.imshow(
        values_DC, aspect="auto", interpolation="none", cmap=colours, norm=scale, zorder=1
    )
    for row, start, stop in _stretches(grid.hidden_DC[:, part]):
        axes.add_patch(Rectangle((start - 0.5, row - 0.5), stop - start, 1, zorder=2, **HIDDEN))  # type: ignore[arg-type]
    rows, columns = values_DC.shape
    axes.hlines(np.arange(0.5, rows - 1), -0.5, columns - 0.5, "white", linewidth=1.5, zorder=3)
    axes.grid(False)
    axes.tick_params(length=0)
    axes.set_xticks([])
    axes.spines[:].set(visible=True, color="#bbbbbb", zorder=4)
    return image


def _stretches(mask_DC: np.ndarray) -> list[tuple[int, int, int]]:
    """Row, start and stop of every stretch of neighbouring true values in a row."""
    padded = np.pad(mask_DC.astype(np.int8), ((0, 0), (1, 1)))
    steps = np.diff(padded, axis=1)
    starts, stops = np.argwhere(steps == 1), np.argwhere(steps == -1)
    return [(int(a[0]), int(a[1]), int(b[1])) for a, b in zip(starts, stops, strict=True)]


def _class_labels(axes: Axes, grid: _Grid, part: slice) -> None:
    """Names of classes, where the columns are wide enough for letters."""
    names = grid.classes[part]
    width = HEAT_WIDTH * POINTS * max(NARROWEST, len(names) / len(grid.classes)) / len(names)
    size = min(8.0, width / 1.15)
    if size >= 5:
        labels = [_shortened(name) for name in names]
        axes.set_xticks(range(len(names)), labels, rotation=90, fontsize=size)


def _numbers(axes: Axes, grid: _Grid, part: slice, scale: Normalize) -> None:
    """The number of samples in every cell that is shown, where the cells are wide enough."""
    values_DC, hidden_DC = grid.values_DC[:, part], grid.hidden_DC[:, part]
    letters = len(str(int(grid.values_DC.max(initial=0))))
    size = min(8.0, HEAT_WIDTH * POINTS / len(grid.classes) / (LETTER * letters + 0.5))
    if size < 5.5:
        return
    for row, column in np.argwhere(~hidden_DC):
        value = values_DC[row, column]
        dark = value > 0 and scale(value) > 0.55
        axes.text(
            *(column, row, f"{value:.0f}"),
            ha="center",
            va="center",
            fontsize=size,
            color="white" if dark else "#222222",
            zorder=4,
        )


def _class_bars(axes: Axes, grid: _Grid, part: slice) -> None:
    sums_C = grid.values_DC[:, part].sum(axis=0)
    colour = SEEN_COLOUR if part.start == 0 and grid.seen else HELD_OUT_COLOUR
    gap = 0.85 if len(grid.classes) < 120 else 1.0
    axes.bar(np.arange(len(sums_C)), sums_C, width=gap, color=colour, linewidth=0)
    axes.tick_params(labelbottom=False, bottom=False)
    axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: thousands(value)))


def _domain_bars(axes: Axes, grid: _Grid) -> None:
    seen_D = grid.values_DC[:, : grid.seen].sum(axis=1)
    held_out_D = grid.values_DC[:, grid.seen :].sum(axis=1)
    rows = np.arange(len(grid.domains))
    axes.barh(rows, seen_D, height=0.7, color=SEEN_COLOUR)
    axes.barh(rows, held_out_D, left=seen_D, height=0.7, color=HELD_OUT_COLOUR)
    total_D = seen_D + held_out_D
    for row, total in zip(rows, total_D, strict=True):
        axes.annotate(
            count(total),
            (total, row),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            color="#222222",
        )
    axes.set_xlim(0, 1.5 * max(1, total_D.max()))
    axes.set_xlabel("per domain")
    axes.tick_params(labelleft=False, length=0, labelbottom=False)
    axes.grid(False)
    axes.spines["bottom"].set_visible(False)


def _domain_labels(axes: Axes, domains: list[str], test_domain: str, natural: str) -> None:
    roles = {natural: " (natural)", test_domain: " (test)"}
    axes.set_yticks(
        range(len(domains)), [_shortened(name) + roles.get(name, "") for name in domains]
    )
    for name, label in zip(domains, axes.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if name == test_domain else "normal")


def _mixture_legend(figure: Figure, grid: _Grid) -> None:
    handles = [
        Patch(color=SEEN_COLOUR, label="sums: seen classes"),
        Patch(color=HELD_OUT_COLOUR, label="sums: held-out classes"),
    ]
    if grid.hidden_DC.any():
        handles.append(Patch(label="not shown by the setting", **HIDDEN))  # type: ignore[arg-type]
    if ((grid.values_DC == 0) & ~grid.hidden_DC).any():
        handles.append(Patch(facecolor="white", edgecolor="#bbbbbb", label="shown, but no sample"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)


# ---------------------------------------------------------------------------- several mixtures


@styled
def overview_figure(tables: Mapping[str, pl.DataFrame]) -> Figure:
    """Small heat maps of several mixtures on one scale of colours.

    Args:
        tables: title → table of cells with the samples in `realised`; at least one, and of more
            than MOST_PANELS the first ones are drawn.
    """
    grids = {title: _grid(cells) for title, cells in list(tables.items())[:MOST_PANELS]}
    columns = min(3, len(grids))
    rows = -(-len(grids) // columns)
    tallest = max(len(grid.domains) for grid in grids.values())
    lines = {title: textwrap.fill(title, 34) for title in grids}
    above = 0.17 * max(text.count("\n") + 1 for text in lines.values())
    height = rows * (max(0.8, 0.17 * tallest) + above + 0.4) + 0.4
    figure = Figure(figsize=(WIDTH if columns > 1 else NARROW, height), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    scale = scale_of([grid.values_DC for grid in grids.values()])
    before: list[str] = []
    for place, (axes, (title, grid)) in enumerate(zip(panels, grids.items(), strict=False)):
        image = _small_panel(axes, grid, scale)
        axes.set_title(lines[title], fontsize=8)
        if place % columns and grid.domains == before:
            axes.tick_params(labelleft=False)
        before = grid.domains
    for axes in panels[len(grids) :]:
        axes.set_visible(False)
    colour_bar(figure, image, panels.tolist(), "samples per cell", height)
    return figure


def _small_panel(axes: Axes, grid: _Grid, scale: Normalize) -> AxesImage:
    image = _heat(axes, grid, slice(None), scale)
    axes.set_yticks(range(len(grid.domains)), map(_shortened, grid.domains), fontsize=7)
    axes.axvline(grid.seen - 0.5, color=HELD_OUT_COLOUR, linewidth=1.5, zorder=4)
    held_out = len(grid.classes) - grid.seen
    places = [(grid.seen - 1) / 2, len(grid.classes) - 0.5]
    labels = [f"seen ({grid.seen})", f"held-out ({held_out})"]
    axes.set_xticks(places, labels, fontsize=7)
    axes.get_xticklabels()[1].set_horizontalalignment("right")
    return image


@styled
def comparison_figure(cells: pl.DataFrame, first: str, second: str) -> Figure:
    """Two mixtures on one scale of colours, and their difference.

    Args:
        cells: a table of cells with the samples in `a` and `b`, and instead of `exposure` its
            values `exposure_a` and `exposure_b`; `held_out` where one of them holds the class out.
        first, second: names of the mixtures of `a` and `b`.
    """
    table = cells.with_columns(
        difference=pl.col("b") - pl.col("a"), exposure=pl.max_horizontal("exposure_a", "exposure_b")
    )
    both = [_grid(table, key, f"exposure_{key}") for key in ("a", "b")]
    difference = _grid(table, "difference")
    height = max(1.1, 0.22 * len(difference.domains))
    figure = Figure(figsize=(WIDTH, 3 * (height + 0.75) + 0.4), layout="constrained")
    parts = len(difference.parts)
    axes = figure.subplots(3, parts, squeeze=False, width_ratios=difference.widths)
    samples, change = (
        scale_of([grid.values_DC for grid in both]),
        difference_scale(difference.values_DC),
    )
    titles = (f"A: {first}", f"B: {second}", "B − A (red: more in B)")
    for row, grid, title in zip(axes, (*both, difference), titles, strict=True):
        colours = mpl.colormaps["RdBu_r"] if grid is difference else None
        for place, (label, part) in enumerate(grid.parts):
            scale = change if grid is difference else samples
            image = _heat(row[place], grid, part, scale, colours)
            row[place].set_xlabel(label if grid is difference else "")
            row[place].set_yticks(range(len(grid.domains)), map(_shortened, grid.domains))
            row[place].tick_params(labelleft=place == 0)
        row[0].set_title(_shortened(title, 100))
        if grid is both[1]:
            colour_bar(figure, image, axes[:2].ravel().tolist(), "samples per cell", 2 * height)
    colour_bar(figure, image, axes[2].tolist(), "difference", height)
    neither = Patch(label="not shown by the setting (difference: by neither)", **HIDDEN)  # type: ignore[arg-type]
    figure.legend(handles=[neither], loc="outside lower center")
    return figure


def _shortened(name: str, letters: int = LONGEST) -> str:
    return name if len(name) <= letters else name[: letters - 1] + "…"
