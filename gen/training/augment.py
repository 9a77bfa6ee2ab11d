"""Random resized crop and mirroring of a whole batch, every sample with its own numbers."""

from __future__ import annotations

import torch
from torch.nn.functional import affine_grid, grid_sample

NUMBERS_PER_SAMPLE = 5


def random_resized_crop(
    images: torch.Tensor, numbers: torch.Tensor, *, crop_area: float, flip: bool
) -> torch.Tensor:
    """Crop, stretch back to full size, and mirror half of the images.

    A crop keeps a share of the image's area uniform in [crop_area, 1], with an aspect ratio
    log-uniform in [area, 1 / area], so that it always fits.

    Args:
        images: uint8 or float, shape [B, 3, H, W].
        numbers: uniform in [0, 1), float32 of shape [B, NUMBERS_PER_SAMPLE].
        crop_area: smallest share of the area.
        flip: whether to mirror.

    Returns:
        float32, shape [B, 3, H, W], in the range of the input.
    """
    area = crop_area + (1 - crop_area) * numbers[:, 0]
    ratio = torch.exp((2 * numbers[:, 1] - 1) * -torch.log(area))
    width, height = torch.sqrt(area * ratio), torch.sqrt(area / ratio)
    centre_x = (1 - width) * (2 * numbers[:, 2] - 1)
    centre_y = (1 - height) * (2 * numbers[:, 3] - 1)
    mirror = torch.where(numbers[:, 4] < 0.5, -1.0, 1.0) if flip else torch.ones_like(width)
    zero = torch.zeros_like(width)
    affine = torch.stack(
        [
            torch.stack([width * mirror, zero, centre_x], dim=1),
            torch.stack([zero, height, centre_y], dim=1),
        ],
        dim=1,
    )
    grid = affine_grid(affine, list(images.shape), align_corners=False)
    return grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)
