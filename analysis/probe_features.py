"""Read the activations of every site for many images, of which a few are decoded at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import torch
from tqdm import tqdm

from analysis.sites import image_sites, reading
from gen.datasets.shards import available_memory
from gen.evaluation.embed import batch_size, embed_batches
from gen.models.trained import Learner
from gen.schema import ImagePlace
from gen.training.images import place_images
from splits.errors import UserError


def site_activations(
    learner: Learner,
    folder: Path,
    samples: pl.DataFrame,
    device: torch.device,
    bar: tqdm | None = None,
) -> dict[str, np.ndarray]:
    """Pooled activations of all sites of an image tower (`analysis.sites`), in one pass.

    Args:
        learner: a trained or pretrained model.
        folder: of the dataset.
        samples: rows of its sample table.
        device: where to compute.
        bar: advanced by one per image.

    Returns:
        By site, in the order of an image, float32 [N, U].

    Raises:
        UserError: they do not fit into the memory, or an image cannot be read.
    """
    found: dict[str, np.ndarray] = {}
    position = 0

    def keep(site: str, activations: torch.Tensor) -> None:
        if site not in found:
            found[site] = _room(samples.height, activations.shape[1], site)
        found[site][position : position + len(activations)] = activations.float().cpu().numpy()

    def advance(features: torch.Tensor) -> None:
        nonlocal position
        position += len(features)
        if bar is not None:
            bar.update(len(features))

    batches = _batches(folder, samples, learner.pixels, device)
    with reading(image_sites(learner.model), keep):
        embed_batches(learner, batches, device, advance)
    return found


def _batches(
    folder: Path, samples: pl.DataFrame, pixels: int, device: torch.device
) -> Iterator[torch.Tensor]:
    """All images in their order, uint8 [b, 3, P, P], decoded a few batches ahead."""
    images, _ = place_images([(folder, samples)], pixels, device, ImagePlace.disk, readers=0)
    rows, step = np.arange(len(images)), batch_size(pixels)
    return images.batches(rows[start : start + step] for start in range(0, len(rows), step))


def _room(images: int, units: int, site: str) -> np.ndarray:
    available = available_memory()
    if 4 * images * units > available:
        raise UserError(
            f"activations of {images:,} images at site `{site}` need "
            f"{4 * images * units / 2**30:.1f} GiB, of which {available / 2**30:.1f} are available",
            expected="room for the activations of all sites",
            fix="take fewer `evaluation.probe_images`, fewer test domains, or a larger machine",
        )
    return np.empty((images, units), dtype=np.float32)
