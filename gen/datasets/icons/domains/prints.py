"""Domains put on by a tool in one go: `woodcut` and `stencil`.

Legend: S side of the working image in pixels. All images are float in 0…1 until the end.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from gen.datasets.icons.domains.colours import flat, laid_over, random_tint, tint, to_bytes
from gen.datasets.icons.domains.forms import edges, grown, roundness, silhouette
from gen.datasets.icons.domains.textures import along, blurred, noise, stripes, warp


def woodcut(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One dark ink on pale paper: shade in swelling gouged lines, a ground of coarser cuts."""
    size = ink.shape[0]
    ink = warp(ink, rng, reach=0.012, cells=12)
    body = silhouette(ink)
    light = along(size, rng.uniform(0, 2 * math.pi))
    bend = rng.uniform(0.5, 3.0) * (roundness(body) - 0.5) + 0.8 * noise(size, 5, rng)
    hatch = along(size, rng.uniform(0, math.pi)) * rng.uniform(14, 22) + bend
    object_black = stripes(hatch, np.clip(0.72 + 0.5 * light, 0.3, 1.0))
    inner_black = stripes(hatch, np.clip(0.12 + 0.5 * light, 0.0, 0.45))
    grain = along(size, rng.normal(math.pi / 2, 0.15)) * rng.uniform(9, 16) + noise(size, 6, rng)
    ground_black = stripes(grain, float(rng.choice([0.0, 0.2, 0.35])) + 0.2 * noise(size, 7, rng))
    black = ground_black * (1 - grown(body, 0.03)) + inner_black * body * (1 - ink)
    black = np.maximum(black + object_black * ink, edges(ink, 0.01))
    if rng.random() < 0.3:  # a white-line cut: everything but the drawing's lines is printed
        black = 1 - black
    wear = np.clip(1 + 0.3 * noise(size, 40, rng), 0, 1)
    paper = tint(rng.uniform(0.8, 0.96), rng.uniform(0.07, 0.16), rng.uniform(0.1, 0.5))
    page = paper + 0.03 * noise(size, 20, rng)[..., None]
    pressed = random_tint(rng, (0.02, 0.22), (0.0, 0.8))
    return to_bytes(laid_over(page, pressed, np.clip(black * wear, 0, 1)))


def stencil(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Spray paint through a cut-out on a brick or concrete wall: bridges, overspray, drips."""
    size = ink.shape[0]
    of_wall = rng.uniform(0.25, 0.8)
    image = wall(size, of_wall, rng)
    gap = rng.uniform(0.35, 0.5)
    of_paint = of_wall + (gap if of_wall < 0.5 else -gap)
    paint = tint(min(max(of_paint, 0.02), 0.98), rng.random(), rng.uniform(0.2, 1.0))
    across = along(size, rng.uniform(0, math.pi)) + rng.uniform(-0.12, 0.12)
    sheet = ink * np.clip(np.abs(across) * size / 1.5 - 0.008 * size, 0, 1)
    mist = blurred(sheet, rng.uniform(0.03, 0.06)) * rng.uniform(0.15, 0.5)
    speckle = np.clip(1 + 0.35 * noise(size, 48, rng) + 0.25 * noise(size, 6, rng), 0, 1)
    cover = np.maximum(blurred(sheet, rng.uniform(0.003, 0.01)), mist) * speckle
    return to_bytes(laid_over(image, paint, np.maximum(cover, drips(sheet, rng))))


def wall(size: int, luminance: float, rng: np.random.Generator) -> np.ndarray:
    """Bricks or bare concrete, stained; float32, shape [S, S, 3]."""
    stains = rng.uniform(0.04, 0.1) * noise(size, 5, rng) + 0.05 * noise(size, 48, rng)
    rows, mortar = rng.uniform(6, 10), rng.uniform(0.1, 0.2)
    shades = rng.uniform(-0.07, 0.07, (16, 16)).astype(np.float32)
    brick = rng.random() < 0.6
    hue = rng.uniform(0.0, 0.1) if brick else rng.random()
    image = flat(size, tint(luminance, hue, rng.uniform(0.2, 0.6) if brick else 0.15))
    if not brick:
        return image + stains[..., None]
    v = along(size, math.pi / 2) * rows
    row = np.floor(v)
    u = along(size, 0.0) * (rows / 2.2) + 0.5 * (row % 2)
    shade = shades[row.astype(np.intp) % 16, np.floor(u).astype(np.intp) % 16]
    joints = np.maximum(v - row < mortar, u - np.floor(u) < mortar / 2.2).astype(np.float32)
    image = image + (stains + shade)[..., None]
    return laid_over(image, tint(min(luminance + 0.12, 0.95), 0.1, 0.1), joints)


def drips(sheet: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paint that runs down from a few places of the sprayed shape; 0…1, shape [S, S]."""
    size = sheet.shape[0]
    length = max(2, int(size * rng.uniform(0.05, 0.2)))
    sources = np.zeros_like(sheet)
    columns = rng.integers(0, size, 3)
    width = max(1, size // 64)
    for column in columns:
        sources[:, column : column + width] = sheet[:, column : column + width]
    run = cv2.dilate(sources, np.ones((length, 1), np.uint8), anchor=(0, length - 1))
    return run * rng.uniform(0.5, 0.9)
