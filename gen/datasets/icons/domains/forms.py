"""What a drawing says about its object: silhouette, edges, contours, relief.

Glyphs come solid or as lines. The silhouette fills both, so that ink and interior (the silhouette
without the ink) can be told apart in every domain. Legend: S side of the working image in pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

LINE_DRAWING_COVER = 0.55
"""a drawing whose ink covers less than this share of its silhouette is made of lines"""


def silhouette(ink: np.ndarray) -> np.ndarray:
    """The drawing with all it encloses filled; float32 in 0…1, shape [S, S]."""
    closed = cv2.morphologyEx(solid(ink), cv2.MORPH_CLOSE, disc(ink.shape[0], 0.02))
    outer, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros_like(closed)
    cv2.drawContours(filled, outer, -1, 1, cv2.FILLED)
    # eroded by a pixel and joined with the ink: the rim keeps the ink's soft edge
    return np.maximum(cv2.erode(filled, np.ones((3, 3), np.uint8)).astype(np.float32), ink)


def is_line_drawing(ink: np.ndarray, body: np.ndarray) -> bool:
    """Whether a drawing, given with its silhouette, is made of lines rather than solid."""
    return bool(ink.sum() < LINE_DRAWING_COVER * body.sum())


def solid(ink: np.ndarray) -> np.ndarray:
    """The ink as a mask of 0 and 1; uint8, shape [S, S]."""
    return (ink > 0.5).astype(np.uint8)


def disc(size: int, radius: float) -> np.ndarray:
    """A round structuring element of `radius` image sides (at least one pixel); uint8."""
    side = 2 * max(1, round(radius * size)) + 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def grown(ink: np.ndarray, radius: float) -> np.ndarray:
    """The ink, spread by `radius` image sides in every direction."""
    return cv2.dilate(ink, disc(ink.shape[0], radius))


def edges(ink: np.ndarray, radius: float) -> np.ndarray:
    """A band of about `radius` image sides to either side of every edge of the ink; 0…1."""
    return cv2.morphologyEx(ink, cv2.MORPH_GRADIENT, disc(ink.shape[0], radius))


def line_art(ink: np.ndarray, body: np.ndarray, radius: float) -> np.ndarray:
    """The drawing as lines only: its edges, or the ink itself where that is lines already."""
    return ink if is_line_drawing(ink, body) else edges(ink, radius)


def contours(ink: np.ndarray, tolerance: float, smallest: float) -> list[np.ndarray]:
    """Outlines of the ink and of its holes as polygons.

    Args:
        ink: float32 in 0…1, shape [S, S].
        tolerance: how far a polygon may stray from its outline, in image sides.
        smallest: outlines around less than this share of the image are left out.

    Returns:
        One float32 array of pixel positions (x, y) per outline, shape [points, 2].
    """
    size = ink.shape[0]
    found, _ = cv2.findContours(solid(ink), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return [
        cv2.approxPolyDP(line, tolerance * size, True).reshape(-1, 2).astype(np.float32)
        for line in found
        if cv2.contourArea(line) > smallest * size * size
    ]


def slopes(height: np.ndarray, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Gradient (x, y) of a height map, smoothed over `radius`, per image side; each [S, S]."""
    size = height.shape[0]
    smooth = cv2.GaussianBlur(height, (0, 0), max(radius * size, 0.5))
    per_side = size / 8.0  # a Sobel kernel weighs 8 times the difference between neighbours
    x = cv2.Sobel(smooth, cv2.CV_32F, 1, 0) * per_side
    y = cv2.Sobel(smooth, cv2.CV_32F, 0, 1) * per_side
    return x, y


def roundness(body: np.ndarray) -> np.ndarray:
    """A height map of the silhouette: 0 at its rim, rising like a cushion; shape [S, S]."""
    inside = cv2.distanceTransform(solid(body), cv2.DIST_L2, 3) / (0.14 * body.shape[0])
    return np.sqrt(np.minimum(inside, 1.0))
