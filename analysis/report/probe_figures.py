"""Figures of linear probes: a panel per setting, the zero-shot score as a horizontal line."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Literal

import numpy as np
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator, PercentFormatter

from analysis.report.figures import GREY, INK, NARROW, WIDTH, legend, styled
from analysis.report.probe_tables import mean_curves, sites_of
from analysis.report.summary import setting_label
from analysis.report.views import CLASS_LABELS

MOST_PANELS = 9
"""settings that have room"""
LOW, TALL = 2.6, 3.2
"""inches of a panel: with numbers, and with names of sites below it"""
MOST_MARKED = 4
"""lines of a kind in a panel whose points can be told from each other"""
TEST, NATURAL = "#D55E00", "#0072B2"
"""colours by the domain of the probe's training images"""
DASHES: dict[str, Literal["-", "--"]] = {"held_out": "-", "seen": "--"}
FILLS: dict[str, Literal["full", "none"]] = {"held_out": "full", "seen": "none"}


@styled
def site_figure(table: pl.DataFrame) -> Figure:
    """Accuracy of full probes by depth, trained in the test domain and in the natural domain.

    Args:
        table: rows of `probe_tables.site_scores` of one test domain; the first MOST_PANELS
            settings are drawn.
    """
    figure, panels = _panels(table, _site_panel, TALL, sharex=False)
    for axes, setting in panels:
        sites = sites_of(table.filter(setting=setting))
        axes.set_xticks(sites["depth"].to_list(), sites["site"].to_list(), rotation=45, ha="right")
    legend(figure, _legend(table, CLASS_LABELS, "o"))
    return figure


@styled
def few_shot_figure(table: pl.DataFrame) -> Figure:
    """Accuracy of few-shot probes on held-out classes by images per class, on a log axis.

    Args:
        table: rows of `probe_tables.few_shot_scores` of one test domain; the first MOST_PANELS
            settings are drawn.
    """
    shots = table["shots"].drop_nulls().unique().sort().to_list()
    held_out = table.filter((pl.col("classes") == "held_out") | pl.col("missing"))
    figure, panels = _panels(held_out, _few_shot_panel, LOW, sharex=True)
    for axes, _ in panels:
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(shots))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(shots, [str(k) for k in shots])
        if axes.xaxis.get_tick_params()["labelbottom"]:
            axes.set_xlabel("images per class")
    legend(figure, _legend(table, {"held_out": CLASS_LABELS["held_out"]}, "+"))
    return figure


