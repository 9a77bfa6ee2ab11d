"""The figures of a report: functions from a table to a matplotlib Figure, without files."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Sequence
from functools import wraps
from typing import ParamSpec

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from analysis.report.summary import percent, setting_label

STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.labelcolor": "#333333",
    "xtick.color": "#444444",
    "ytick.color": "#444444",
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "figure.titlesize": 11,
    "svg.fonttype": "none",
}
# Okabe & Ito (2008), without yellow: told apart with any kind of colour vision
COLOURS = ["#666666", "#0072B2", "#E69F00", "#D55E00", "#56B4E9", "#009E73", "#CC79A7", "#000000"]
KNOWN = [
    "natural_only",
    "leave_out_domain",
    "cg_low_diversity",
    "cg_high_diversity",
    "upper_bound_low",
    "upper_bound_high",
]
UPPER = "upper_bound"
GREY = "#777777"
LABEL_GROUND = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
SIMILARITY_SETTINGS = 4
WIDTH = 9.6
"""inches of a figure with several panels: equal widths give equal letters on the page"""
NARROW = 6.0
P = ParamSpec("P")


def _styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in our style, and leave the caller's as it is."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(STYLE):  # type: ignore[arg-type]
            return draw(*args, **kwargs)

    return styled


def setting_colour(setting: str, settings: Sequence[str]) -> str:
    """Colour of a setting, the same in every figure."""
    others = [name for name in settings if name not in KNOWN]
    return COLOURS[[*KNOWN, *others].index(setting) % len(COLOURS)]


def _legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Legend below the panels, in as many columns as fit."""
    columns = 4 if figure.get_figwidth() > NARROW else 2
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def svg_text(figure: Figure, name: str) -> str:
    """The figure as SVG: equal figures give equal bytes; ids start with `name`."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(["Creator", "Date", "Format", "Type"])
    with mpl.rc_context(STYLE | {"svg.hashsalt": name}):  # type: ignore[arg-type]
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", buffer.getvalue())
    return re.sub(r"\s+\n", "\n", text)


# ---------------------------------------------------------------------------- headline


@_styled
def headline_figure(table: pl.DataFrame, split: str = "test") -> Figure:
    """Accuracy on the held-out classes in each test domain, by setting.

    Args:
        table: `tables.headline`.
        split: `test` or `test_unseen_drawing`.
    """
    table = table.filter(split=split, classes="held_out")
    test_domains = table["test_domain"].unique(maintain_order=True).to_list()
    settings = table["setting"].unique(maintain_order=True).to_list()
    columns = min(3, len(test_domains))
    rows = -(-len(test_domains) // columns)
    width = WIDTH if columns > 1 else NARROW
    figure = Figure(figsize=(width, 3.3 * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
    for axes, test_domain in zip(grid, test_domains, strict=False):
        _headline_panel(axes, table.filter(test_domain=test_domain), settings)
        axes.set_title(f"test domain {test_domain}")
    for axes in grid[len(test_domains) :]:
        axes.set_visible(False)
    for axes in grid[::columns]:
        axes.set_ylabel("balanced top-1 accuracy,\nheld-out classes")
        axes.set_ylim(0, _top(table))
    _legend(figure, _headline_legend(settings))
    return figure


def _headline_panel(axes: Axes, table: pl.DataFrame, settings: list[str]) -> None:
    shown = [name for name in settings if not name.startswith(UPPER)]
    for setting in settings:
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


def _top(table: pl.DataFrame) -> float:
    """Upper end of an axis of accuracies: a little above the highest interval."""
    highest = table["hi"].drop_nulls()
    return min(1.02, 1.06 * float(highest.max())) if len(highest) else 1.0  # type: ignore[arg-type]


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
    offsets = (np.arange(known.height) - (known.height - 1) / 2) * 0.14
    value, lo, hi = (known[key].to_numpy() for key in ("value", "lo", "hi"))
    axes.errorbar(
        position + offsets,
        value,
        yerr=np.maximum([value - lo, hi - value], 0),  # rounding can make 0 negative
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
        color="#222222",
        bbox=LABEL_GROUND,
    )


def _upper_bound(axes: Axes, rows: pl.DataFrame, colour: str) -> None:
    known = rows.drop_nulls("value")
    if known.height:
        lo, value, hi = (known[key].to_numpy() for key in ("lo", "value", "hi"))
        axes.axhspan(lo.min(), hi.max(), color=colour, alpha=0.13, linewidth=0)
        axes.axhline(value.mean(), color=colour, linestyle="--", linewidth=1.4)


def _headline_legend(settings: list[str]) -> list[Artist]:
    bounds = [name for name in settings if name.startswith(UPPER)]
    return [
        Line2D([], [], color="#222222", marker="o", linewidth=1.8, label="accuracy, 95 % interval"),
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


# ---------------------------------------------------------------------------- exposure


@_styled
def exposure_figure(table: pl.DataFrame) -> Figure:
    """Training samples per (domain, class) cell of each mixture of one test domain.

    Args:
        table: rows of one test domain of `tables.exposure_counts`.
    """
    settings = table["setting"].unique(maintain_order=True).to_list()
    domains = table["domain"].unique(maintain_order=True).to_list()
    columns = 2 if len(settings) > 1 else 1
    rows = -(-len(settings) // columns)
    height = rows * (0.2 * len(domains) + 0.75) + 0.5
    figure = Figure(figsize=(WIDTH if columns > 1 else NARROW, height), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    most = max(1, *table["samples"].to_list())
    blues = mpl.colormaps["Blues"](np.linspace(0.15, 0.8, 256))
    colours = mpl.colors.ListedColormap(blues, name="exposure")
    for axes, setting in zip(grid, settings, strict=False):
        image = _exposure_panel(axes, table.filter(setting=setting), domains, most, colours)
        axes.set_title(setting_label(setting))
    for axes in grid[len(settings) :]:
        axes.set_visible(False)
    bar = figure.colorbar(image, ax=grid.tolist(), shrink=0.7, pad=0.01)
    bar.set_label("training samples per cell (white: none)")
    bar.ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    bar.outline.set_visible(False)
    return figure


def _exposure_panel(
    axes: Axes, table: pl.DataFrame, domains: list[str], most: int, colours: mpl.colors.Colormap
) -> mpl.image.AxesImage:
    cells = table.sort("held_out", "class_name").pivot(
        "class_name", index="domain", values="samples"
    )
    order = {domain: place for place, domain in enumerate(domains)}
    cells = cells.sort(pl.col("domain").replace_strict(order))
    counts = cells.drop("domain").to_numpy().astype(float)
    held_out = table.filter("held_out")["class_name"].n_unique()
    seen = counts.shape[1] - held_out
    image = axes.imshow(
        np.where(counts > 0, counts, np.nan),
        aspect="auto",
        interpolation="none",
        cmap=colours,
        vmin=0,
        vmax=most,
    )
    axes.grid(False)
    axes.set_yticks(range(len(domains)), domains)
    axes.hlines(
        np.arange(0.5, len(domains) - 1), -0.5, seen + held_out - 0.5, "white", linewidth=1.5
    )
    axes.axvline(seen - 0.5, color="#D55E00", linewidth=2)
    centres = [(seen - 1) / 2, seen + (held_out - 1) / 2]
    axes.set_xticks(centres, [f"seen classes ({seen})", f"held-out ({held_out})"])
    axes.tick_params(length=0)
    axes.spines[:].set(visible=True, color="#bbbbbb")
    return image


# ---------------------------------------------------------------------------- training


@_styled
def training_figure(metrics: pl.DataFrame, served: pl.DataFrame) -> Figure:
    """Training loss and its floor by samples seen, one line per run.

    Args:
        metrics: `StudyResults.metrics`.
        served: `tables.served`.
    """
    test_domains = served["test_domain"].unique(maintain_order=True).to_list()
    settings = served["setting"].unique(maintain_order=True).to_list()
    columns = min(3, len(test_domains))
    rows = -(-len(test_domains) // columns)
    width = WIDTH if columns > 1 else NARROW
    figure = Figure(figsize=(width, 3.1 * rows + 0.6), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, sharex=True, squeeze=False).ravel()
    for axes, test_domain in zip(grid, test_domains, strict=False):
        for setting, run in served.filter(test_domain=test_domain).select("setting", "run").rows():
            lines = metrics.filter(run=run).sort("samples_seen")
            colour = setting_colour(setting, settings)
            axes.plot(lines["samples_seen"], lines["loss"], color=colour, linewidth=1.5)
            axes.plot(
                lines["samples_seen"],
                lines["loss_floor"],
                color=colour,
                linewidth=0.9,
                linestyle=":",
            )
        axes.set_title(f"test domain {test_domain}")
        axes.set_xlabel("samples seen")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: _thousands(x)))
        axes.set_ylim(bottom=0)
    for axes in grid[len(test_domains) :]:
        axes.set_visible(False)
    for axes in grid[::columns]:
        axes.set_ylabel("contrastive loss")
    handles = [
        Line2D([], [], color=setting_colour(name, settings), label=setting_label(name))
        for name in settings
    ]
    floor = Line2D([], [], color="#222222", linestyle=":", linewidth=0.9, label="floor of the loss")
    _legend(figure, [*handles, floor])
    return figure


def _thousands(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    return f"{value / 1e3:g}k" if value >= 1e3 else f"{value:g}"


# ---------------------------------------------------------------------------- similarity


@_styled
def similarity_figure(table: pl.DataFrame, served: pl.DataFrame) -> Figure:
    """CKA per layer: pairs of domains that include the test domain, and the other pairs.

    Args:
        table: `tables.sharing`.
        served: `tables.served`.
    """
    test_domains = served["test_domain"].unique(maintain_order=True).to_list()
    found = served["setting"].unique(maintain_order=True).to_list()
    settings = ([s for s in KNOWN if s in found] or found)[:SIMILARITY_SETTINGS]
    figure = Figure(
        figsize=(WIDTH if len(settings) > 2 else NARROW, 2.5 * len(test_domains) + 0.8),
        layout="constrained",
    )
    grid = figure.subplots(
        len(test_domains), len(settings), sharex=True, sharey=True, squeeze=False
    )
    for row, test_domain in zip(grid, test_domains, strict=True):
        for axes, setting in zip(row, settings, strict=True):
            _similarity_panel(axes, table.filter(test_domain=test_domain, setting=setting))
            axes.set_title(f"{test_domain}:\n{setting_label(setting)}")
        row[0].set_ylabel("CKA")
    _legend(figure, _similarity_legend())
    return figure


PAIRS = {
    "with_test_domain": ("pairs with the test domain", "#D55E00"),
    "others": ("other pairs", "#0072B2"),
}


def _similarity_panel(axes: Axes, table: pl.DataFrame) -> None:
    if table.is_empty():
        axes.text(0.5, 0.5, "missing", transform=axes.transAxes, ha="center", color=GREY)
    for pairs, (_, colour) in PAIRS.items():
        rows = table.filter(pairs=pairs).sort("depth")
        axes.fill_between(
            rows["depth"], rows["lo"], rows["hi"], color=colour, alpha=0.16, linewidth=0
        )
        axes.plot(rows["depth"], rows["value"], color=colour, marker="o", markersize=3.5)
        axes.plot(rows["depth"], rows["ceiling"], color=colour, linestyle="--", linewidth=1)
    chance = table.group_by("depth").agg(pl.col("chance").mean()).sort("depth")
    axes.plot(chance["depth"], chance["chance"], color=GREY, linestyle=":", linewidth=1.3)
    sites = table.select("depth", "site").unique().sort("depth")
    axes.set_xticks(sites["depth"].to_list(), sites["site"].to_list(), rotation=45, ha="right")


def _similarity_legend() -> list[Artist]:
    return [
        *(
            Line2D([], [], color=colour, marker="o", markersize=3.5, label=label)
            for label, colour in PAIRS.values()
        ),
        Line2D([], [], color="#222222", linestyle="--", linewidth=1, label="ceiling (two halves)"),
        Line2D([], [], color=GREY, linestyle=":", linewidth=1.3, label="chance"),
    ]
