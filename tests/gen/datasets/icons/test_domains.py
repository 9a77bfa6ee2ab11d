"""The contract that every domain of the icons dataset keeps."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from gen.datasets.icons.domains import DOMAINS, Renderer

Draw = Callable[[int], np.ndarray]
"""from a size S to ink, float32 in 0…1 of shape [S, S]"""

every_domain = pytest.mark.parametrize("render", DOMAINS.values(), ids=DOMAINS.keys())

VISIBLE = 12.0
"""grey levels by which an object changes the pixels it covers, on average over some seeds"""


def disc_with_hole(size: int) -> np.ndarray:
    """A solid drawing: a disc with a round hole off its middle, shape [S, S]."""
    page = np.zeros((size, size), np.uint8)
    cv2.circle(page, (size // 2, size // 2), int(0.35 * size), 255, -1, cv2.LINE_AA)
    cv2.circle(page, (int(0.6 * size), int(0.45 * size)), int(0.12 * size), 0, -1, cv2.LINE_AA)
    return page.astype(np.float32) / 255


def crossed_box(size: int) -> np.ndarray:
    """A line drawing: a square with a diagonal, shape [S, S]."""
    page = np.zeros((size, size), np.uint8)
    low, high, width = int(0.2 * size), int(0.8 * size), max(2, size // 20)
    cv2.rectangle(page, (low, low), (high, high), 255, width, cv2.LINE_AA)
    cv2.line(page, (low, low), (high, high), 255, width, cv2.LINE_AA)
    return page.astype(np.float32) / 255


def mean_change(render: Renderer, ink: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference in grey levels between two drawings rendered alike."""
    changes = []
    for seed in range(8):
        first, second = (render(i, np.random.default_rng(seed)) for i in (ink, other))
        changes.append(np.abs(first.astype(float) - second.astype(float)).mean())
    return float(np.mean(changes))


@every_domain
@pytest.mark.parametrize("size", [48, 67, 96, 192, 256])
def test_an_image_is_rgb_bytes_of_the_size_of_the_ink(render: Renderer, size: int) -> None:
    image = render(disc_with_hole(size), np.random.default_rng(0))
    assert image.dtype == np.uint8
    assert image.shape == (size, size, 3)


@every_domain
def test_the_same_seed_gives_the_same_bytes(render: Renderer) -> None:
    first, second = (render(disc_with_hole(96), np.random.default_rng(5)) for _ in range(2))
    assert first.tobytes() == second.tobytes()


@every_domain
def test_another_seed_gives_another_image(render: Renderer) -> None:
    first, second = (render(disc_with_hole(96), np.random.default_rng(s)) for s in (5, 6))
    assert np.abs(first.astype(float) - second.astype(float)).mean() > 1.0


@every_domain
@pytest.mark.parametrize("draw", [disc_with_hole, crossed_box])
def test_the_ink_is_left_as_it_is(render: Renderer, draw: Draw) -> None:
    ink = draw(96)
    before = ink.copy()
    render(ink, np.random.default_rng(0))
    np.testing.assert_array_equal(ink, before)


@every_domain
@pytest.mark.parametrize("draw", [disc_with_hole, crossed_box])
def test_how_much_randomness_is_used_does_not_depend_on_the_drawing(
    render: Renderer, draw: Draw
) -> None:
    with_object, without = np.random.default_rng(3), np.random.default_rng(3)
    render(draw(96), with_object)
    render(np.zeros((96, 96), np.float32), without)
    assert with_object.random() == without.random()


@every_domain
@pytest.mark.parametrize("draw", [disc_with_hole, crossed_box])
def test_the_object_can_be_seen(render: Renderer, draw: Draw) -> None:
    change = mean_change(render, draw(96), np.zeros((96, 96), np.float32))
    assert change > VISIBLE * draw(96).mean()


@every_domain
def test_a_hole_in_the_object_can_be_seen(render: Renderer) -> None:
    pierced = disc_with_hole(96)
    whole = np.zeros((96, 96), np.uint8)
    cv2.circle(whole, (48, 48), int(0.35 * 96), 255, -1, cv2.LINE_AA)
    change = mean_change(render, pierced, whole.astype(np.float32) / 255)
    assert change > VISIBLE * (whole / 255 - pierced).mean()


@every_domain
@pytest.mark.parametrize("size", [48, 96])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_page_without_any_edge_is_rendered_too(render: Renderer, size: int, value: float) -> None:
    ink = np.full((size, size), value, np.float32)
    assert render(ink, np.random.default_rng(0)).shape == (size, size, 3)


@every_domain
def test_the_global_random_states_play_no_part(render: Renderer) -> None:
    images = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002 (the very state that must not matter)
        cv2.setRNGSeed(seed)
        images.append(render(disc_with_hole(96), np.random.default_rng(5)))
    np.testing.assert_array_equal(*images)
