"""Figures of scores along an axis: samples seen, number of domains, share of the test domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from analysis.report.exposure_axes import DIVERSITY
from analysis.report.figures import (
    COLOURS,
    GREY,
    NARROW,
    WIDTH,
    domain_panels,
    legend,
    setting_colour,
    setting_handles,
    styled,
)
from analysis.report.summary import thousands

AXIS_LABELS = {
    "other_domains": "other domains in training",
    "seen_share": "shown share of the test domain's seen classes",
    "held_out_share": "shown share of the test domain's held-out classes",
}
TITLES = {"held_out": "held-out classes", "seen": "seen classes"}
MOST_BANDS = 8
"""lines of a panel that have room for their intervals"""
STYLES = ("-", "--", "-.", ":")


@styled
def curve_figure(table: pl.DataFrame, axis: str) -> Figure:
    """Scores on held-out classes along an axis: a point per run, a line through their means.

    Args:
        table: `exposure_axes.curves`.
        axis: name of its column.
    """
    families = table["family"].unique(maintain_order=True).to_list()
    test_domains = table["test_domain"].unique(maintain_order=True).to_list()
    most = int(table.group_by("family", "test_domain", axis).len()["len"].max() or 1)  # type: ignore[arg-type]
    step = _step(table, axis)
    figure, panels = domain_panels(test_domains)
    for axes, test_domain in panels:
        part = table.filter(test_domain=test_domain)
        for place, family in enumerate(families):
            shift = (place - (len(families) - 1) / 2) * step
            rows = part.filter(family=family)
            _curve(axes, rows, axis, _family_look(place), shift, step / (2 * most))
        _chance(axes, part)
        axes.set_xlabel(AXIS_LABELS[axis])
        if axis == DIVERSITY:
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        else:
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    _scores_axis([axes for axes, _ in panels])
    handles = [*_family_handles(families), _chance_handle()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2 if len(panels) > 1 else 1)
    return figure


@styled
def trajectory_figure(table: pl.DataFrame) -> Figure:
    """Scores by samples seen, one line per run; held-out and seen classes side by side.

    Args:
        table: `trajectory_tables.trajectories`.
    """
    settings = table["setting"].unique(maintain_order=True).to_list()
    test_domains = table["test_domain"].unique(maintain_order=True).to_list()
    class_sets = [name for name in TITLES if name in table["classes"]]
    size = (WIDTH if len(class_sets) > 1 else NARROW, 2.7 * len(test_domains) + 0.7)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(
        len(test_domains), len(class_sets), sharex=True, sharey="row", squeeze=False
    )
    for row, test_domain in zip(grid, test_domains, strict=True):
        for axes, classes in zip(row, class_sets, strict=True):
            part = table.filter(test_domain=test_domain, classes=classes).drop_nulls("value")
            _trajectories(axes, part, settings)
            axes.set_title(f"{test_domain}: {TITLES[classes]}")
    _scores_axis(grid[:, 0].tolist())
    for axes in grid[-1]:
        axes.set_xlabel("samples seen")
    legend(figure, [*setting_handles(settings, linewidth=1.5), _chance_handle()])
    return figure


def _trajectories(axes: Axes, table: pl.DataFrame, settings: Sequence[str]) -> None:
    lines = table.partition_by("setting", "draw", "seed", maintain_order=True)
    for line in lines:
        colour = setting_colour(line["setting"][0], settings)
        if line["samples_seen"].null_count():
            axes.axhline(line["value"][0], color=colour, linestyle="--", linewidth=1.2)
            continue
        x = line["samples_seen"].to_numpy()
        if len(lines) <= MOST_BANDS:
            axes.fill_between(x, line["lo"], line["hi"], color=colour, alpha=0.12, linewidth=0)
        axes.plot(
            x, line["value"], color=colour, linewidth=1.3 if len(lines) <= MOST_BANDS else 0.8
        )
        final = line.filter("final")
        axes.plot(final["samples_seen"], final["value"], color=colour, marker="o", markersize=4)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: thousands(x)))
    _chance(axes, table)
    if table.is_empty():
        axes.text(0.5, 0.5, "missing", transform=axes.transAxes, ha="center", color=GREY)


def _curve(
    axes: Axes, rows: pl.DataFrame, axis: str, look: tuple[str, Any], shift: float, apart: float
) -> None:
    """Points with their intervals, and a line through the means of the points of a place."""
    known = rows.drop_nulls("value")
    if known.is_empty():
        return
    colour, style = look
    value = known["value"].to_numpy()
    errors = [(value - known["lo"].to_numpy()).clip(0), (known["hi"].to_numpy() - value).clip(0)]
    rank = pl.int_range(pl.len()).over(axis) - (pl.len().over(axis) - 1) / 2
    x = known.select(pl.col(axis) + shift + rank * apart)[axis].to_numpy()
    axes.errorbar(
        x, value, yerr=errors, fmt="o", color=colour, markersize=3.5, elinewidth=0.7, alpha=0.75
    )
    means = known.group_by(axis, maintain_order=True).agg(pl.col("value").mean()).sort(axis)
    axes.plot(
        means[axis].to_numpy() + shift, means["value"], color=colour, linestyle=style, linewidth=1.6
    )


def _scores_axis(panels: Sequence[Axes]) -> None:
    for axes in panels:
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            axes.set_ylabel("balanced top-1 accuracy")


def _step(table: pl.DataFrame, axis: str) -> float:
    """How far apart the points of two families of one place stand."""
    places = table[axis].unique().sort()
    return 0.02 * float(places[-1] - places[0])


def _family_look(place: int) -> tuple[str, Any]:
    colours = COLOURS[1:-1]
    return colours[place % len(colours)], STYLES[place // len(colours) % len(STYLES)]


def _family_handles(families: Sequence[str]) -> list[Artist]:
    return [
        Line2D([], [], color=colour, linestyle=style, marker="o", markersize=4, label=family)
        for family, (colour, style) in ((name, _family_look(n)) for n, name in enumerate(families))
    ]


def _chance(axes: Axes, table: pl.DataFrame) -> None:
    chance = table["chance"].drop_nulls()
    if len(chance):
        axes.axhline(chance[0], color=GREY, linestyle=":", linewidth=1.3)


def _chance_handle() -> Artist:
    return Line2D([], [], color=GREY, linestyle=":", label="chance")
