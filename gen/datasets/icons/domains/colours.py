"""Colours and compositing: float32 RGB in 0…1 until `to_bytes`.

Legend: S side of the working image in pixels.
"""

from __future__ import annotations

import colorsys

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)
"""weights of red, green and blue in perceived brightness (ITU-R BT.601)"""


def tint(luminance: float, hue: float, saturation: float) -> np.ndarray:
    """The colour of a hue with exactly this luminance: a pure colour, darkened or whitened.

    Args:
        luminance: 0 (black) … 1 (white).
        hue: position on the colour circle, any real number.
        saturation: 0 (grey) … 1 (as pure as the luminance allows).

    Returns:
        float32, shape [3].
    """
    pure = np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, 1.0), np.float32)
    own = float(pure @ LUMA)
    if luminance <= own:
        return pure * np.float32(luminance / own)
    return pure + (1 - pure) * np.float32((luminance - own) / (1 - own + 1e-6))


def random_tint(
    rng: np.random.Generator,
    luminance: tuple[float, float],
    saturation: tuple[float, float] = (0.2, 1.0),
) -> np.ndarray:
    """A colour of any hue with luminance and saturation from these ranges; float32, shape [3]."""
    return tint(rng.uniform(*luminance), rng.random(), rng.uniform(*saturation))


def contrasting_luminances(rng: np.random.Generator, gap: float) -> tuple[float, float]:
    """Two luminances in 0.06…0.94 that lie at least `gap` apart, in either order."""
    low = rng.uniform(0.06, 0.94 - gap)
    high = rng.uniform(low + gap, 0.94)
    return (low, high) if rng.random() < 0.5 else (high, low)


def flat(size: int, colour: np.ndarray) -> np.ndarray:
    """An image of one colour; float32, shape [S, S, 3]."""
    return np.broadcast_to(colour.astype(np.float32), (size, size, 3)).copy()


def laid_over(image: np.ndarray, colour: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """`image` under a layer of `colour`, shape [3] or [S, S, 3], as opaque as `cover`, [S, S]."""
    return image + (colour - image) * cover[..., None]


def two_tone(ink: np.ndarray, luminance: float, rng: np.random.Generator) -> np.ndarray:
    """Colours of the object: one of this luminance for the ink, a distinct one elsewhere."""
    size = ink.shape[0]
    hue, saturation = rng.random(), rng.uniform(0.1, 0.9)
    step = rng.uniform(0.22, 0.38) * (-1 if luminance > 0.5 else 1)
    main = tint(luminance, hue, saturation)
    other = tint(luminance + step, hue + rng.normal(0, 0.12), saturation * rng.uniform(0.3, 1))
    return laid_over(flat(size, other), main, ink)


def to_bytes(image: np.ndarray) -> np.ndarray:
    """float RGB in 0…1 (clipped to it) → uint8 RGB."""
    return (np.clip(image, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
