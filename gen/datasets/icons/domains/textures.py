"""Noise, stripes and warps: the surfaces that the domains are drawn on.

Lengths are in image sides, so that a texture looks the same at every size. Legend: S side of the
working image in pixels.
"""

from __future__ import annotations

import math

import cv2
import numpy as np


def noise(size: int, cells: int, rng: np.random.Generator, channels: int = 1) -> np.ndarray:
    """Smooth noise in about -1…1 with `cells` independent values along a side.

    Returns:
        float32, shape [S, S], or [S, S, channels] for more than one channel.
    """
    coarse = rng.random((cells, cells, channels), dtype=np.float32) * 2 - 1
    smooth = cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)
    return smooth if channels > 1 else smooth.reshape(size, size)


def along(size: int, angle: float) -> np.ndarray:
    """Distance of every pixel from the centre along a direction; float32, shape [S, S]."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    return math.cos(angle) * axis[None, :] + math.sin(angle) * axis[:, None]


def stripes(phase: np.ndarray, duty: float | np.ndarray) -> np.ndarray:
    """Soft-edged stripes, one per unit of `phase`, each covering `duty` of it; 0…1, same shape.

    `duty` may be a number or an array of the shape of `phase`.
    """
    distance = np.abs(phase - np.floor(phase) - 0.5) * 2
    return np.clip((duty - distance) * 4 + 0.5, 0.0, 1.0)


def warp(image: np.ndarray, rng: np.random.Generator, reach: float, cells: int) -> np.ndarray:
    """`image`, [S, S] or [S, S, 3], with every point displaced by smooth noise of up to `reach`."""
    size = image.shape[0]
    return displaced(image, noise(size, cells, rng, channels=2) * (reach * size))


def displaced(image: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """`image`, sampled at every pixel plus its offset (x, y) in pixels, [S, S, 2].

    Outside of the image lies no ink ([S, S]) or more of the rim's colours ([S, S, 3]).
    """
    size = image.shape[0]
    axis = np.arange(size, dtype=np.float32)
    return cv2.remap(
        image,
        offsets[..., 0] + axis[None, :],
        offsets[..., 1] + axis[:, None],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT if image.ndim == 2 else cv2.BORDER_REPLICATE,
    )


def blurred(image: np.ndarray, radius: float) -> np.ndarray:
    """Gaussian blur with a standard deviation of `radius` image sides."""
    return cv2.GaussianBlur(image, (0, 0), max(radius * image.shape[0], 0.3))
