"""Read the activations of every site for many images, of which a few are decoded at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl
import torch
from tqdm import tqdm

from analysis.sites import Site, list_sites, pool, taps
from gen.evaluation.embed import batch_size, embed_batches
from gen.machine import available_memory
from gen.models.trained import Learner
from gen.schema import ImagePlace, SiteLevel
from gen.training.images import place_images
from splits.errors import UserError

COPIES = 2
"""of all activations: together, and once more for what is copied of them: all by domain (linear
probes), or single sites in double precision (other analyses)"""


def site_activations(
    learner: Learner,
    folder: Path,
    samples: pl.DataFrame,
    device: torch.device,
    bar: tqdm | None = None,
    sites: Sequence[Site] | None = None,
) -> dict[str, np.ndarray]:
    """Pooled activations of the sites of an image tower (`analysis.sites`), in one pass.

    Args:
        learner: a trained or pretrained model.
        folder: of the dataset.
        samples: rows of its sample table.
        device: where to compute.
        bar: advanced by one per image.
        sites: of the model's image tower; None: the residual ones.

    Returns:
        By site, in the order of an image, float32 [N, U].

    Raises:
        UserError: they do not fit into the memory, or an image cannot be read.
    """
    found: dict[str, np.ndarray] = {}
    batch: dict[str, np.ndarray] = {}
    position = 0

    def keep(site: str, activations: torch.Tensor) -> None:
        batch[site] = pool(activations).float().cpu().numpy()

    def advance(features: torch.Tensor) -> None:
        nonlocal position
        if not found:
            found.update(_room(samples.height, batch))
        for site, activations in batch.items():
            found[site][position : position + len(activations)] = activations
        position += len(features)
        if bar is not None:
            bar.update(len(features))

    batches = image_batches(folder, samples, learner.pixels, device)
    chosen = list_sites(learner.model, SiteLevel.residual) if sites is None else sites
    with taps(chosen, keep):
        embed_batches(learner, batches, device, advance)
    return found


def image_batches(
    folder: Path, samples: pl.DataFrame, pixels: int, device: torch.device
) -> Iterator[torch.Tensor]:
    """All images in their order, uint8 [b, 3, P, P], decoded a few batches ahead.

    Raises:
        UserError: an image cannot be read.
    """
    images, _ = place_images([(folder, samples)], pixels, device, ImagePlace.disk, readers=0)
    rows, step = np.arange(len(images)), batch_size(pixels)
    return images.batches(rows[start : start + step] for start in range(0, len(rows), step))


def _room(images: int, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Room for the activations of all images at the sites of a batch, float32 [N, U] each."""
    units = {site: activations.shape[1] for site, activations in batch.items()}
    needed, available = COPIES * 4 * images * sum(units.values()), available_memory()
    if needed > available:
        raise UserError(
            f"activations of {images:,} images at {len(units)} sites need "
            f"{needed / 2**30:.1f} GiB, of which {available / 2**30:.1f} are available",
            expected="room for them, and once more for copies by domain or of single sites",
            fix="take fewer images of a cell (`analysis.images`; of linear probes "
            "`evaluation.probe_images`, or fewer test domains), or a larger machine",
        )
    return {site: np.empty((images, count), dtype=np.float32) for site, count in units.items()}
