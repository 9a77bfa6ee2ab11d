"""Pixels follow the looks of objects and the names of randomness, and nothing else."""

import cv2
import numpy as np
import pytest

from gen.datasets.icons.drawings import load_classes
from gen.scenes.drawing import Canvas, Look, draw_scene
from gen.scenes.palette import GROUND, PALETTE

CANVAS = Canvas(pixels=40, side=18)
DRAWINGS = {item.name: item.drawings[:1] for item in load_classes() if item.name in ("cat", "key")}


def look(name, **concepts):
    return Look(DRAWINGS[name], **concepts)


def covered(image, colour):
    """Pixels that are of a colour of the palette, exactly."""
    return (image == np.array(PALETTE[colour])).all(axis=-1)


def outside(picture):
    """Pixels that lie in no object's square."""
    free = np.ones(picture.image.shape[:2], dtype=bool)
    for x, y, side in picture.boxes:
        free[y : y + side, x : x + side] = False
    return free


def test_a_scene_is_a_function_of_its_looks_and_names():
    looks = [look("cat", colour="red"), look("key", colour="blue")]
    image = draw_scene(looks, CANVAS, 0, "a").image
    assert image.shape == (40, 40, 3)
    assert image.dtype == np.uint8
    assert (image == draw_scene(looks, CANVAS, 0, "a").image).all()
    assert (image != draw_scene(looks, CANVAS, 0, "b").image).any()
    assert (image != draw_scene(looks, CANVAS, 1, "a").image).any()


def test_every_object_has_its_colour_in_its_square_and_the_ground_is_grey():
    for name in range(5):
        looks = [look("cat", colour="red"), look("key", colour="blue")]
        picture = draw_scene(looks, CANVAS, name)
        for (x, y, side), own, other in zip(
            picture.boxes, ("red", "blue"), ("blue", "red"), strict=True
        ):
            square = picture.image[y : y + side, x : x + side]
            assert covered(square, own).sum() > 20
            assert not covered(square, other).any()
        ground = picture.image[outside(picture)]
        assert len(np.unique(ground)) == 1
        assert GROUND[0] <= ground[0, 0] < GROUND[1]


def test_a_swap_under_the_same_names_exchanges_the_colours_pixel_by_pixel():
    scene = draw_scene([look("cat", colour="red"), look("key", colour="blue")], CANVAS, 3)
    swap = draw_scene([look("cat", colour="blue"), look("key", colour="red")], CANVAS, 3)
    assert (scene.boxes == swap.boxes).all()
    assert (covered(scene.image, "red") == covered(swap.image, "blue")).all()
    assert (covered(scene.image, "blue") == covered(swap.image, "red")).all()
    free = outside(scene)
    assert (scene.image[free] == swap.image[free]).all()


def test_a_swap_of_domains_leaves_positions_poses_and_ground():
    scene = draw_scene([look("cat", domain="real"), look("key", domain="sketch")], CANVAS, 3)
    swap = draw_scene([look("cat", domain="sketch"), look("key", domain="real")], CANVAS, 3)
    again = draw_scene([look("cat", domain="real"), look("key", domain="real")], CANVAS, 3)
    free = outside(scene)
    assert (scene.image[free] == swap.image[free]).all()
    first, second = scene.boxes[:, None, :2] + np.array([[0, 0], [18, 18]])
    here = np.s_[first[0, 1] : first[1, 1], first[0, 0] : first[1, 0]]
    there = np.s_[second[0, 1] : second[1, 1], second[0, 0] : second[1, 0]]
    assert (scene.image[here] != swap.image[here]).mean() > 0.5
    assert (scene.image[here] == again.image[here]).all()
    assert (swap.image[there] == again.image[there]).all()


def test_a_small_object_stands_in_the_middle_of_the_place_of_a_large_one():
    large = draw_scene([look("cat", colour="red", size="large")], CANVAS, 0)
    small = draw_scene([look("cat", colour="red", size="small")], CANVAS, 0)
    assert large.boxes[0, 2] == 18
    assert small.boxes[0, 2] == 11
    assert (np.abs((small.boxes - large.boxes)[0, :2] - 3.5) < 1).all()
    assert covered(small.image, "red").sum() < 0.6 * covered(large.image, "red").sum()


@pytest.mark.parametrize(("count", "least"), [(12, 33), (len(PALETTE), 30)])
def test_colours_are_told_apart_also_from_the_ground(count, least):
    colours = [*list(PALETTE.values())[:count], (GROUND[0],) * 3, (GROUND[1],) * 3]
    lab = cv2.cvtColor(np.array([colours], np.float32) / 255, cv2.COLOR_RGB2LAB)[0]
    distances = np.linalg.norm(lab[:, None] - lab[None], axis=-1)
    assert distances[:count][~np.eye(count, len(colours), dtype=bool)].min() >= least
