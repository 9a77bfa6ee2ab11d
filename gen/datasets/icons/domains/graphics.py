"""Domains of flat graphic design: `clipart` and `infograph`.

Legend: S side of the working image in pixels. All images are float RGB in 0…1 until the end.
"""

from __future__ import annotations

import cv2
import numpy as np

from gen.datasets.icons.domains.colours import (
    contrasting_luminances,
    flat,
    laid_over,
    random_tint,
    tint,
    to_bytes,
)
from gen.datasets.icons.domains.forms import grown, is_line_drawing, silhouette


def clipart(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Flat bright colours inside a thick dark outline on a plain light ground."""
    size = ink.shape[0]
    body = silhouette(ink)
    hue, width = rng.random(), rng.uniform(0.014, 0.032)
    main = tint(rng.uniform(0.32, 0.68), hue, rng.uniform(0.65, 1.0))
    other = tint(
        rng.uniform(0.78, 0.95), hue + float(rng.choice([0.0, 0.12, 0.5])), rng.uniform(0.2, 0.9)
    )
    outline = tint(rng.uniform(0.0, 0.16), hue, rng.uniform(0, 1))
    shadow_tone = rng.uniform(0.65, 1.0)
    image = clipart_ground(size, rng)
    image = laid_over(image, outline, grown(body, width))
    if is_line_drawing(ink, body):
        image = laid_over(laid_over(image, main, body), outline, ink)
    else:
        image = laid_over(laid_over(image, other, body), main, ink)
    lower_half = cel_shadow(body, rng)
    return to_bytes(image * (1 + (shadow_tone - 1) * lower_half)[..., None])


def clipart_ground(size: int, rng: np.random.Generator) -> np.ndarray:
    """White or a pastel, at times with a paler disc; float32, shape [S, S, 3]."""
    white = rng.random() < 0.4
    ground = np.ones(3, np.float32) if white else random_tint(rng, (0.8, 0.97), (0.1, 0.7))
    image = flat(size, ground)
    centre = (int(size * rng.uniform(0.4, 0.6)), int(size * rng.uniform(0.4, 0.6)))
    radius = int(size * rng.uniform(0.35, 0.5))
    disc = tuple(map(float, random_tint(rng, (0.82, 0.97), (0.1, 0.6))))
    if rng.random() < 0.35:
        cv2.circle(image, centre, radius, disc, cv2.FILLED, cv2.LINE_AA)
    return image


def cel_shadow(body: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The part of the object that a copy of it, moved towards the light, leaves bare; 0…1."""
    size = body.shape[0]
    x, y = rng.uniform(-0.1, 0.1) * size, rng.uniform(0.04, 0.1) * size
    moved = cv2.warpAffine(body, np.array([[1, 0, -x], [0, 1, -y]], np.float32), (size, size))
    return np.clip(body - moved, 0.0, 1.0)


def infograph(ink: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A small flat pictogram among a headline, bars, captions and rules on a flat ground."""
    size = ink.shape[0]
    scale = rng.uniform(0.86, 0.97)
    centre = rng.uniform(0.44, 0.56, 2)
    small = shrunk(ink, scale, centre)
    body = silhouette(small)
    of_subject, of_ground = contrasting_luminances(rng, gap=0.4)
    hue = rng.random()
    subject = tint(of_subject, rng.random(), rng.uniform(0.3, 1.0))
    other = tint(0.4 * of_subject + 0.6 * of_ground, hue, rng.uniform(0.2, 0.8))
    image = flat(size, tint(of_ground, hue, rng.uniform(0.1, 0.8)))
    furnish(image, centre, scale, of_ground, rng)
    image = laid_over(image, other, body) if rng.random() < 0.6 else image
    return to_bytes(laid_over(image, subject, small))


def shrunk(ink: np.ndarray, scale: float, centre: np.ndarray) -> np.ndarray:
    """The drawing made smaller by `scale`, its middle moved to `centre` (x, y in image sides)."""
    size = ink.shape[0]
    shift = size * (centre - 0.5 * scale)
    affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float32)
    return cv2.warpAffine(ink, affine, (size, size), flags=cv2.INTER_AREA)


def furnish(
    image: np.ndarray,
    centre: np.ndarray,
    scale: float,
    of_ground: float,
    rng: np.random.Generator,
) -> None:
    """Draw what surrounds the pictogram into `image`: panel, headline, bar chart, captions, dots.

    The furniture keeps to the two sides of the image that the pictogram leaves free.
    """
    size = image.shape[0]
    away = 0.22 if of_ground < 0.5 else -0.22
    ink_range = (max(of_ground + 1.2 * away - 0.1, 0), min(of_ground + 1.2 * away + 0.1, 1))
    middle = tuple(int(size * value) for value in centre)
    if rng.random() < 0.5:
        panel = random_tint(rng, (of_ground - 0.05, of_ground + 0.05), (0.1, 0.9))
        radius = int(size * scale * 0.56)
        cv2.circle(image, middle, radius, tuple(map(float, panel)), cv2.FILLED, cv2.LINE_AA)
    top = 0.03 if centre[1] > 0.5 else 0.8
    left = 0.03 if centre[0] > 0.5 else 0.72
    captions(image, (0.04, top), (0.92, 0.14), random_tint(rng, ink_range), rng)
    bars(image, (left, 0.22), (0.25, 0.55), ink_range, rng)
    for _ in range(int(rng.integers(1, 4))):
        spot = tuple(int(size * value) for value in (rng.uniform(0, 1), top + 0.05))
        colour = tuple(map(float, random_tint(rng, ink_range)))
        cv2.circle(image, spot, int(size * rng.uniform(0.02, 0.07)), colour, -1, cv2.LINE_AA)
        if rng.random() < 0.5:
            cv2.line(image, spot, middle, colour, max(1, size // 96), cv2.LINE_AA)


def captions(
    image: np.ndarray,
    corner: tuple[float, float],
    extent: tuple[float, float],
    colour: np.ndarray,
    rng: np.random.Generator,
) -> None:
    """Draw two lines of word-like dashes into the box at `corner` (x, y) with `extent`."""
    size = image.shape[0]
    for row in range(2):
        x = corner[0]
        y = int(size * (corner[1] + extent[1] * (0.25 + 0.5 * row)))
        while x < corner[0] + extent[0]:
            end = x + rng.uniform(0.03, 0.14)
            ends = (int(size * x), y), (int(size * min(end, 1)), y)
            cv2.line(image, *ends, tuple(map(float, colour)), max(1, round(size * 0.03)))
            x = end + rng.uniform(0.04, 0.06)


def bars(
    image: np.ndarray,
    corner: tuple[float, float],
    extent: tuple[float, float],
    luminance: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """Draw a bar chart, upright or lying, into the box at `corner` (x, y) with `extent`."""
    size, count, upright = image.shape[0], int(rng.integers(3, 6)), rng.random() < 0.5
    colour = tuple(map(float, random_tint(rng, luminance)))
    for index, value in enumerate(rng.uniform(0.25, 1.0, count)):
        if upright:
            x, width = corner[0] + extent[0] * index / count, 0.7 * extent[0] / count
            y, height = corner[1] + extent[1] * (1 - value), extent[1] * value
        else:
            x, width = corner[0], extent[0] * value
            y, height = corner[1] + extent[1] * index / count, 0.6 * extent[1] / count
        low = (int(size * x), int(size * y))
        high = (int(size * (x + width)), int(size * (y + height)))
        cv2.rectangle(image, low, high, colour, cv2.FILLED)
