"""Domains laid from small pieces: `mosaic`, `embroidery` and `pixelart`.

Legend: S side of the working image in pixels. All images are float RGB in 0…1 until the end.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from gen.datasets.icons.domains.colours import (
    contrasting_luminances,
    flat,
    laid_over,
    random_tint,
    to_bytes,
    two_tone,
)
from gen.datasets.icons.domains.forms import grown, silhouette
from gen.datasets.icons.domains.textures import along, blurred, displaced, noise


def mosaic(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Square stones in wandering rows, each of one slightly different shade, with grout between."""
    size = ink.shape[0]
    body = silhouette(ink)
    of_subject, of_ground = contrasting_luminances(rng, gap=0.35)
    image = flat(size, random_tint(rng, (of_ground, of_ground), (0.1, 0.7)))
    image = laid_over(image, two_tone(ink, of_subject, rng), body)
    count, angle, bend = rng.uniform(19, 27), rng.uniform(0, math.pi / 2), rng.uniform(0.1, 0.5)
    u = along(size, angle) * count + bend * noise(size, 4, rng)
    v = along(size, angle + math.pi / 2) * count + bend * noise(size, 4, rng)
    row, column = np.floor(v), np.floor(u)
    du, dv = column + 0.5 - u, row + 0.5 - v
    cos, sin, pixels = math.cos(angle), math.sin(angle), size / count
    to_middle = np.dstack([cos * du - sin * dv, sin * du + cos * dv]) * pixels
    image = displaced(blurred(image, 0.012), to_middle)
    shades = rng.uniform(1 - rng.uniform(0.1, 0.3), 1.1, (64, 64)).astype(np.float32)
    image = image * shades[row.astype(np.intp) % 64, column.astype(np.intp) % 64][..., None]
    gap = np.maximum(np.abs(du), np.abs(dv)) - rng.uniform(0.34, 0.44)
    grout = random_tint(rng, (0.1, 0.9), (0.0, 0.2))
    return to_bytes(laid_over(image, grout, np.clip(gap * 8, 0, 1)))


def embroidery(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Satin stitch in glossy thread on woven cloth, raised above it."""
    size = ink.shape[0]
    body = silhouette(ink)
    of_subject, of_ground = contrasting_luminances(rng, gap=0.3)
    cloth = flat(size, random_tint(rng, (of_ground, of_ground), (0.05, 0.7)))
    threads = rng.uniform(100, 180)
    weave = np.sin(along(size, 0.0) * threads) * np.sin(along(size, math.pi / 2) * threads)
    folds = rng.uniform(0.03, 0.12) * noise(size, 4, rng)
    cloth = cloth + (rng.uniform(0.05, 0.12) * weave + folds)[..., None]
    rim = blurred(grown(body, 0.022), 0.012)
    cloth = laid_over(cloth, cloth * 0.35, rim * rng.uniform(0.5, 0.9))
    angle, turn = rng.uniform(0, math.pi), rng.uniform(0.8, 2.3)
    rows = rng.uniform(15, 24)
    sheen = stitched(size, angle, rows, rng)
    sheen += (stitched(size, angle + turn, rows, rng) - sheen) * ink
    surface = two_tone(ink, of_subject, rng) * (0.55 + 0.65 * sheen)[..., None]
    return to_bytes(laid_over(cloth, surface, body))


def stitched(size: int, angle: float, rows: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness, 0…1, of parallel rows of round threads cut into stitches; shape [S, S]."""
    across = along(size, angle) * rows + 0.5 * noise(size, 5, rng)
    row = np.floor(across)
    thread = 1 - 4 * (across - row - 0.5) ** 2
    staggered = along(size, angle + math.pi / 2) * rows / 5 + rng.random(64)[row.astype(np.intp)]
    ends = np.minimum(4 * np.abs(staggered - np.rint(staggered)) + 0.3, 1.0)
    return (thread * ends).astype(np.float32)


def pixelart(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sprite on a coarse grid: few colours, a dark rim one cell wide, a dithered backdrop."""
    size = ink.shape[0]
    cells = int(rng.integers(19, 26))
    coarse = cv2.resize(ink, (cells, cells), interpolation=cv2.INTER_AREA)
    body = cv2.resize(silhouette(ink), (cells, cells), interpolation=cv2.INTER_AREA)
    of_subject, of_ground = rng.uniform(0.35, 0.65), rng.uniform(0.12, 0.9)
    sprite = (body > 0.45).astype(np.float32)
    rim = cv2.dilate(sprite, cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
    image = dithered(cells, of_ground, rng)
    of_rim = (0.0, 0.1) if of_ground > 0.3 or rng.random() < 0.3 else (0.85, 1.0)
    image = laid_over(image, random_tint(rng, of_rim), rim)
    tones = two_tone((coarse > rng.uniform(0.4, 0.5)).astype(np.float32), of_subject, rng)
    light = np.floor(2.5 + 3 * along(cells, rng.uniform(0, 2 * math.pi))) / 5
    image = laid_over(image, tones * (0.85 + 0.6 * light)[..., None], sprite)
    return cv2.resize(to_bytes(image), (size, size), interpolation=cv2.INTER_NEAREST)


def dithered(cells: int, luminance: float, rng: np.random.Generator) -> np.ndarray:
    """A gradient between two colours, ordered-dithered; float32, shape [cells, cells, 3]."""
    spread = (max(luminance - 0.1, 0.0), min(luminance + 0.1, 1.0))
    first, second = random_tint(rng, spread), random_tint(rng, spread)
    bayer = np.array([[0, 2], [3, 1]], np.float32) / 4 - 0.375
    threshold = np.tile(bayer, (cells // 2 + 1, cells // 2 + 1))[:cells, :cells]
    slope = along(cells, rng.uniform(0, 2 * math.pi)) * rng.uniform(0.5, 2)
    return laid_over(flat(cells, first), second, (slope + threshold > 0).astype(np.float32))
