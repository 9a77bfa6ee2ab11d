"""Figures of sparse autoencoders: what features fire for, which domains share, and images."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.report.figures import GREY, NARROW, WIDTH, legend, styled
from analysis.report.sharing_heat import some_settings
from analysis.report.summary import setting_label
from analysis.sae_features import BOTH, DOMAIN, OTHER, SHARED

LOOKS = {
    SHARED: ("#009E73", "o"),
    DOMAIN: ("#D55E00", "s"),
    BOTH: ("#0072B2", "^"),
    OTHER: (GREY, "."),
}
"""colour and marker by kind: those that one looks for are drawn last"""
PANEL = 2.45
"""inches of a scatter plot"""
LARGEST = 5.5
"""points of the marker of the most frequent feature of a panel"""
RESOLUTION = 200
"""pixels per inch of the markers, which are one image per panel"""
TILE = 0.62
"""inches of an image"""


@styled
def entropy_figure(panels: Mapping[str, pl.DataFrame], sites: Sequence[str]) -> Figure:
    """Domain entropy against class entropy of every feature, a panel per setting and site.

    Args:
        panels: features (rows of sae.parquet) of one autoencoder per site, by setting;
            `some_settings` are drawn.
        sites: columns of the figure.
    """
    names = some_settings(panels)
    width = WIDTH if len(sites) > 2 else NARROW
    figure = Figure(figsize=(width, PANEL * len(names) + 0.9), dpi=RESOLUTION, layout="constrained")
    grid = figure.subplots(len(names), len(sites), sharex=True, sharey=True, squeeze=False)
    for row, name in zip(grid, names, strict=True):
        for axes, site in zip(row, sites, strict=True):
            _entropy_panel(axes, panels[name].filter(pl.col("site") == site))
        row[0].set_ylabel(f"{textwrap.fill(setting_label(name), 24)}\nentropy over classes")
    for axes, site in zip(grid[0], sites, strict=True):
        axes.set_title(site)
    for axes in grid[-1]:
        axes.set_xlabel("entropy over domains")
    grid[0, 0].set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04))
    legend(figure, _entropy_legend())
    return figure


def _entropy_panel(axes: Axes, features: pl.DataFrame) -> None:
    fires = features.drop_nulls("domain_entropy")
    axes.grid(True, axis="both")
    if fires.is_empty():
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=GREY)
        return
    most = fires["rate"].to_numpy().max()
    axes.plot(
        fires["domain_entropy_chance"],
        fires["class_entropy_chance"],
        ",",
        color="#aaaaaa",
        zorder=1,
        rasterized=True,
    )
    for kind in reversed(LOOKS):
        rows = fires.filter(kind=kind)
        colour, marker = LOOKS[kind]
        axes.scatter(
            rows["domain_entropy"],
            rows["class_entropy"],
            s=(1 + LARGEST * np.sqrt(rows["rate"].to_numpy() / most)) ** 2,
            c=colour,
            marker=marker,
            alpha=0.55,
            linewidths=0,
            zorder=2,
            rasterized=True,  # thousands of markers: as paths they would be most of the page
        )


def _entropy_legend() -> list[Line2D]:
    look = {"linestyle": "", "markersize": 5.0}
    kinds = [
        Line2D([], [], color=colour, marker=marker, label=kind, **look)  # type: ignore[arg-type]
        for kind, (colour, marker) in LOOKS.items()
    ]
    chance = Line2D([], [], color="#aaaaaa", marker=".", linestyle="", markersize=2)
    chance.set_label("labels shuffled")
    return [*kinds, chance]


@styled
def image_figure(
    groups: Mapping[str, Sequence[tuple[str, Sequence[np.ndarray]]]],
) -> Figure:
    """The images with the largest codes of some features, a row per feature.

    Args:
        groups: by title, what is said of each feature and its images, largest code first: uint8
            [P, P, 3]. A feature may have fewer images than others.
    """
    lines = sum(len(features) for features in groups.values())
    columns = max(len(images) for features in groups.values() for _, images in features)
    height = TILE * lines + 0.3 * len(groups) + 0.1
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    heights = [0.3 + TILE * len(features) for features in groups.values()]
    parts = figure.subfigures(len(groups), 1, height_ratios=heights, squeeze=False).ravel()
    for part, (title, features) in zip(parts, groups.items(), strict=True):
        part.suptitle(title, x=0.01, ha="left", fontsize=10, fontweight="bold")
        grid = part.subplots(
            len(features), columns + 1, squeeze=False, width_ratios=[4] + [1] * columns
        )
        for row, (text, images) in zip(grid, features, strict=True):
            _image_row(row, text, images)
    return figure


def _image_row(row: np.ndarray, text: str, images: Sequence[np.ndarray]) -> None:
    for axes in row:
        axes.set_axis_off()
    row[0].text(0, 0.5, textwrap.fill(text, 42), va="center", fontsize=8)
    for axes, image in zip(row[1:], images, strict=False):
        axes.imshow(image, interpolation="nearest")
