"""Where the objects of a scene stand: squares of one side, from left to right.

Positions are drawn without regard to the objects, so that a scene and its swap can share them.

Legend: m objects of a scene, P height and width of the canvas in pixels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from splits.errors import UserError

TRIES = 256
"""arrangements that are drawn at once, of which the first good one is taken"""
HIDDEN = 0.5
"""share of their side by which two squares may overlap, where they may at all"""

Corners = NDArray[np.int64]
"""[m, 2] x and y of the upper left corners of squares, in pixels, from left to right"""


def check_room(objects: int, side: int, pixels: int, *, overlap: bool) -> None:
    """Refuse scenes whose squares have no place.

    Args:
        objects: m, of the largest scene.
        side: of a square in pixels.
        pixels: P.
        overlap: whether squares may hide parts of each other.

    Raises:
        UserError: they do not fit.
    """
    across = 1 + max(0, pixels - side) // _distance(side, overlap=overlap)
    fitting = across**2 if side <= pixels else 0
    if objects > fitting:
        raise UserError(
            f"{objects} objects of {side} pixels do not fit on {pixels} × {pixels} pixels",
            expected=f"at most {fitting} objects of that size",
            where="the scenes' layout",
            fix=f"object_pixels={pixels // (1 + math.isqrt(objects - 1))}, more `pixels`, or fewer "
            "objects in a scene",
        )


def draw_layout(
    objects: int, side: int, pixels: int, random: np.random.Generator, *, overlap: bool
) -> Corners:
    """Places of the squares of a scene, [m, 2], from left to right (of one column, from above).

    They are drawn at random where that gives an arrangement soon, else on a jittered grid.

    Args:
        objects, side, pixels, overlap: as in `check_room`.
        random: state of the draw.

    Raises:
        UserError: they do not fit.
    """
    check_room(objects, side, pixels, overlap=overlap)
    distance = _distance(side, overlap=overlap)
    tries = random.integers(0, pixels - side + 1, size=(TRIES, objects, 2))
    good = np.flatnonzero(_are_apart(tries, distance))
    corners = tries[good[0]] if len(good) else _grid(objects, side, pixels, distance, random)
    return np.asarray(corners[np.lexsort((corners[:, 1], corners[:, 0]))], dtype=np.int64)


def _distance(side: int, *, overlap: bool) -> int:
    """Pixels by which two squares must differ in x or in y."""
    return math.ceil(side * HIDDEN) if overlap else side


def _are_apart(tries: NDArray[np.int64], distance: int) -> NDArray[np.bool_]:
    """[n] whether the squares of every arrangement [n, m, 2] are apart."""
    gaps = np.abs(tries[:, :, None] - tries[:, None]).max(axis=-1)
    gaps[:, range(tries.shape[1]), range(tries.shape[1])] = distance
    return np.asarray((gaps >= distance).all(axis=(1, 2)))


def _grid(
    objects: int, side: int, pixels: int, distance: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Cells of a grid whose lines leave random gaps, [m, 2]."""
    across = 1 + (pixels - side) // distance
    slack = pixels - side - distance * (across - 1)
    lines = np.sort(random.integers(0, slack + 1, size=(2, across)), axis=1)
    lines += distance * np.arange(across)
    cells = random.choice(across**2, size=objects, replace=False)
    return np.stack([lines[0, cells % across], lines[1, cells // across]], axis=1)
