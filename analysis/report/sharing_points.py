"""Figures of sharing at the primary site: over training time, and against generalization."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, PercentFormatter

from analysis.report.accuracy_figures import MARKERS
from analysis.report.figures import (
    GREY,
    INK,
    domain_panels,
    legend,
    setting_colour,
    setting_handles,
    styled,
)
from analysis.report.summary import thousands

MOST_BANDS = 8
"""lines in a panel whose bands can be told from each other"""
ROOM = 1.05
"""height of an axis, in the highest end of an interval"""


@styled
def time_figure(table: pl.DataFrame, settings: Sequence[str], label: str) -> Figure:
    """Sharing by samples seen: a line per run, a panel per test domain.

    Args:
        table: rows of `sharing_tables.over_time` of the primary site.
        settings: of the study, which have their colours from it.
        label: of the measure.
    """
    figure, panels = domain_panels(table["test_domain"].unique(maintain_order=True).to_list())
    for axes, test_domain in panels:
        lines = table.filter(test_domain=test_domain).partition_by(
            "run", "draw", maintain_order=True
        )
        for line in lines:
            known = line.drop_nulls("value")
            colour = setting_colour(line["setting"][0], settings)
            x = known["samples_seen"]
            if len(lines) <= MOST_BANDS:
                axes.fill_between(x, known["lo"], known["hi"], color=colour, alpha=0.12, lw=0)
            axes.plot(x, known["value"], color=colour, marker="o", markersize=2.5, linewidth=1.3)
        _chance_band(axes, table.filter(test_domain=test_domain))
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: thousands(x)))
        axes.set_xlabel("samples seen")
    panels[0][0].set_ylabel(label)
    drawn = [name for name in settings if name in set(table["setting"])]
    chance = Line2D([], [], color=GREY, linewidth=6, alpha=0.25, label="chance")
    legend(figure, [*setting_handles(drawn), chance])
    return figure


def _chance_band(axes: Axes, table: pl.DataFrame) -> None:
    bands = table.group_by("samples_seen", maintain_order=True).agg(
        pl.col("chance_lo", "chance_hi").mean()
    )
    bands = bands.drop_nulls().sort("samples_seen")
    ends = bands["chance_lo"], bands["chance_hi"]
    axes.fill_between(bands["samples_seen"], *ends, color=GREY, alpha=0.18, linewidth=0)


@styled
def generalization_figure(table: pl.DataFrame, settings: Sequence[str], label: str) -> Figure:
    """Accuracy on held-out classes against sharing: a dot per run and draw, both 95 % intervals.

    Args:
        table: `sharing_headline.points`.
        settings: of the study, which have their colours from it.
        label: of the measure.
    """
    known = table.drop_nulls(["sharing", "held_out"])
    figure, panels = domain_panels(known["test_domain"].unique(maintain_order=True).to_list())
    draws = table["draw"].unique().sort().to_list()
    for axes, test_domain in panels:
        for row in known.filter(test_domain=test_domain).iter_rows(named=True):
            axes.errorbar(
                row["sharing"],
                row["held_out"],
                xerr=_ends(row, "sharing"),
                yerr=_ends(row, "held_out"),
                fmt=MARKERS[draws.index(row["draw"]) % len(MARKERS)],
                color=setting_colour(row["setting"], settings),
                markersize=5,
                elinewidth=0.8,
                alpha=0.85,
            )
        axes.set_xlabel(label)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    highest = known.select(pl.max_horizontal("held_out", "held_out_hi").max()).item()
    panels[0][0].set_ylim(0, ROOM * highest or 1)  # panels share it
    panels[0][0].set_ylabel("accuracy on held-out classes")
    drawn = [name for name in settings if name in set(known["setting"])]
    handles = setting_handles(drawn, marker="o", linestyle="", markersize=5)
    if len(draws) > 1:
        handles += [_draw_handle(place, draw) for place, draw in enumerate(draws)]
    legend(figure, handles)
    return figure


def _draw_handle(place: int, draw: int) -> Line2D:
    marker = MARKERS[place % len(MARKERS)]
    handle = Line2D([], [], color=INK, marker=marker, linestyle="", markersize=5)
    handle.set_label(f"draw {draw}")
    return handle


def _ends(row: dict, key: str) -> list[list[float]] | None:
    """Lengths of an interval to both sides; None where there is none."""
    lo, hi, value = row[f"{key}_lo"], row[f"{key}_hi"], row[key]
    if lo is None or hi is None:
        return None
    return [[max(0.0, value - lo)], [max(0.0, hi - value)]]
