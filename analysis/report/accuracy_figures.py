"""The headline figure: accuracy on held-out classes, by setting, in each test domain.

A few settings with one draw of held-out classes stand side by side as columns; more of either
stand below each other as rows, where there is room for their names and for every point.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, PercentFormatter

from analysis.report.figures import (
    GREY,
    INK,
    NARROW,
    WIDTH,
    legend,
    setting_colour,
    styled,
)
from analysis.report.summary import percent, setting_label, variant_label

UPPER = "upper_bound"
LABEL_GROUND = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
MOST_COLUMNS = 6
"""settings that have room side by side"""
MARKERS = "os^DvPX*<>"
"""one per draw of held-out classes, then from the start again"""
FAR = 12
"""rows above which the axis at the bottom is far away"""
LETTERS = 30
"""in a line of a row's label"""
LINE, STEP, GAP, TALLEST = 0.155, 0.085, 0.13, 1.0
"""inches: a label's line; between the points of a row; around them; of all points of a row"""


@styled
def headline_figure(table: pl.DataFrame, split: str = "test") -> Figure:
    """Accuracy on the held-out classes in each test domain: a point per setting, draw and seed.

    Args:
        table: `tables.headline`.
        split: `test` or `test_unseen_drawing`.
    """
    table = table.filter(split=split, classes="held_out")
    settings = table["setting"].unique(maintain_order=True).to_list()
    if has_rows(len(settings), table["draw"].n_unique()):
        return _figure_of_rows(table, settings)
    return _figure_of_columns(table, settings)


def has_rows(settings: int, draws: int) -> bool:
    """Whether so many settings stand as rows, not as columns."""
    return draws > 1 or settings > MOST_COLUMNS


def _top(table: pl.DataFrame) -> float:
    """Upper end of an axis of accuracies: a little above the highest interval."""
    highest = table["hi"].drop_nulls()
    return min(1.02, 1.06 * float(highest.max())) if len(highest) else 1.0  # type: ignore[arg-type]


# ---------------------------------------------------------------------------- columns


