"""The domains of the icons dataset: functions from the ink of a drawing to an image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gen.datasets.icons.domains.graphics import clipart, infograph
from gen.datasets.icons.domains.light import blueprint, chalk, neon
from gen.datasets.icons.domains.prints import stencil, woodcut
from gen.datasets.icons.domains.shading import painting, real
from gen.datasets.icons.domains.strokes import quickdraw, sketch
from gen.datasets.icons.domains.tiles import embroidery, mosaic, pixelart

Renderer = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""from ink, float32 in 0…1 of shape [S, S] (1 = ink), to an image, uint8 RGB of shape [S, S, 3]

S may be anything from 48 to 256; every length is a share of it. The ink is left as it is, and
everything random comes from the generator."""

DOMAINS: dict[str, Renderer] = {
    "real": real,
    "clipart": clipart,
    "infograph": infograph,
    "painting": painting,
    "quickdraw": quickdraw,
    "sketch": sketch,
    "blueprint": blueprint,
    "chalk": chalk,
    "embroidery": embroidery,
    "mosaic": mosaic,
    "neon": neon,
    "pixelart": pixelart,
    "stencil": stencil,
    "woodcut": woodcut,
}
"""name → renderer"""
