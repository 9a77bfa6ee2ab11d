"""Domains with light and paint: `real` and `painting`.

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
from gen.datasets.icons.domains.forms import roundness, silhouette, slopes
from gen.datasets.icons.domains.textures import along, blurred, displaced, noise, warp


def real(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A rounded, textured thing, lit from one side, that throws a shadow on a cluttered ground."""
    size = ink.shape[0]
    body = silhouette(ink)
    of_subject, of_ground = contrasting_luminances(rng, gap=0.36)
    light = rng.uniform(0, 2 * math.pi)
    image = scenery(size, of_ground, rng)
    image = laid_over(image, image * 0.3, cast_shadow(body, light, rng))
    surface = two_tone(ink, of_subject, rng)
    surface = surface * (1 + rng.uniform(0.02, 0.16) * noise(size, 24, rng))[..., None]
    surface = lit(surface, ink, body, light, rng)
    image = laid_over(image, surface, body)
    return to_bytes(photographed(image, rng))


def painting(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Oil on canvas: dabs of few colours, edges that wander, ridges of paint."""
    size = ink.shape[0]
    body = silhouette(ink)
    of_subject, of_ground = contrasting_luminances(rng, gap=0.4)
    image = scenery(size, of_ground, rng)
    surface = two_tone(ink, of_subject, rng)
    surface = surface * (1 + 0.6 * along(size, rng.uniform(0, 2 * math.pi)))[..., None]
    image = laid_over(image, surface, body)
    image = warp(image, rng, reach=rng.uniform(0.01, 0.022), cells=int(rng.integers(6, 11)))
    image = dabbed(image, rng, length=rng.uniform(0.028, 0.048))
    return to_bytes(varnished(image, rng))


def scenery(size: int, luminance: float, rng: np.random.Generator) -> np.ndarray:
    """A blurred ground and wall with things lying about; float32, shape [S, S, 3]."""
    small = size // 3  # all of it is soft: a third of the pixels will do
    spread = (max(luminance - 0.13, 0.03), min(luminance + 0.13, 0.97))
    saturation = (0.0, rng.uniform(0.2, 0.9))
    image = flat(small, random_tint(rng, spread, saturation))
    image[int(rng.uniform(0.3, 0.9) * small) :] = random_tint(rng, spread, saturation)
    for _ in range(int(rng.integers(2, 7))):
        width, height = rng.uniform(0.08, 0.4, 2) * small
        box = (tuple(rng.uniform(0, small, 2)), (width, height), rng.uniform(0, 180))
        colour = tuple(map(float, random_tint(rng, spread, saturation)))
        if rng.random() < 0.5:
            cv2.ellipse(image, box, colour, cv2.FILLED)
        else:
            cv2.fillConvexPoly(image, cv2.boxPoints(box).astype(np.int32), colour)
    image = blurred(image, rng.uniform(0.01, 0.04))
    image += rng.uniform(0.02, 0.07) * noise(small, int(rng.integers(4, 12)), rng, channels=3)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_LINEAR)


def cast_shadow(body: np.ndarray, light: float, rng: np.random.Generator) -> np.ndarray:
    """How dark every pixel of the ground is, 0…1, [S, S]: the silhouette, moved and softened."""
    size = body.shape[0]
    reach = rng.uniform(0.03, 0.1) * size
    move = np.array(
        [[1, 0, -reach * math.cos(light)], [0, 1, -reach * math.sin(light)]], dtype=np.float32
    )
    moved = cv2.warpAffine(body, move, (size, size))
    return blurred(moved, rng.uniform(0.012, 0.04)) * rng.uniform(0.4, 0.9)


def lit(
    surface: np.ndarray, ink: np.ndarray, body: np.ndarray, light: float, rng: np.random.Generator
) -> np.ndarray:
    """The surface under a lamp: Lambert's cosine for the matt part, Phong's lobe for the gloss."""
    height = 0.09 * roundness(body) + rng.uniform(0.01, 0.03) * ink
    x, y = slopes(height, rng.uniform(0.012, 0.03))
    lean = rng.uniform(0.5, 1.0)
    towards = -(x * math.cos(light) + y * math.sin(light)) * lean + 0.7
    cosine = np.clip(towards / np.sqrt(1 + x * x + y * y), 0, None)
    shade = rng.uniform(0.25, 0.45) + cosine
    gloss = rng.uniform(0, 0.5) * cv2.pow(np.minimum(cosine, 1.2), 12)
    return surface * shade[..., None] + gloss[..., None]


def photographed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The camera's share: exposure, colour cast, uneven light, sensor noise."""
    size = image.shape[0]
    cast = rng.uniform(0.85, 1.12) * (1 + rng.normal(0, 0.04, 3)).astype(np.float32)
    fall_off = 1 + rng.uniform(0, 0.4) * along(size, rng.uniform(0, 2 * math.pi))
    grain = rng.uniform(0.01, 0.06) * noise(size, 64, rng)
    return image * cast * fall_off[..., None] + grain[..., None]


def dabbed(image: np.ndarray, rng: np.random.Generator, length: float) -> np.ndarray:
    """The image in strokes of the brush: all of a dab takes the colour found at its middle."""
    size = image.shape[0]
    angle = rng.uniform(0, math.pi) + 0.9 * noise(size, 3, rng)
    ragged = 0.3 * noise(size, 12, rng, channels=2)
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    cos, sin = np.cos(angle), np.sin(angle)
    u = cos * axis[None, :] + sin * axis[:, None]
    v = cos * axis[:, None] - sin * axis[None, :]
    u_step = u / length + ragged[..., 0]
    v_step = v / (0.5 * length) + ragged[..., 1]
    du = (np.floor(u_step) + 0.5 - u_step) * (length * size)
    dv = (np.floor(v_step) + 0.5 - v_step) * (0.5 * length * size)
    return displaced(image, np.dstack([cos * du - sin * dv, sin * du + cos * dv]))


def varnished(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Few tones per colour channel, ridges where dabs meet, the weave of the canvas."""
    size = image.shape[0]
    levels = rng.uniform(5, 9)
    image = np.floor(image * levels + 0.15 * noise(size, 16, rng)[..., None] + 0.5) / levels
    ridges = cv2.Sobel(image[..., 1], cv2.CV_32F, 1, 1, scale=0.15)
    weave = np.sin(along(size, 0.0) * 130) + np.sin(along(size, np.pi / 2) * 130)
    bristles = cv2.blur(0.5 * noise(size, 96, rng), (1, max(3, size // 16)))
    relief = ridges + rng.uniform(0.01, 0.03) * weave + rng.uniform(0.1, 0.25) * bristles
    warm = np.array([1.02, 1.0, 0.93], np.float32)
    return image * warm + relief[..., None]
