"""Domains of light lines on a dark ground: `neon`, `chalk` and `blueprint`.

Legend: S side of the working image in pixels. All images are float in 0…1 until the end.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from gen.datasets.icons.domains.colours import flat, laid_over, random_tint, tint, to_bytes
from gen.datasets.icons.domains.forms import edges, line_art, silhouette
from gen.datasets.icons.domains.textures import along, blurred, noise, stripes, warp


def neon(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Glowing tubes bent along the drawing's lines in front of a dark wall."""
    size = ink.shape[0]
    body = silhouette(ink)
    hue, second = rng.random(), rng.random()
    tube = cv2.GaussianBlur(line_art(ink, body, 0.012), (0, 0), 0.008 * size)
    rim = edges(body, 0.016)
    wall = flat(size, random_tint(rng, (0.02, 0.14), (0.2, 0.9)))
    bricks = stripes(along(size, math.pi / 2) * rng.uniform(8, 14), duty=0.9)
    wall *= (1 + 0.3 * bricks + 0.3 * noise(size, 6, rng))[..., None]
    glow_outer = tint(rng.uniform(0.35, 0.6), hue, 1.0)
    glow_inner = tint(rng.uniform(0.35, 0.6), second, 1.0)
    colour = laid_over(flat(size, glow_inner), glow_outer, rim)
    halo = blurred(tube, 0.03) * rng.uniform(0.5, 0.9)
    haze = cv2.resize(blurred(cv2.resize(tube, (32, 32)), 0.1), (size, size))
    flicker = 1 + 0.25 * noise(size, 5, rng)
    light = (0.9 * tube * flicker + halo + rng.uniform(0.2, 0.6) * haze)[..., None]
    core = rng.uniform(0.3, 0.8) * np.clip(tube * 1.4 - 0.6, 0, 1)
    return to_bytes(wall + colour * light + core[..., None])


def chalk(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Crumbly strokes of coloured chalk on a wiped blackboard, the inside rubbed in."""
    size = ink.shape[0]
    body = silhouette(ink)
    lines = warp(line_art(ink, body, rng.uniform(0.015, 0.024)), rng, reach=0.018, cells=7)
    again = warp(lines, rng, reach=0.015, cells=5)
    grit = noise(size, 56, rng)
    crumbs = np.clip(0.85 + 0.75 * grit, 0, 1)
    phase = along(size, rng.uniform(0, math.pi)) * rng.uniform(14, 22) + 0.7 * noise(size, 5, rng)
    rubbed = rng.uniform(0.1, 0.5) * stripes(phase, duty=0.6) * np.clip(0.6 + grit, 0, 1)
    board = tint(rng.uniform(0.08, 0.3), float(rng.choice([0.4, 0.45, 0.6])), rng.uniform(0, 0.5))
    wipes = cv2.blur(noise(size, 20, rng), (max(3, size // 3), max(3, size // 30)))
    image = flat(size, board) + (0.25 * np.abs(wipes) + 0.03 * grit)[..., None]
    image = laid_over(image, random_tint(rng, (0.65, 0.95), (0.0, 0.7)), rubbed * ink)
    white = random_tint(rng, (0.8, 0.97), (0.0, 0.4))
    return to_bytes(laid_over(image, white, np.maximum(lines, 0.6 * again) * crumbs))


def blueprint(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A draughtsman's white lines on blue squared paper, with centre lines and dimensions."""
    size = ink.shape[0]
    body = silhouette(ink)
    image = flat(size, tint(rng.uniform(0.14, 0.42), rng.uniform(0.55, 0.66), rng.uniform(0.6, 1)))
    image += (0.05 * noise(size, 4, rng) + 0.03 * noise(size, 48, rng))[..., None]
    image = laid_over(image, np.ones(3, np.float32), squared(size, rng))
    lines = line_art(ink, body, rng.uniform(0.008, 0.014))
    phase = along(size, float(rng.choice([0.25, 0.75])) * math.pi) * rng.uniform(22, 32)
    hatch = rng.uniform(0.1, 0.45) * stripes(phase, duty=0.4) * ink
    drawn = np.maximum(np.maximum(lines, hatch), dimensions(size, rng))
    chalky = tint(rng.uniform(0.85, 1.0), 0.58, rng.uniform(0, 0.5))
    return to_bytes(laid_over(image, chalky, drawn * rng.uniform(0.8, 1.0)))


def line_width(size: int) -> int:
    """Width in pixels of the thinnest line that is drawn."""
    return max(1, round(size / 96))


def squared(size: int, rng: np.random.Generator) -> np.ndarray:
    """How strongly the ruled squares show, 0…1, shape [S, S]."""
    step = max(4, round(size / rng.uniform(8, 16)))
    x, y = rng.integers(0, step, 2)
    ruled = np.zeros((size, size), np.float32)
    on_line = np.arange(size) % step < line_width(size)
    strength = rng.uniform(0.12, 0.35)
    ruled[np.roll(on_line, y)] = strength
    ruled[:, np.roll(on_line, x)] = strength
    return ruled


def dimensions(size: int, rng: np.random.Generator) -> np.ndarray:
    """Two measured lines with end ticks near the rims, and at times a dashed axis; 0…1, [S, S]."""
    drawn = np.zeros((size, size), np.float32)
    tick = max(2, size // 40)
    for drawing in (drawn, drawn.T):
        rim = rng.uniform(0.03, 0.1)
        place = int(size * (rim if rng.random() < 0.5 else 1 - rim))
        start, end = (int(size * at) for at in (rng.uniform(0.08, 0.3), rng.uniform(0.7, 0.92)))
        drawing[place : place + line_width(size), start:end] = 0.8
        for stop in (start, end):
            drawing[place - tick : place + tick, stop : stop + line_width(size)] = 0.8
        axis = size // 2 + int(size * rng.uniform(-0.05, 0.05))
        if rng.random() < 0.4:
            dashes = np.arange(size) % (size // 10) < size // 16
            drawing[axis : axis + line_width(size), dashes] = 0.6
    return drawn
