"""The figures of a report: functions from a table to a matplotlib Figure, without files."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from analysis.report.summary import setting_label, thousands

FONTS = ["DejaVu Sans", "Verdana", "Arial", "sans-serif"]
STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": FONTS,
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
    "text.parse_math": False,  # a `$` in a name is a dollar
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
GREY, INK = "#777777", "#222222"
EXPOSURE_SETTINGS = 8
"""settings that a figure of exposures has room for"""
WIDTH = 9.6
"""inches of a figure with several panels: equal widths give equal letters on the page"""
NARROW = 6.0
P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw in our style, and leave the caller's as it is."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(STYLE):  # type: ignore[arg-type]
            return draw(*args, **kwargs)

    return drawn


def setting_colour(setting: str, settings: Sequence[str]) -> str:
    """Colour of a setting, the same in every figure.

    Where there are more settings than colours, variants have that of the setting they vary.
    """
    others = [name for name in settings if name not in KNOWN]
    if len(KNOWN) + len(others) > len(COLOURS):
        setting, others = setting.partition("-")[0], []
        if setting not in KNOWN:  # pretrained models
            return COLOURS[-1]
    return COLOURS[[*KNOWN, *others].index(setting)]


HANDLE, LETTER = 0.5, 0.065
"""inches of a legend's mark with the space around it, and of a letter beside it"""


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Legend below the panels, in as many columns as fit, two or four at most by its width."""
    longest = max((len(str(handle.get_label())) for handle in handles), default=0)
    most = 4 if figure.get_figwidth() > NARROW else 2
    columns = min(most, max(1, int(figure.get_figwidth() / (HANDLE + LETTER * longest))))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns)


def domain_panels(test_domains: Sequence[str]) -> tuple[Figure, list[tuple[Axes, str]]]:
    """A panel per test domain on the same axes, at most three side by side."""
    columns = min(3, len(test_domains))
    rows = -(-len(test_domains) // columns)
    size = (WIDTH if columns > 1 else NARROW, 3.1 * rows + 0.9)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in grid.ravel()[len(test_domains) :]:
        axes.set_visible(False)
    panels = list(zip(grid.ravel().tolist(), test_domains, strict=False))
    for axes, test_domain in panels:
        axes.set_title(f"test domain {test_domain}")
        axes.tick_params(labelbottom=True)
    return figure, panels


def svg_text(figure: Figure, name: str) -> str:
    """The figure as SVG: equal figures give equal bytes; ids start with `name`."""
    buffer = io.StringIO()
    nothing = dict.fromkeys(["Creator", "Date", "Format", "Type"])
    with mpl.rc_context(STYLE | {"svg.hashsalt": name}):  # type: ignore[arg-type]
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = re.sub(r'<g id="[^"]+"', "<g", buffer.getvalue())  # nothing refers to groups
    text = _numbered(text, name)
    text = re.sub(r'(?s)<defs>.*?</defs>| (?:d|x|y)="[^"]+"', _shorter, text)
    text = re.sub(r'font-family: [^;"]+(?:; )?', "", text)  # said once for all texts, not in each
    text = text.replace("<svg ", f'<svg font-family="{", ".join(FONTS)}" ', 1)
    text = re.sub(r' transform="rotate\(-0 [^"]+"', "", text)
    text = re.sub(r"(<g[^>]*)>((?:\s*<use [^>]*/>)+)", _styled_once, text)
    return re.sub(r"\s*\n\s*", "\n", text)


def _numbered(text: str, name: str) -> str:
    """Ids as numbers behind a name, which no other figure of a page has: hashes are long."""
    numbers = {found: n for n, found in enumerate(re.findall(r'\bid="([^"]+)"', text))}
    refers = r'(\bid="|url\(#|href="#)([^")]+)'
    return re.sub(refers, lambda found: f"{found[1]}{name}-{numbers[found[2]]}", text)


def _shorter(found: re.Match[str]) -> str:
    """Coordinates to 1/10 of a point, finer than most screens; those of markers to 1/100."""
    part = found[0]
    digits = 2 if part.startswith("<defs>") else 1
    part = re.sub(rf"(\.\d{{{digits}}})\d+", r"\1", part)
    part = re.sub(r'(?<=\d)\.0+(?=[ \n"])', "", part)
    return re.sub(r'd="[^"CQ]+"', lambda path: re.sub(r"\s*\nL ", " ", path[0]), part)


def _styled_once(found: re.Match[str]) -> str:
    """A group of markers of one style has it once."""
    group, markers = found.groups()
    styles = set(re.findall(r' style="[^"]*"', markers))
    if len(styles) != 1 or "style=" in group or markers.count("<use ") != markers.count("style="):
        return found[0]
    (style,) = styles
    return f"{group}{style}>{markers.replace(style, '')}"


# ---------------------------------------------------------------------------- exposure


@styled
def exposure_figure(table: pl.DataFrame) -> Figure:
    """Training samples per (domain, class) cell of each mixture of one test domain.

    Args:
        table: rows of one test domain and draw of `tables.exposure_counts`; the first
            EXPOSURE_SETTINGS settings are drawn.
    """
    settings = table["setting"].unique(maintain_order=True).to_list()[:EXPOSURE_SETTINGS]
    table = table.filter(pl.col("setting").is_in(settings))
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
        axes.set_title(textwrap.fill(setting_label(setting), 48))
    for axes in grid[len(settings) :]:
        axes.set_visible(False)
    bar = figure.colorbar(image, ax=grid.tolist(), shrink=0.7, pad=0.01)
    bar.set_label("samples per cell")
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


@styled
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
        runs = served.filter(test_domain=test_domain).select("setting", "run")
        for setting, run in runs.unique(maintain_order=True).rows():
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
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: thousands(x)))
    grid[0].set_ylim(bottom=0)  # of all panels, so not before the last one is drawn
    for axes in grid[len(test_domains) :]:
        axes.set_visible(False)
    for axes in grid[::columns]:
        axes.set_ylabel("contrastive loss")
    floor = Line2D([], [], color=INK, linestyle=":", linewidth=0.9, label="floor of the loss")
    legend(figure, [*setting_handles(settings), floor])
    return figure


def setting_handles(settings: Sequence[str], **look: Any) -> list[Artist]:
    """A line of a legend per colour: a setting, or all the variants that share it."""
    names: dict[str, list[str]] = {}
    for name in settings:
        names.setdefault(setting_colour(name, settings), []).append(name)
    labels = {
        colour: setting_label(same[0])
        if len(same) == 1
        else f"{setting_label(same[0].partition('-')[0])}, variants"
        for colour, same in names.items()
    }
    return [Line2D([], [], color=colour, label=label, **look) for colour, label in labels.items()]
