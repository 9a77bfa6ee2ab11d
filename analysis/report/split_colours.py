"""Colours of counts: scales that wide and narrow ranges are readable on, and their bars."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap, LogNorm, Normalize, SymLogNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from analysis.report.summary import MINUS
from analysis.report.views import count

LOGARITHMIC_FROM = 50
"""ratio of the largest to the smallest value from which colours follow a logarithm"""
TALLEST_BAR, BAR_WIDTH = 4.5, 0.15
"""inches of a colour bar"""


def scale_of(matrices: Sequence[np.ndarray]) -> Normalize:
    """One scale of colours for all matrices: linear from 0, or logarithmic for wide ranges."""
    values = np.concatenate([matrix.ravel() for matrix in matrices])
    shown = values[values > 0]
    if len(shown) and shown.max() >= LOGARITHMIC_FROM * shown.min():
        return LogNorm(shown.min(), shown.max())
    return Normalize(0, shown.max() if len(shown) else 1)


def blues() -> Colormap:
    """Light to dark; the lightest is told from white."""
    return ListedColormap(mpl.colormaps["Blues"](np.linspace(0.16, 0.92, 256)), name="samples")


def difference_scale(matrix: np.ndarray) -> Normalize:
    """Symmetric about 0; for wide ranges linear near it and logarithmic beyond."""
    sizes = np.abs(matrix[matrix != 0])
    most = sizes.max(initial=1)
    if len(sizes) and most >= LOGARITHMIC_FROM * sizes.min():
        return SymLogNorm(linthresh=max(1.0, most / 10), vmin=-most, vmax=most)
    return Normalize(-most, most)


def colour_bar(
    figure: Figure, image: AxesImage, axes: Sequence[Axes], label: str, height: float
) -> None:
    """Colour bar with plain numbers at the right of `axes`, which are `height` inches high."""
    tall = min(height, TALLEST_BAR)
    form = {"shrink": tall / height, "aspect": tall / BAR_WIDTH, "anchor": (0, 1), "pad": 0.01}
    bar = figure.colorbar(image, ax=list(axes), **form)  # type: ignore[arg-type]
    scale = image.norm
    bar.set_label(label + ("" if type(scale) is Normalize else " (log scale)"))
    if isinstance(scale, LogNorm):
        bar.ax.yaxis.set_major_locator(FixedLocator(_steps(scale.vmin or 1, scale.vmax or 1)))
    elif isinstance(scale, SymLogNorm):
        most = scale.vmax or 1
        steps = _steps(max(1.0, scale.linthresh), most)
        bar.ax.yaxis.set_major_locator(FixedLocator([*(-step for step in steps), 0, *steps]))
    else:
        bar.ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    bar.ax.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: count(value).replace("-", MINUS))
    )
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)


def _steps(least: float, most: float) -> list[float]:
    """Round numbers from `least` to `most` for a logarithmic axis: 1, 2, 5 times powers of 10."""
    powers = range(int(np.floor(np.log10(least))), int(np.ceil(np.log10(most))) + 1)
    wide = most / least > 2000
    factors = (1,) if wide else (1, 2, 5)
    steps = [factor * 10.0**power for power in powers for factor in factors]
    return [step for step in steps if least <= step <= most]
