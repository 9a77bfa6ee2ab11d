"""Figures of scores relative to the upper bound, and of effective robustness."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator, PercentFormatter
from scipy.special import expit, logit

from analysis.report.accuracy_figures import GAP, LETTERS, LINE, MARKERS, STEP
from analysis.report.figures import (
    GREY,
    INK,
    NARROW,
    WIDTH,
    legend,
    setting_colour,
    setting_handles,
    styled,
)
from analysis.report.summary import setting_label
from analysis.robustness import Baseline

TICKS = (0.001, 0.01, 0.03, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.97, 0.99, 0.999)
"""accuracies that a logit axis names"""
MOST_TICKS = 8
"""that an axis has room for"""
MARGIN = 0.35
"""of a logit axis, around its points"""


# ---------------------------------------------------------------------------- upper bound


@styled
def relative_figure(table: pl.DataFrame) -> Figure:
    """Scores as shares of the upper bound's: a row per setting, a point per draw.

    Args:
        table: `relative_to_upper_bound` of `quantity_tables.quantities`.
    """
    settings = table["setting"].unique(maintain_order=True).to_list()
    test_domains = table["test_domain"].unique(maintain_order=True).to_list()
    draws = table["draw"].unique().sort().to_list()
    labels = [textwrap.fill(setting_label(name), LETTERS) for name in settings]
    heights = [GAP + max(STEP * len(draws), LINE * (1 + text.count("\n"))) for text in labels]
    middles = np.cumsum(heights) - np.array(heights) / 2
    columns = min(3, len(test_domains))
    lines = -(-len(test_domains) // columns)
    size = (WIDTH if columns > 1 else NARROW, lines * (sum(heights) + 0.75) + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    for axes, test_domain in zip(grid.ravel(), test_domains, strict=False):
        part = table.filter(test_domain=test_domain)
        for setting, middle in zip(settings, middles, strict=True):
            colour = setting_colour(setting, settings)
            _ratios(axes, part.filter(setting=setting), float(middle), draws, colour)
        axes.axvline(1, color=INK, linestyle="--", linewidth=1)
        axes.set_title(f"test domain {test_domain}")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.grid(visible=False, axis="y")
        axes.grid(visible=True, axis="x")
        axes.tick_params(axis="x", labelbottom=True)
    for axes in grid.ravel()[len(test_domains) :]:
        axes.set_visible(False)
    highest = max([1.0, *table["hi"].drop_nulls()])
    grid[0, 0].set_xlim(0, 1.06 * highest)
    grid[0, 0].set_yticks(middles, labels)
    grid[0, 0].set_ylim(sum(heights), 0)
    legend(figure, [*_draw_handles(draws, "share, 95 % interval"), _bound_handle()])
    return figure


def _ratios(axes: Axes, rows: pl.DataFrame, middle: float, draws: list[int], colour: str) -> None:
    known = rows.drop_nulls("value")
    if known.is_empty():
        refused = rows.filter(pl.col("seeds") > 0).height
        words = "no number" if refused else "missing" if rows.height else "does not apply"
        axes.annotate(
            words,
            (0.03, middle),
            xycoords=axes.get_yaxis_transform(),
            va="center",
            color=GREY,
            style="italic",
        )
        return
    for row in known.iter_rows(named=True):
        place = draws.index(row["draw"])
        axes.errorbar(
            row["value"],
            middle + STEP * (place - (len(draws) - 1) / 2),
            xerr=[[max(0, row["value"] - row["lo"])], [max(0, row["hi"] - row["value"])]],
            fmt=MARKERS[place % len(MARKERS)],
            color=colour,
            markersize=4.5,
            elinewidth=1.2,
        )


def _draw_handles(draws: list[int], words: str) -> list[Artist]:
    return [
        Line2D(
            [],
            [],
            color=INK,
            marker=MARKERS[place % len(MARKERS)],
            markersize=4.5,
            linewidth=1.2,
            label=f"draw {draw}, {words}" if len(draws) > 1 else words,
        )
        for place, draw in enumerate(draws)
    ]


def _bound_handle() -> Artist:
    return Line2D([], [], color=INK, linestyle="--", linewidth=1, label="upper bound")


# ---------------------------------------------------------------------------- robustness


@styled
def robustness_figure(pairs: pl.DataFrame, lines: dict[str, Baseline]) -> Figure:
    """Accuracy under shift against accuracy without, on logit axes: a point per run.

    Args:
        pairs: `robustness_tables.accuracy_pairs` of one draw of held-out classes with the column
            `baseline`; of the baseline every moment is drawn, of other runs the final one.
        lines: the baseline of a test domain, where it has one.
    """
    shown = pairs.filter(pl.col("final") | pl.col("baseline"))
    settings = shown["setting"].unique(maintain_order=True).to_list()
    test_domains = shown["test_domain"].unique(maintain_order=True).to_list()
    columns = max(1, min(3, len(test_domains)))
    rows = -(-len(test_domains) // columns)
    size = (WIDTH if columns > 1 else NARROW, 3.6 * rows + 0.8)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, test_domain in zip(grid.ravel(), test_domains, strict=False):
        _robustness_panel(axes, shown.filter(test_domain=test_domain), settings)
        if test_domain in lines:
            _line(axes, lines[test_domain])
        axes.set_title(f"test domain {test_domain}")
    for axes in grid.ravel()[len(test_domains) :]:
        axes.set_visible(False)
    for number, axes in enumerate(grid.ravel()[: len(test_domains)]):
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("accuracy in the natural domain")
        if number % columns == 0:
            axes.set_ylabel("accuracy in the test domain")
    limits_id = _logit_limits(shown["accuracy_id"], shown["n_id"])
    limits_ood = _logit_limits(shown["accuracy_ood"], shown["n_ood"])
    grid[0, 0].set(xlim=limits_id, ylim=limits_ood)
    _logit_ticks(grid[0, 0].xaxis, *limits_id)
    _logit_ticks(grid[0, 0].yaxis, *limits_ood)
    legend(figure, _robustness_handles(settings, bool(lines)))
    return figure


def _robustness_panel(axes: Axes, table: pl.DataFrame, settings: Sequence[str]) -> None:
    """Points on the scale of logits, each with its intervals over test samples."""
    diagonal = _logits(np.array([0.001, 0.999]), 10**6)
    axes.plot(diagonal, diagonal, color="#cccccc", linewidth=0.8, zorder=0)
    axes.grid(visible=True, axis="both")
    for row in table.iter_rows(named=True):
        x, *x_ends = _logits([row["accuracy_id"], row["id_lo"], row["id_hi"]], row["n_id"])
        y, *y_ends = _logits([row["accuracy_ood"], row["ood_lo"], row["ood_hi"]], row["n_ood"])
        colour = setting_colour(row["setting"], settings)
        if not row["final"]:
            axes.plot(x, y, marker="o", markersize=3.5, color=colour, markerfacecolor="none")
            continue
        axes.plot(x_ends, [y, y], color=colour, linewidth=0.8, alpha=0.6)
        axes.plot([x, x], y_ends, color=colour, linewidth=0.8, alpha=0.6)
        axes.plot(x, y, marker="o", markersize=5.5, color=colour)


def _line(axes: Axes, baseline: Baseline) -> None:
    """The baseline, as far as its points go."""
    lowest, highest = (min(max(end, 1e-4), 1 - 1e-4) for end in (baseline.lowest, baseline.highest))
    accuracy_id = np.linspace(lowest, highest, 50)
    expected = baseline.expected(accuracy_id, 10**6)
    axes.plot(
        _logits(accuracy_id, 10**6), _logits(expected, 10**6), color=INK, linewidth=1.2, zorder=1
    )


def _logits(accuracies: Sequence[float] | np.ndarray, n: int) -> np.ndarray:
    """Logits of accuracies, of which 0 and 1 stand where half a sample would."""
    return logit(np.clip(np.asarray(accuracies, dtype=float), 1 / (2 * n), 1 - 1 / (2 * n)))


def _logit_limits(accuracies: pl.Series, n: pl.Series) -> tuple[float, float]:
    """Ends of an axis of logits, a little around its points."""
    places = [_logits([accuracy], count)[0] for accuracy, count in zip(accuracies, n, strict=True)]
    return min(places) - MARGIN, max(places) + MARGIN


def _logit_ticks(axis: Axis, low: float, high: float) -> None:
    """Ticks of an axis of logits, in percent, with room for what is written there."""
    room = (high - low) / MOST_TICKS
    places: list[float] = []
    for tick in sorted(TICKS, key=lambda tick: (abs(tick - 0.5), tick)):  # the middle first
        place = float(logit(tick))
        if all(abs(place - other) >= room for other in places):
            places.append(place)
    axis.set_major_locator(FixedLocator(sorted(places)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda place, _: f"{100 * expit(place):.3g} %"))


def _robustness_handles(settings: Sequence[str], fitted: bool) -> list[Artist]:
    points = setting_handles(settings, marker="o", linestyle="", markersize=5.5)
    moment = Line2D(
        [], [], color=INK, marker="o", markerfacecolor="none", markersize=3.5, linestyle=""
    )
    moment.set_label("natural only, before its end")
    equal = Line2D([], [], color="#cccccc", linewidth=0.8, label="equal accuracies")
    line = Line2D([], [], color=INK, linewidth=1.2, label="baseline")
    return [*points, moment, *([line] if fitted else []), equal]
