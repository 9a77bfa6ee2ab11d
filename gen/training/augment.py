"""Random resized crop and mirroring of a whole batch, every sample with its own numbers."""

from __future__ import annotations

import torch
from torch.nn.functional import grid_sample

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
    # written out, not as a matrix product, which a GPU would round to 11 bits (TF32)
    rows, columns = images.shape[2:]
    x = _centres(columns, width) * (width * mirror)[:, None] + centre_x[:, None]
    y = _centres(rows, height) * height[:, None] + centre_y[:, None]
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)
    return grid_sample(images.float(), grid, padding_mode="reflection", align_corners=False)


def _centres(pixels: int, like: torch.Tensor) -> torch.Tensor:
    """Centres of a row of pixels, whose outer edges are -1 and 1, shape [pixels]."""
    numbers = torch.arange(pixels, dtype=like.dtype, device=like.device)
    return (2 * numbers + 1) / pixels - 1
