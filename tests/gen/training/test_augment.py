"""A crop keeps what it says, a mirror mirrors exactly, and no sample depends on its batch."""

from __future__ import annotations

import pytest
import torch

from gen.training.augment import NUMBERS_PER_SAMPLE, random_resized_crop

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.randint(256, (16, 3, 24, 24), dtype=torch.uint8, generator=GENERATOR)
NUMBERS = torch.rand(16, NUMBERS_PER_SAMPLE, generator=GENERATOR)
ROUNDING = 1e-3
"""of a range of 255"""


def crop(images=IMAGES, numbers=NUMBERS, crop_area=0.5, flip=True):
    return random_resized_crop(images, numbers, crop_area=crop_area, flip=flip)


def ramps():
    """Images whose first two channels are the place of a pixel, -1…1 to the right and down."""
    side = 64
    places = (torch.arange(side) + 0.5) / side * 2 - 1
    right, down = places.expand(side, side), places[:, None].expand(side, side)
    return torch.stack([right, down, right]).expand(len(NUMBERS), 3, side, side)


def borders(crops):
    """Left, right, top and bottom border of what each crop of `ramps` keeps, each [B]."""
    centre, step = crops[:, :2, 32, 32], crops[:, :2, 33, 33] - crops[:, :2, 32, 32]
    middle = centre - step / 2
    return *(middle[:, 0] + sign * 32 * step[:, 0].abs() for sign in (-1, 1)), *(
        middle[:, 1] + sign * 32 * step[:, 1] for sign in (-1, 1)
    )


def test_the_whole_area_without_mirroring_is_the_image_itself():
    assert (crop(crop_area=1.0, flip=False) - IMAGES).abs().max() < ROUNDING


def test_mirroring_is_exact_and_happens_where_its_number_is_below_one_half():
    mirrored = crop(crop_area=1.0)
    below = NUMBERS[:, 4] < 0.5
    assert 0 < below.sum() < len(below)
    expected = torch.where(below[:, None, None, None], IMAGES.flip(3), IMAGES)
    assert (mirrored - expected).abs().max() < ROUNDING


def test_a_mirrored_crop_is_the_mirror_of_the_crop():
    below, above = NUMBERS.clone(), NUMBERS.clone()
    below[:, 4], above[:, 4] = 0.2, 0.8
    assert (crop(numbers=below) - crop(numbers=above).flip(3)).abs().max() < ROUNDING
    assert torch.equal(crop(numbers=above), crop(numbers=below, flip=False))


@pytest.mark.parametrize("crop_area", [0.3, 0.9])
def test_a_crop_keeps_the_area_of_its_number_and_lies_within_the_image(crop_area):
    left, right, top, bottom = borders(crop(ramps(), crop_area=crop_area))
    area = (right - left) * (bottom - top) / 4
    expected = crop_area + (1 - crop_area) * NUMBERS[:, 0]
    assert torch.allclose(area, expected, atol=ROUNDING)
    assert min(left.min(), top.min()) > -1 - ROUNDING
    assert max(right.max(), bottom.max()) < 1 + ROUNDING


def test_the_numbers_of_a_crop_reach_all_borders_and_both_shapes():
    numbers = torch.tensor([[0, 0.5, 0, 0, 1], [0, 0.5, 1, 1, 1], [0, 0, 0, 0, 1], [0, 1, 0, 0, 1]])
    left, right, top, bottom = borders(crop(ramps()[:4], numbers.float(), crop_area=0.25))
    assert torch.allclose(left[0], torch.tensor(-1.0), atol=ROUNDING)
    assert torch.allclose(bottom[1], torch.tensor(1.0), atol=ROUNDING)
    assert torch.allclose((right - left)[:2], torch.ones(2), atol=ROUNDING)  # half of the side
    assert torch.allclose((right - left)[2:], torch.tensor([0.5, 2.0]), atol=ROUNDING)
    assert torch.allclose((bottom - top)[2:], torch.tensor([2.0, 0.5]), atol=ROUNDING)


def test_equal_images_get_crops_of_their_own():
    crops = crop(IMAGES[:1].expand(16, -1, -1, -1))
    assert len(crops.unique(dim=0)) == 16


def test_a_crop_does_not_depend_on_the_batch_it_is_in():
    together = crop()
    alone = torch.cat([crop(IMAGES[i : i + 1], NUMBERS[i : i + 1]) for i in range(16)])
    assert torch.equal(together, alone)
    assert torch.equal(crop(IMAGES.flip(0), NUMBERS.flip(0)), together.flip(0))


def test_bytes_and_floats_give_the_same_in_the_same_range():
    crops = crop()
    assert crops.dtype == torch.float32
    assert torch.equal(crop(IMAGES.float()), crops)
    assert crops.min() > -ROUNDING
    assert crops.max() < 255 + ROUNDING