def _figure_of_columns(table: pl.DataFrame, settings: list[str]) -> Figure:
    test_domains = table["test_domain"].unique(maintain_order=True).to_list()
    columns = max(1, min(3, len(test_domains)))
    rows = max(1, -(-len(test_domains) // columns))
    width = WIDTH if columns > 1 else NARROW
    figure = Figure(figsize=(width, 3.3 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, test_domain in zip(grid, test_domains, strict=False):
        _column_panel(axes, table.filter(test_domain=test_domain), settings)
        axes.set_title(f"test domain {test_domain}")
    for axes in grid[len(test_domains) :]:
        axes.set_visible(False)
    for axes in grid[::columns]:
        axes.set_ylabel("balanced top-1 accuracy,\nheld-out classes")
        axes.set_ylim(0, _top(table))
    legend(figure, _columns_legend(settings))
    return figure


def _column_panel(axes: Axes, table: pl.DataFrame, settings: list[str]) -> None:
    applied = [name for name in settings if name in table["setting"]]
    shown = [name for name in applied if not name.startswith(UPPER)]
    for setting in applied:
        if setting.startswith(UPPER):
            _upper_bound(axes, table.filter(setting=setting), setting_colour(setting, settings))
    for position, setting in enumerate(shown):
        rows = table.filter(setting=setting)
        _points(axes, position, rows, setting_colour(setting, settings))
    chance = table["chance"].drop_nulls()
    if len(chance):
        axes.axhline(chance[0], color=GREY, linestyle=":", linewidth=1.3)
    labels = [textwrap.fill(setting_label(name), 10) for name in shown]
    axes.set_xticks(range(len(shown)), labels)
    axes.set_xlim(-0.5, len(shown) - 0.35)
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))


def _points(axes: Axes, position: float, rows: pl.DataFrame, colour: str) -> None:
    """One point with its interval per seed, side by side; what is missing is written out."""
    known = rows.drop_nulls("value")
    if known.is_empty():
        axes.text(
            position,
            0.02,
            "missing",
            transform=axes.get_xaxis_transform(),
            rotation=90,
            ha="center",
            va="bottom",
            color=GREY,
            style="italic",
            bbox=LABEL_GROUND,
        )
        return
    offsets = (np.arange(known.height) - (known.height - 1) / 2) * min(0.14, 0.6 / known.height)
    value, errors = _with_errors(known)
    axes.errorbar(
        position + offsets,
        value,
        yerr=errors,
        fmt="o",
        color=colour,
        markersize=6,
        elinewidth=1.8,
        capsize=3,
        clip_on=False,
    )
    axes.annotate(
        percent(value.mean(), digits=0 if value.mean() >= 0.1 else 1),
        (position + offsets[-1], value.mean()),
        xytext=(7, 0),
        textcoords="offset points",
        va="center" if value.mean() > 0.02 else "bottom",
        fontsize=8.5,
        color=INK,
        bbox=LABEL_GROUND,
    )


def _with_errors(rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Values [N], and how far their intervals reach below and above [2, N]."""
    value, lo, hi = (rows[key].to_numpy() for key in ("value", "lo", "hi"))
    return value, np.maximum([value - lo, hi - value], 0)  # rounding can make 0 negative


def _upper_bound(axes: Axes, rows: pl.DataFrame, colour: str) -> None:
    known = rows.drop_nulls("value")
    if known.height:
        lo, value, hi = (known[key].to_numpy() for key in ("lo", "value", "hi"))
        axes.axhspan(lo.min(), hi.max(), color=colour, alpha=0.13, linewidth=0)
        axes.axhline(value.mean(), color=colour, linestyle="--", linewidth=1.4)


def _columns_legend(settings: list[str]) -> list[Artist]:
    bounds = [name for name in settings if name.startswith(UPPER)]
    return [
        Line2D([], [], color=INK, marker="o", linewidth=1.8, label="accuracy, 95 % interval"),
        *(
            Line2D(
                [],
                [],
                color=setting_colour(name, settings),
                linestyle="--",
                label=setting_label(name),
            )
            for name in bounds
        ),
        Line2D([], [], color=GREY, linestyle=":", label="chance"),
    ]


# ---------------------------------------------------------------------------- rows


@dataclass(frozen=True)
class Row:
    """A line of the figure: a setting, or the title of a family of variants below it.

    Attributes:
        setting: None in a title.
        opens: whether another family begins here; nowhere if there are none.
        top, middle: inches from the top of the panel.
    """

    label: str
    setting: str | None
    opens: bool
    top: float
    middle: float


Panel = Callable[[Axes, pl.DataFrame, list[Row]], None]
"""draws the rows of one test domain into Axes on which they have their places"""


def _figure_of_rows(table: pl.DataFrame, settings: list[str]) -> Figure:
    draws = table["draw"].unique().sort().to_list()
    groups = table.group_by("test_domain", "setting").len()["len"]
    most = int(groups.max() or 1)  # type: ignore[arg-type]

    def panel(axes: Axes, part: pl.DataFrame, rows: list[Row]) -> None:
        for row in rows:
            if row.setting is not None:
                shown = part.filter(setting=row.setting)
                _row_of_points(
                    axes, row.middle, shown, draws, setting_colour(row.setting, settings)
                )

    return figure_of_rows(table, settings, min(TALLEST, STEP * most), panel, _rows_legend(draws))


def figure_of_rows(
    table: pl.DataFrame, settings: list[str], points: float, panel: Panel, handles: list[Artist]
) -> Figure:
    """A panel per test domain, a row per setting.

    Args:
        table: rows with `test_domain`, `setting`, `hi` and `chance`.
        settings: in their order.
        points: inches that the points of a row take.
        panel: draws the points of a panel.
        handles: of the legend.
    """
    test_domains = table["test_domain"].unique(maintain_order=True).to_list()
    rows, height = _rows(settings, points)
    columns = min(3, len(test_domains))
    lines = -(-len(test_domains) // columns)
    size = (WIDTH, lines * (height + 0.75) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
    for axes, test_domain in zip(grid.ravel(), test_domains, strict=False):
        part = table.filter(test_domain=test_domain)
        _frame(axes, part, rows)
        panel(axes, part, rows)
        axes.set_title(f"test domain {test_domain}")
        axes.set_xlim(0, _top(table))
    for axes in grid.ravel()[len(test_domains) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylim(height, 0)
        ticks = axes.set_yticks([row.middle for row in rows], [row.label for row in rows])
        for row, tick in zip(rows, ticks, strict=True):
            tick.label1.set_fontweight("bold" if row.opens else "normal")
    legend(figure, handles)
    return figure


def _rows(settings: Sequence[str], points: float) -> tuple[list[Row], float]:
    """The rows of a figure, variants below the setting that they vary, and the height of all.

    Args:
        settings: in their order.
        points: inches that the points of a row take.
    """
    rows, top = [], 0.0
    labels = list(_labels(settings))
    has_families = any(setting is None for _, setting, _ in labels)
    for label, setting, opens in labels:
        height = GAP + max(0.0 if setting is None else points, LINE * (1 + label.count("\n")))
        rows.append(Row(label, setting, opens and has_families, top, top + height / 2))
        top += height
    return rows, top


def _labels(settings: Sequence[str]) -> Iterator[tuple[str, str | None, bool]]:
    """Label and setting of every row, families of variants below their title; which rows open."""
    first: dict[str, int] = {}
    for setting in settings:
        first.setdefault(setting.partition("-")[0], len(first))
    ordered = sorted(settings, key=lambda name: first[name.partition("-")[0]])
    for named, group in groupby(ordered, key=lambda name: name.partition("-")[0]):
        family = list(group)
        if family == [named]:
            yield textwrap.fill(setting_label(named), LETTERS), named, True
            continue
        yield setting_label(named), None, True
        for name in family:
            yield textwrap.fill(variant_label(name) or "unchanged", LETTERS), name, False


def _frame(axes: Axes, table: pl.DataFrame, rows: list[Row]) -> None:
    """What a panel shows besides its points: rows, chance, and the axis of accuracies."""
    for row in rows:
        if row.opens:
            axes.axhline(row.top, color="#bbbbbb", linewidth=0.8)
        if row.setting is not None:
            axes.axhline(row.middle, color="#f0f0ee", linewidth=0.7, zorder=0)
    chance = table["chance"].drop_nulls()
    if len(chance):
        axes.axvline(chance[0], color=GREY, linestyle=":", linewidth=1.3)
    axes.grid(visible=False, axis="y")
    axes.grid(visible=True, axis="x")
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labeltop=len(rows) > FAR)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))


def _row_of_points(
    axes: Axes, middle: float, rows: pl.DataFrame, draws: list[int], colour: str
) -> None:
    """One point with its interval per draw and seed, below each other; at the right their mean."""
    known = rows.drop_nulls("value")
    if known.is_empty():
        _no_points(axes, middle, "missing" if rows.height else "does not apply")
        return
    step = min(STEP, TALLEST / rows.height)
    places = middle + step * (np.arange(rows.height) - (rows.height - 1) / 2)
    placed = rows.with_columns(place=pl.Series(places)).drop_nulls("value")
    for (draw,), points in placed.group_by("draw", maintain_order=True):
        value, errors = _with_errors(points)
        axes.errorbar(
            value,
            points["place"].to_numpy(),
            xerr=errors,
            fmt=MARKERS[draws.index(int(draw)) % len(MARKERS)],
            color=colour,
            markersize=min(4.5, 72 * step * 0.8),
            elinewidth=1,
            clip_on=False,
        )
    mean = float(known["value"].to_numpy().mean())
    gaps = rows.height - known.height
    axes.annotate(
        percent(mean, digits=0 if mean >= 0.1 else 1) + (f"\n({gaps} missing)" if gaps else ""),
        (1.02, middle),
        xycoords=axes.get_yaxis_transform(),
        va="center",
        fontsize=8,
        color=INK,
        annotation_clip=False,
    )


def _no_points(axes: Axes, middle: float, reason: str) -> None:
    axes.annotate(
        reason,
        (0.02, middle),
        xycoords=axes.get_yaxis_transform(),
        va="center",
        color=GREY,
        style="italic",
        bbox=LABEL_GROUND,
    )


def _rows_legend(draws: list[int]) -> list[Artist]:
    points = [
        Line2D(
            [],
            [],
            color=INK,
            marker=MARKERS[place % len(MARKERS)],
            markersize=4.5,
            linewidth=1,
            label=f"draw {draw}, 95 % interval" if len(draws) > 1 else "accuracy, 95 % interval",
        )
        for place, draw in enumerate(draws)
    ]
    return [*points, Line2D([], [], color=GREY, linestyle=":", label="chance")]
