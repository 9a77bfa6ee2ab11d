"""Scenes as pixels: icons in a named colour, or in the manner of a domain, side by side.

A scene is a pure function of its looks and of the names of its randomness. Looks decide nothing but
themselves: positions, poses, choices of drawings and styles depend on the names alone, so that a
scene and its swap under the same names differ in what is swapped and in nothing else.

Legend: m objects of a scene, P height and width of the canvas, S side of an object's square.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from gen.datasets.icons.domains import DOMAINS
from gen.datasets.icons.drawings import Drawing, ink
from gen.datasets.icons.render import OVERSAMPLING, place, random_pose
from gen.randomness import generator
from gen.scenes.layout import Corners, draw_layout
from gen.scenes.palette import GROUND, PALETTE, UNNAMED

SIZES = {"small": 0.6, "medium": 0.8, "large": 1.0}
"""side of an object by the word for its size, as a share of its square"""
LEAST_RENDERED = 48
"""pixels below which domains have no room for their strokes"""


@dataclass(frozen=True)
class Look:
    """What an object looks like.

    Attributes:
        drawings: of its class, one of which is shown.
        colour: name in the palette; empty where colour is no concept.
        domain: whose manner it is drawn in, on a ground of its own; empty: flat, in its colour.
        size: word for its size.
    """

    drawings: tuple[Drawing, ...]
    colour: str = ""
    domain: str = ""
    size: str = "large"


@dataclass(frozen=True)
class Canvas:
    """Room for scenes.

    Attributes:
        pixels: P.
        side: S, of a large object.
        overlap: whether objects may hide up to half of each other's square.
    """

    pixels: int
    side: int
    overlap: bool = False


@dataclass(frozen=True)
class Picture:
    """A scene that was drawn.

    Attributes:
        image: uint8 RGB, shape [P, P, 3].
        boxes: x, y and side in pixels of every object, int64 of shape [m, 3].
        shown: the drawing of every object.
    """

    image: np.ndarray
    boxes: np.ndarray
    shown: tuple[Drawing, ...]


def draw_scene(looks: Sequence[Look], canvas: Canvas, *names: object) -> Picture:
    """Draw objects in the order of their slots: from left to right.

    Args:
        looks: of the m objects.
        canvas: they stand on.
        names: of the randomness, as `gen.randomness.generator` takes them.

    Raises:
        UserError: the objects do not fit on the canvas.
    """
    random = generator(*names, "layout")
    corners = draw_layout(len(looks), canvas.side, canvas.pixels, random, overlap=canvas.overlap)
    image = np.full((canvas.pixels, canvas.pixels, 3), float(random.integers(*GROUND)), np.float32)
    shown: dict[int, Drawing] = {}
    boxes = _boxes(looks, corners, canvas.side)
    for slot in random.permutation(len(looks)):  # where they overlap, any may be in front
        styles = generator(*names, "object", slot)
        drawings = looks[slot].drawings
        shown[slot] = drawings[int(styles.random() * len(drawings))]
        _put(image, boxes[slot], shown[slot], looks[slot], styles)
    pixels = (np.clip(image, 0, 255) + 0.5).astype(np.uint8)
    return Picture(pixels, boxes, tuple(shown[slot] for slot in range(len(looks))))


def _boxes(looks: Sequence[Look], corners: Corners, side: int) -> np.ndarray:
    """Squares of the objects, each in the middle of its place; int64 of shape [m, 3]."""
    sides = np.array([round(SIZES[look.size] * side) for look in looks], dtype=np.int64)
    return np.column_stack([corners + (side - sides[:, None]) // 2, sides])


def _put(
    image: np.ndarray,
    box: np.ndarray,
    drawing: Drawing,
    look: Look,
    random: np.random.Generator,
) -> None:
    """Draw an object into its square of a float32 image."""
    x, y, side = map(int, box)
    region = image[y : y + side, x : x + side]
    pose = random_pose(random)
    if look.domain:
        region[:] = _rendered(drawing, look.domain, side, pose, random)
        return
    posed = place(ink(drawing, side * OVERSAMPLING), pose)
    cover = cv2.resize(posed.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA) / 255
    colour = np.array(PALETTE[look.colour] if look.colour else UNNAMED, np.float32)
    region += (colour - region) * cover[..., None]


def _rendered(
    drawing: Drawing, domain: str, side: int, pose: dict[str, float], random: np.random.Generator
) -> np.ndarray:
    """An object in the manner of a domain, float32 of shape [side, side, 3]."""
    size = max(side * OVERSAMPLING, LEAST_RENDERED)
    posed = place(ink(drawing, size), pose).astype(np.float32) / 255.0
    large = DOMAINS[domain](posed, random).astype(np.float32)
    return cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA)
