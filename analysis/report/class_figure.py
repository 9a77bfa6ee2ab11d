"""The figure of classes: accuracy on every class of a test domain, by setting.

Legend: R rows (a setting and seed), C classes.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import PercentFormatter

from analysis.report.figures import WIDTH, styled
from analysis.report.summary import setting_label

MOST_CLASSES = 100
"""columns that have room for their names; of more classes only ENDS are drawn"""
ENDS = 20
"""classes that are drawn of the hardest and of the easiest ones, where there are too many"""
MOST_HELD_OUT = 50
"""held-out classes that are drawn beside them"""
MOST_ROWS = 24
"""settings and seeds that have room"""
MOST_DRAWS = 3
"""draws of held-out classes that have room"""
HEAT_WIDTH, POINTS = 7.1, 72
"""inches that all columns share, about; points of an inch"""
LETTERS = 30
LONGEST = 22
ROW, BAR = 0.19, 1.8
"""inches of a row, and of the bar of colours"""
ABSENT = {"facecolor": "#f2f2f0", "edgecolor": "#c4c4c0", "hatch": "/////", "linewidth": 0}


@dataclass(frozen=True)
class _Block:
    """Classes that stand together, from the hardest to the easiest.

    Attributes:
        end: which end of its kind it is; empty where it is the whole kind.
    """

    kind: str
    title: str
    classes: list[str]
    end: str = ""


@styled
def class_figure(table: pl.DataFrame) -> Figure:
    """Accuracy per class as colours: a line of panels per draw, held-out classes at the right.

    Args:
        table: rows of `evaluation_tables.class_scores` of one test domain and split.
    """
    draws = _drawn(table)
    settings = table.select("setting", "seed").unique(maintain_order=True).rows()[:MOST_ROWS]
    blocks = {draw: class_blocks(table.filter(draw=draw)) for draw in draws}
    names = [name for line in blocks.values() for block in line for name in block.classes]
    below = 0.075 * min(LONGEST, max(map(len, names), default=0)) + 0.3
    height = len(draws) * (ROW * len(settings) + below + 0.5) + 0.35
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    widths = [max(3, len(block.classes)) for block in blocks[draws[0]]]
    most = max(len(line) for line in blocks.values())
    widths += [1] * (most - len(widths))
    grid = figure.subplots(len(draws), most, squeeze=False, width_ratios=widths)
    for line, draw in zip(grid, draws, strict=True):
        part = table.filter(draw=draw)
        image = _line_of_panels(line, part, blocks[draw], settings)
        if len(draws) > 1:
            line[0].set_title(f"draw {draw}, {blocks[draw][0].title}")
    _colour_bar(figure, grid, image, height)
    if table["value"].null_count():
        absent = Patch(label="missing", **ABSENT)  # type: ignore[arg-type]
        figure.legend(handles=[absent], loc="outside lower center")
    return figure


def _drawn(table: pl.DataFrame) -> list[int]:
    return table["draw"].unique().sort().to_list()[:MOST_DRAWS]


def left_out(table: pl.DataFrame) -> str:
    """Which classes `class_figure` does not draw of a table, in words; empty for none."""
    blocks = [block for draw in _drawn(table) for block in class_blocks(table.filter(draw=draw))]
    kinds = dict.fromkeys(block.kind for block in blocks if block.end)
    if not kinds:
        return ""
    return f"Of {' and of '.join(kinds)} classes the {ENDS} hardest and the {ENDS} easiest."


def class_blocks(table: pl.DataFrame) -> list[_Block]:
    """The classes of one draw as they stand side by side, each block sorted by mean accuracy.

    Args:
        table: rows of one test domain, split and draw.
    """
    means = (
        table.group_by("class_name", "held_out", maintain_order=True)
        .agg(pl.mean("value"))
        .sort("value", "class_name", nulls_last=True)
    )
    seen = means.filter(~pl.col("held_out"))["class_name"].to_list()
    held_out = means.filter("held_out")["class_name"].to_list()
    if means.height <= MOST_CLASSES:
        found = [_Block("seen", f"seen classes ({len(seen)})", seen)]
        found.append(_Block("held-out", f"held-out ({len(held_out)})", held_out))
    else:
        found = [*_ends("seen", seen, 2 * ENDS), *_ends("held-out", held_out, MOST_HELD_OUT)]
    return [block for block in found if block.classes]


def _ends(kind: str, classes: list[str], most: int) -> list[_Block]:
    """All classes of a kind, or the hardest and the easiest where there are more than `most`."""
    if len(classes) <= most:
        return [_Block(kind, f"{kind} ({len(classes)})", classes)]
    ends = {"hardest": classes[:ENDS], "easiest": classes[-ENDS:]}
    title = f"{kind} ({len(classes)}):\n"
    return [_Block(kind, f"{title}{end} {ENDS}", shown, end) for end, shown in ends.items()]


def _line_of_panels(
    line: np.ndarray, table: pl.DataFrame, blocks: list[_Block], settings: list[tuple]
) -> AxesImage:
    many_seeds = len({seed for _, seed in settings}) > 1
    labels = [
        textwrap.shorten(setting_label(name), LETTERS, placeholder="…")
        + (f" (seed {seed})" if many_seeds else "")
        for name, seed in settings
    ]
    total = sum(len(block.classes) for block in blocks)
    for axes, block in zip(line, blocks, strict=False):
        values_RC = _matrix(table, settings, block.classes)
        image = _heat(axes, values_RC)
        axes.set_title(block.title)
        size = min(8.0, HEAT_WIDTH * POINTS / total / 1.1)
        shown = [
            name if len(name) <= LONGEST else name[: LONGEST - 1] + "…" for name in block.classes
        ]
        axes.set_xticks(range(len(shown)), shown, rotation=90, fontsize=size)
        axes.set_yticks(range(len(labels)), labels if axes is line[0] else [""] * len(labels))
    for axes in line[len(blocks) :]:
        axes.set_visible(False)
    return image


def _matrix(table: pl.DataFrame, settings: list[tuple], classes: list[str]) -> np.ndarray:
    """Accuracies [R, C]; NaN where there is none."""
    found = {
        (setting, seed, name): value
        for setting, seed, name, value in table.select(
            "setting", "seed", "class_name", "value"
        ).iter_rows()
        if value is not None
    }
    rows = [[found.get((*key, name), np.nan) for name in classes] for key in settings]
    return np.array(rows, dtype=float).reshape(len(settings), len(classes))


def _heat(axes: Axes, values_RC: np.ndarray) -> AxesImage:
    image = axes.imshow(
        values_RC, aspect="auto", interpolation="none", cmap=_colours(), vmin=0, vmax=1, zorder=2
    )
    rows, columns = values_RC.shape
    whole = Rectangle((-0.5, -0.5), columns, rows, zorder=1, **ABSENT)  # type: ignore[arg-type]
    if np.isnan(values_RC).any():
        axes.add_patch(whole)  # behind the cells: seen where they are empty
    axes.hlines(np.arange(0.5, rows - 1), -0.5, columns - 0.5, "white", linewidth=1.2, zorder=3)
    axes.grid(False)
    axes.tick_params(length=0)
    axes.spines[:].set(visible=True, color="#bbbbbb")
    return image


def _colours() -> Colormap:
    """Light to dark; the lightest is told from the ground."""
    return ListedColormap(mpl.colormaps["Blues"](np.linspace(0.05, 0.95, 256)), name="accuracy")


def _colour_bar(figure: Figure, grid: np.ndarray, image: AxesImage, height: float) -> None:
    form = {"shrink": min(0.8, BAR / height), "aspect": 12, "pad": 0.01, "anchor": (0, 1)}
    bar = figure.colorbar(image, ax=grid.ravel().tolist(), **form)  # type: ignore[arg-type]
    bar.set_label("accuracy")
    bar.ax.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    bar.outline.set_visible(False)
