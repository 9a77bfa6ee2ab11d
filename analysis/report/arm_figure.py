"""The figure of a study's arms: side by side for every setting, in each test domain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.report.accuracy_figures import LABEL_GROUND, MARKERS, Row, figure_of_rows
from analysis.report.figures import COLOURS, GREY, styled

LINE = 0.13
"""inches of a row that an arm has"""


@styled
def arms_figure(table: pl.DataFrame, settings: Sequence[str], labels: Sequence[str]) -> Figure:
    """Accuracy on held-out classes: a line per arm in the row of every setting.

    Args:
        table: `arms.arm_headline` of one split and of held-out classes, without pretrained models.
        settings: in their order.
        labels: of the arms.
    """

    def panel(axes: Axes, part: pl.DataFrame, rows: list[Row]) -> None:
        for row in rows:
            if row.setting is not None:
                _row(axes, row.middle, part.filter(setting=row.setting), labels)

    handles = [_handle(number, label) for number, label in enumerate(labels)]
    chance = Line2D([], [], color=GREY, linestyle=":", label="chance")
    return figure_of_rows(table, list(settings), LINE * len(labels), panel, [*handles, chance])


def _row(axes: Axes, middle: float, rows: pl.DataFrame, labels: Sequence[str]) -> None:
    for number, label in enumerate(labels):
        place = middle + LINE * (number - (len(labels) - 1) / 2)
        of_arm = rows.filter(arm=label)
        known = of_arm.drop_nulls("value")
        if known.is_empty():
            _words(axes, place, "missing" if of_arm.height else "not planned")
        elif of_arm.height == 1:
            value, lo, hi = (known[key].to_numpy() for key in ("value", "lo", "hi"))
            errors = np.maximum([value - lo, hi - value], 0)
            style = _style(number) | {"elinewidth": 1.1, "markersize": 4.5, "linestyle": "none"}
            axes.errorbar(value, [place], xerr=errors, clip_on=False, **style)
        else:
            _several(axes, place, known, _style(number))


def _several(axes: Axes, place: float, known: pl.DataFrame, style: dict[str, Any]) -> None:
    """A small dot per run, and the mean over draws of the means over seeds."""
    values = known["value"].to_numpy()
    mean = known.group_by("draw").agg(pl.mean("value"))["value"].to_numpy().mean()
    axes.plot(values, [place] * len(values), ".", color=style["color"], markersize=3, alpha=0.7)
    axes.plot([mean], [place], markersize=5.5, clip_on=False, **style)


def _words(axes: Axes, place: float, text: str) -> None:
    axes.annotate(
        text,
        (0.02, place),
        xycoords=axes.get_yaxis_transform(),
        va="center",
        fontsize=6.5,
        color=GREY,
        style="italic",
        bbox=LABEL_GROUND,
    )


def _style(number: int) -> dict[str, Any]:
    """Colour and marker of an arm; together they repeat after forty."""
    colour = COLOURS[(number + 1) % len(COLOURS)]
    return {"marker": MARKERS[number % len(MARKERS)], "color": colour}


def _handle(number: int, label: str) -> Artist:
    return Line2D([], [], markersize=4.5, linewidth=1.1, label=label, **_style(number))
