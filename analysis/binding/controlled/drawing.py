"""Scenes as pictures of 32 pixels: two coloured shapes side by side, each at a place of its own.

Made for speed, not for beauty: a batch is drawn by one look-up in a table of shapes.

Legend: B pictures, m objects, S pixels of a side.
"""

from __future__ import annotations

import colorsys
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gen.scenes.space import ConceptSpace, Objects
from splits.errors import UserError

SIDE = 32
SHAPE_SIDE = 13
FINE = 4
"""points per pixel and direction by which edges are smoothed"""
BACKGROUND = 0.5
HUES, TONES = 8, ((1.0, 1.0), (1.0, 0.5), (0.45, 1.0))
"""colours: so many hues in each tone (saturation, value)"""
COLOURS, SHAPES = HUES * len(TONES), 6


def check_sizes(sizes: tuple[int, ...]) -> None:
    """Refuse concepts that pictures cannot show.

    Raises:
        UserError: other than two concepts, or more values than there are colours or shapes.
    """
    if len(sizes) != 2 or sizes[0] > COLOURS or sizes[1] > SHAPES:
        raise UserError(
            f"pictures of concepts with {' × '.join(map(str, sizes))} values",
            expected=f"two concepts: at most {COLOURS} colours × {SHAPES} shapes",
            where="sizes of a grid of pictures",
            fix="fewer values, or the variant `symbols`",
        )


def draw(space: ConceptSpace, scenes: Objects, random: np.random.Generator) -> NDArray[np.float32]:
    """Pictures [B, 3, S, S], in [-1, 1], of scenes [B, m] with one or two objects.

    Two objects stand left and right, in the order of the scene; one object stands on either side.
    Each is moved by a whole number of pixels within its half.

    Args:
        space: of colours, then shapes.
        scenes: numbers of objects.
        random: state of the places.
    """
    count, slots = scenes.shape
    half = SIDE // 2
    sides = np.tile(np.arange(slots), (count, 1))
    if slots == 1:
        sides = random.integers(2, size=(count, 1))
    tops = random.integers(SIDE - SHAPE_SIDE + 1, size=(count, slots))
    lefts = half * sides + random.integers(half - SHAPE_SIDE + 1, size=(count, slots))
    values = space.table[scenes]
    colours = _colours()[values[..., 0] * COLOURS // space.sizes[0]]
    pictures = np.full((count, 3, SIDE, SIDE), BACKGROUND, dtype=np.float32)
    window = np.arange(SHAPE_SIDE)
    for slot in range(slots):
        rows = (tops[:, slot, None] + window)[:, :, None]
        columns = (lefts[:, slot, None] + window)[:, None, :]
        shape = _shapes()[values[:, slot, 1], None]
        paint = shape * colours[:, slot, :, None, None] + (1 - shape) * BACKGROUND
        places = np.arange(count)[:, None, None, None], np.arange(3)[None, :, None, None]
        pictures[places[0], places[1], rows[:, None], columns[:, None]] = paint
    return 2 * pictures - 1


@cache
def _colours() -> NDArray[np.float32]:
    """[colours, 3] red, green and blue in [0, 1]; the tones of a hue stand together."""
    made = [
        colorsys.hsv_to_rgb(hue / HUES, saturation, value)
        for hue in range(HUES)
        for saturation, value in TONES
    ]
    return np.array(made, dtype=np.float32)


@cache
def _shapes() -> NDArray[np.float32]:
    """[shapes, side, side] share of every pixel that a shape covers."""
    points = (np.arange(SHAPE_SIDE * FINE) + 0.5) / (SHAPE_SIDE * FINE) * 2 - 1
    y, x = np.meshgrid(points, points, indexing="ij")
    radius = np.hypot(x, y)
    made = [
        radius < 0.95,  # disc
        np.maximum(abs(x), abs(y)) < 0.8,  # square
        (y < 0.85) & (abs(x) < (y + 0.95) / 2),  # triangle
        (np.minimum(abs(x), abs(y)) < 0.3) & (np.maximum(abs(x), abs(y)) < 0.95),  # cross
        (radius < 0.95) & (radius > 0.55),  # ring
        abs(x) + abs(y) < 0.7,  # small diamond
    ]
    cells = np.array(made, dtype=np.float32).reshape(SHAPES, SHAPE_SIDE, FINE, SHAPE_SIDE, FINE)
    return np.asarray(cells.mean(axis=(2, 4)), dtype=np.float32)
