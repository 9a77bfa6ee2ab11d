"""Images that are needed more than once, or side by side: held with their rows, a few per cell.

Legend: N images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import torch

from analysis.probe_features import image_batches
from splits.errors import unknown


@dataclass(frozen=True)
class Images:
    """Images with the rows that say what they show.

    Attributes:
        samples: one row per image, with `id`, `domain`, `class_name`, `class_id` (positions among
            the classes that count) and `instance`.
        pixels_NCHW: uint8, in the order of the rows.
    """

    samples: pl.DataFrame
    pixels_NCHW: torch.Tensor

    def __post_init__(self) -> None:
        if self.samples.height != len(self.pixels_NCHW):
            raise ValueError(f"{self.samples.height} rows and {len(self.pixels_NCHW)} images")

    def __len__(self) -> int:
        return self.samples.height

    @cached_property
    def labels(self) -> torch.Tensor:
        """Class of every image, int64 [N]."""
        return torch.from_numpy(self.samples["class_id"].to_numpy().astype(np.int64))

    def domain_numbers(self, domains: Sequence[str]) -> torch.Tensor:
        """Position of every image's domain among these, int64 [N].

        Raises:
            UserError: an image is of none of them.
        """
        order = {name: number for number, name in enumerate(domains)}
        for name in self.samples["domain"].unique(maintain_order=True):
            if name not in order:
                raise unknown("domain", name, list(domains))
        return torch.tensor([order[name] for name in self.samples["domain"]], dtype=torch.int64)

    def of(self, mask: np.ndarray | torch.Tensor) -> Images:
        """Some of the images.

        Args:
            mask: which, bool [N].

        Raises:
            ValueError: the mask is of another length or kind.
        """
        chosen = torch.as_tensor(mask)
        if chosen.dtype is not torch.bool or chosen.shape != (len(self),):
            raise ValueError(
                f"a mask {list(chosen.shape)} of {chosen.dtype} for {len(self)} images"
            )
        device = self.pixels_NCHW.device
        return Images(
            self.samples.filter(chosen.cpu().numpy()), self.pixels_NCHW[chosen.to(device)]
        )


def hold(folder: Path, rows: pl.DataFrame, pixels: int, device: torch.device) -> Images:
    """Decode images and hold them where they were decoded.

    Args:
        folder: of the dataset.
        rows: of its sample table, in the order wanted; N · 3 · pixels² bytes are taken.
        pixels: height and width at which a model sees an image.
        device: where to decode.

    Raises:
        UserError: an image cannot be read.
        ValueError: there are no rows.
    """
    if rows.is_empty():
        raise ValueError("no images to hold")
    return Images(rows, torch.cat(list(image_batches(folder, rows, pixels, device))))
