"""Domains drawn in strokes: `quickdraw` and `sketch`.

Legend: S side of the working image in pixels. All images are float in 0…1 until the end.
"""

from __future__ import annotations

import cv2
import numpy as np

from gen.datasets.icons.domains.colours import laid_over, tint, to_bytes
from gen.datasets.icons.domains.forms import (
    contours,
    disc,
    edges,
    is_line_drawing,
    silhouette,
)
from gen.datasets.icons.domains.textures import along, blurred, noise, stripes, warp

SUBPIXEL_BITS = 3
"""OpenCV draws at positions given in eighths of a pixel"""


def quickdraw(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A hasty doodle: few straight strokes in black on white, proportions and details off."""
    size = ink.shape[0]
    body = silhouette(ink)
    width = max(1, round(size * rng.uniform(0.04, 0.054)))
    tolerance, smallest_detail = rng.uniform(0.012, 0.03), rng.uniform(0.004, 0.02)
    misshapen = noise(size, 4, rng, channels=2) * (rng.uniform(0.045, 0.085) * size)
    shaky = noise(size, 10, rng, channels=2) * (rng.uniform(0.008, 0.025) * size)
    closed = rng.random() < 0.6
    page = np.full((size, size), 255, np.uint8)
    for shape, smallest in ((body, 0.0015), (details(ink, body), smallest_detail)):
        smooth = blurred(shape, 0.012)
        strokes = [shaken(p, misshapen + shaky) for p in contours(smooth, tolerance, smallest)]
        cv2.polylines(page, strokes, closed, 0, width, cv2.LINE_AA, SUBPIXEL_BITS)
    return np.repeat(page[..., None], 3, axis=2)


def details(ink: np.ndarray, body: np.ndarray) -> np.ndarray:
    """What is to be seen within the outline: the holes of a solid drawing, or the inner lines."""
    inside = cv2.erode(body, disc(ink.shape[0], 0.05))
    return inside * ink if is_line_drawing(ink, body) else body - ink


def shaken(polygon: np.ndarray, shake: np.ndarray) -> np.ndarray:
    """Pixel positions, [points, 2], displaced by the field `shake`, [S, S, 2], in subpixels."""
    at = polygon.astype(np.intp)
    moved = polygon + shake[at[:, 1], at[:, 0]]
    return np.round(moved * 2**SUBPIXEL_BITS).astype(np.int32)


def sketch(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pencil on paper: the contour gone over several times, the inside hatched."""
    size = ink.shape[0]
    body = silhouette(ink)
    pencil: np.ndarray = np.zeros((size, size), np.float32)
    line = cv2.GaussianBlur(edges(ink, rng.uniform(0.006, 0.014)), (0, 0), 0.005 * size)
    for _ in range(3):
        stroke = warp(line, rng, reach=rng.uniform(0.008, 0.028), cells=6)
        pressure = 0.55 + 0.35 * noise(size, 8, rng)
        pencil = np.maximum(pencil, 0.5 * pencil + stroke * pressure)
    for darkness, region in ((rng.uniform(0.45, 0.85), ink), (rng.uniform(0.1, 0.4), body)):
        phase = along(size, rng.uniform(0, np.pi)) * rng.uniform(18, 30) + 0.6 * noise(size, 5, rng)
        tone = rng.uniform(0.2, 0.7)  # the share that is rubbed in, not hatched
        hatch = tone + (1 - tone) * stripes(phase, duty=rng.uniform(0.35, 0.6))
        pencil = pencil + darkness * region * hatch
    tooth = noise(size, 80, rng)
    pencil = np.clip(pencil * (0.9 + 0.6 * tooth), 0, 1)
    paper = tint(rng.uniform(0.86, 0.97), rng.uniform(0.08, 0.16), rng.uniform(0, 0.2))
    graphite = tint(rng.uniform(0.1, 0.3), rng.random(), rng.uniform(0, 0.15))
    page = paper + (0.04 * tooth + 0.04 * noise(size, 4, rng))[..., None]
    return to_bytes(laid_over(page, graphite, pencil))
