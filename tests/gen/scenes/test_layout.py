"""Objects stand where they have room, from left to right."""

import re

import numpy as np
import pytest

from gen.scenes.layout import check_room, draw_layout
from splits.errors import UserError


def gaps(corners):
    """Distance of every two squares, in x or in y, whichever is larger."""
    distances = np.abs(corners[:, None] - corners[None]).max(axis=-1)
    return distances[np.triu_indices(len(corners), 1)]


@pytest.mark.parametrize(("objects", "side"), [(1, 32), (2, 10), (2, 16), (3, 14), (4, 16)])
def test_squares_lie_on_the_canvas_apart_and_from_left_to_right(objects, side):
    for seed in range(50):
        random = np.random.default_rng(seed)
        corners = draw_layout(objects, side, 32, random, overlap=False)
        assert corners.shape == (objects, 2)
        assert corners.min() >= 0
        assert corners.max() <= 32 - side
        assert (gaps(corners) >= side).all()
        assert (np.diff(corners[:, 0]) >= 0).all()


def test_overlapping_squares_hide_at_most_half_of_each_other():
    layouts = [draw_layout(3, 15, 32, np.random.default_rng(s), overlap=True) for s in range(50)]
    found = np.array([gaps(corners).min() for corners in layouts])
    assert (found >= 8).all()
    assert (found < 15).any()


def test_positions_are_spread_over_the_canvas():
    layouts = [draw_layout(2, 12, 32, np.random.default_rng(s), overlap=False) for s in range(300)]
    assert set(np.stack(layouts)[..., 1].ravel().tolist()) == set(range(21))


@pytest.mark.parametrize(("objects", "side", "fitting"), [(5, 16, 4), (2, 17, 1), (1, 33, 0)])
def test_a_scene_without_room_says_how_many_objects_fit_and_what_would(objects, side, fitting):
    with pytest.raises(UserError, match=f"{objects} objects of {side} pixels") as caught:
        draw_layout(objects, side, 32, np.random.default_rng(0), overlap=False)
    assert f"at most {fitting} objects" in caught.value.expected
    offered = int(re.search(r"object_pixels=(\d+)", caught.value.fix)[1])
    check_room(objects, offered, 32, overlap=False)
