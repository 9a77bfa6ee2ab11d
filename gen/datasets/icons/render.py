"""One image of the icons dataset: a drawing, posed, rendered in a domain, made small."""

from __future__ import annotations

import cv2
import numpy as np

from gen.datasets.icons.domains import DOMAINS
from gen.datasets.icons.drawings import Drawing, ink

OVERSAMPLING = 3
"""an image is drawn this many times larger than it is stored, then averaged down"""


def render(drawing: Drawing, domain: str, pixels: int, rng: np.random.Generator) -> np.ndarray:
    """Render `drawing` in `domain` under a random pose.

    Returns:
        uint8 RGB, shape [pixels, pixels, 3].
    """
    size = pixels * OVERSAMPLING
    posed = place(ink(drawing, size), random_pose(rng))
    large = DOMAINS[domain](posed.astype(np.float32) / 255.0, rng)
    return cv2.resize(large, (pixels, pixels), interpolation=cv2.INTER_AREA)


def random_pose(rng: np.random.Generator) -> dict[str, float]:
    """Rotation in degrees, scale, width-to-height ratio, shift in image sides, and mirroring."""
    return {
        "rotation": rng.uniform(-15, 15),
        "scale": rng.uniform(0.85, 1.1),
        "aspect": float(np.exp(rng.uniform(-0.12, 0.12))),
        "shift_x": rng.uniform(-0.05, 0.05),
        "shift_y": rng.uniform(-0.05, 0.05),
        "mirror": float(rng.integers(2)),
    }


def place(ink: np.ndarray, pose: dict[str, float]) -> np.ndarray:
    """Apply a pose to an ink image, [S, S], about its centre."""
    size = ink.shape[0]
    angle = np.deg2rad(pose["rotation"])
    stretch = np.sqrt(pose["aspect"]) * np.array([1.0, 1.0 / pose["aspect"]]) * pose["scale"]
    stretch[0] *= -1.0 if pose["mirror"] else 1.0
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotation * stretch
    centre = np.full(2, (size - 1) / 2)
    shift = centre + size * np.array([pose["shift_x"], pose["shift_y"]]) - linear @ centre
    affine = np.column_stack([linear, shift])
    return cv2.warpAffine(ink, affine, (size, size), flags=cv2.INTER_LINEAR)