def _panels(
    table: pl.DataFrame, draw: Callable[[Axes, pl.DataFrame], None], height: float, *, sharex: bool
) -> tuple[Figure, list[tuple[Axes, str]]]:
    """A panel per setting on one scale of scores, drawn, and whose it is."""
    settings = table["setting"].unique(maintain_order=True).to_list()[:MOST_PANELS]
    columns = min(3, len(settings))
    lines = -(-len(settings) // columns)
    width = WIDTH if columns > 1 else NARROW
    figure = Figure(figsize=(width, height * lines + 0.9), layout="constrained")
    grid = figure.subplots(lines, columns, sharex=sharex, sharey=True, squeeze=False)
    for axes, setting in zip(grid.ravel(), settings, strict=False):
        part = table.filter(setting=setting)
        axes.set_title(textwrap.fill(setting_label(setting), 30))
        _zero_shot(axes, part)
        draw(axes, part)
        _say_missing(axes, part)
    _hide_labels(grid, len(settings), sharex)
    for axes in grid[:, 0]:
        axes.set_ylabel("balanced top-1 accuracy")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
        axes.yaxis.set_major_locator(MaxNLocator(5))
    highest = table.select(pl.max_horizontal("hi", "value", "zero_shot_hi").max()).item()
    grid[0, 0].set_ylim(0, min(1.02, 1.06 * highest) if highest else 1)
    return figure, list(zip(grid.ravel(), settings, strict=False))


def _hide_labels(grid: np.ndarray, count: int, sharex: bool) -> None:
    """Hide what has no setting, and the labels of an axis that a panel below has too."""
    columns = grid.shape[1]
    for place, axes in enumerate(grid.ravel()):
        axes.set_visible(place < count)
        axes.tick_params(labelbottom=not sharex or place + columns >= count)


def _zero_shot(axes: Axes, table: pl.DataFrame) -> None:
    """A line per run, draw and class set across the panel, its interval as a band."""
    columns = ["run", "draw", "classes", "zero_shot", "zero_shot_lo", "zero_shot_hi"]
    scores = table.select(columns).unique(maintain_order=True).drop_nulls("zero_shot")
    many = scores.select("run", "draw").n_unique()
    across = axes.get_yaxis_transform()
    for (classes,), rows in scores.group_by("classes", maintain_order=True):
        axes.hlines(
            rows["zero_shot"],
            0,
            1,
            transform=across,
            color=INK,
            linestyle=DASHES[str(classes)],
            linewidth=1.2 if many == 1 else 0.7,
            alpha=1 if many == 1 else 0.6,
        )
        ends = rows.drop_nulls().select("zero_shot_lo", "zero_shot_hi").rows()
        bands = [[(0, lo), (1, lo), (1, hi), (0, hi)] for lo, hi in ends]
        ground = PolyCollection(
            bands, transform=across, facecolors=INK, alpha=0.08 / many, linewidths=0
        )
        axes.add_collection(ground, autolim=False)
    for chance in table["chance"].drop_nulls().unique().sort():
        axes.axhline(chance, color=GREY, linestyle=":", linewidth=1.3)


def _site_panel(axes: Axes, table: pl.DataFrame) -> None:
    """A line with its band per run, draw, training domain and class set."""
    known = table.drop_nulls("value").sort("depth", maintain_order=True)
    many = max(1, known.select("run", "draw").n_unique())
    for (trained_on, classes), rows in known.group_by(
        ["trained_on", "classes"], maintain_order=True
    ):
        colour, name = _colour(rows, str(trained_on)), str(classes)
        x, lo, hi, value = _broken(rows, ["run", "draw"], ["depth", "lo", "hi", "value"])
        axes.fill_between(x, lo, hi, color=colour, alpha=max(0.02, 0.13 / many), linewidth=0)
        axes.plot(
            x,
            value,
            color=colour,
            linestyle=DASHES[name],
            fillstyle=FILLS[name],
            marker="o" if many <= MOST_MARKED else "",
            markersize=4 if many == 1 else 2.5,
            linewidth=1.5 if many == 1 else 0.8,
        )


def _broken(table: pl.DataFrame, keys: list[str], columns: list[str]) -> list[np.ndarray]:
    """Columns in which a NaN parts one group from the next: one artist draws all their lines."""
    groups = [rows for _, rows in table.group_by(keys, maintain_order=True)]
    pieces = [[rows[key].to_numpy().astype(float) for rows in groups] for key in columns]
    return [np.concatenate([np.append(piece, np.nan) for piece in part])[:-1] for part in pieces]


def _few_shot_panel(axes: Axes, table: pl.DataFrame) -> None:
    """A line through the means over draws of images; a tick on its interval per draw."""
    known = table.drop_nulls("value")
    many = known.select("run", "draw").n_unique()
    seeds = known["probe_seed"].unique().sort().to_list()
    for place, ((trained_on,), rows) in enumerate(
        known.group_by("trained_on", maintain_order=True)
    ):
        colour = _colour(rows, str(trained_on))
        shots, mean = _broken(mean_curves(rows), ["run", "draw"], ["shots", "value"])
        axes.plot(shots, mean, color=colour, linewidth=1.5 if many == 1 else 0.8)
        ranks = rows["probe_seed"].replace_strict({seed: i for i, seed in enumerate(seeds)})
        shift = 0.1 * (ranks.to_numpy() - (len(seeds) - 1) / 2) + 0.03 * (2 * place - 1)
        x = rows["shots"].to_numpy() * 2.0**shift  # beside each other, not on each other
        width = 0.7 if many == 1 else 0.4
        across = (0.98 * x, 1.02 * x)
        for (left, right), (low, high), thick, alpha in (
            ((x, x), (rows["lo"], rows["hi"]), width, 0.6),
            (across, (rows["value"], rows["value"]), 2 * width, 1.0),
        ):
            axes.plot(*_dashes(left, right, low, high), color=colour, linewidth=thick, alpha=alpha)


def _dashes(
    left: np.ndarray, right: np.ndarray, low: pl.Series, high: pl.Series
) -> tuple[np.ndarray, np.ndarray]:
    """Strokes from (left, low) to (right, high) as one artist, parted by NaN."""
    gap = np.full(len(left), np.nan)
    x, y = (left, right, gap), (low.to_numpy(), high.to_numpy(), gap)
    return np.column_stack(x).ravel(), np.column_stack(y).ravel()


def _colour(rows: pl.DataFrame, trained_on: str) -> str:
    return TEST if trained_on == rows["test_domain"][0] else NATURAL


def _say_missing(axes: Axes, table: pl.DataFrame) -> None:
    gaps = table.filter("missing").select("run", "draw").n_unique()
    if not gaps:
        return
    known = table.filter(~pl.col("missing"))
    text = "missing" if known.is_empty() else f"{gaps} missing"
    axes.text(0.97, 0.04, text, transform=axes.transAxes, ha="right", color=GREY, style="italic")


def _legend(table: pl.DataFrame, class_sets: dict[str, str], marker: str) -> list[Artist]:
    test_domain = table["test_domain"][0]
    natural = table.filter(pl.col("trained_on") != pl.col("test_domain"))["trained_on"]
    trained = {test_domain: TEST} | {name: NATURAL for name in natural.unique().sort().to_list()}
    point = {"marker": marker, "markersize": 4}
    return [
        *(
            Line2D([], [], color=colour, label=f"trained on {name}", **point)  # type: ignore[arg-type]
            for name, colour in trained.items()
        ),
        *(
            Line2D([], [], color=INK, linestyle=DASHES[name], label=f"zero-shot, {label}")
            for name, label in class_sets.items()
        ),
        *(
            Line2D(
                [],
                [],
                color=GREY,
                linestyle=DASHES[name],
                fillstyle=FILLS[name],
                label=f"probes, {label}",
                **point,  # type: ignore[arg-type]
            )
            for name, label in class_sets.items()
        ),
        Line2D([], [], color=GREY, linestyle=":", label="chance"),
    ]
