"""Cell means: the mean activation of every (domain, class) cell at every site."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch

from analysis.sites import image_sites, reading
from gen.evaluation.embed import embed_batches

if TYPE_CHECKING:
    from gen.models.trained import Learner


@dataclass(frozen=True)
class CellMeans:
    """Mean activations per site, for two disjoint halves of every cell's images.

    Attributes:
        halves: by site, float64 of shape [2, D, C, U].
        domains: names along D.
        classes: names along C.
    """

    halves: dict[str, np.ndarray]
    domains: tuple[str, ...]
    classes: tuple[str, ...]


def cell_means(
    learner: Learner,
    batches: Iterable[torch.Tensor],
    samples: pl.DataFrame,
    domains: Sequence[str],
    classes: Sequence[str],
    device: torch.device,
) -> CellMeans:
    """Stream images through the image tower and average activations per cell and half.

    Samples of a cell go to its two halves alternately, in the order of the table.

    Args:
        learner: any model with an image tower, and how images enter it.
        batches: of the images, uint8, each of shape [b, 3, P, P].
        samples: the images' rows (`domain`, `class_id`).
        domains: names of the domains, the order of D.
        classes: names of the classes, by class id.
        device: where to compute.

    Raises:
        ValueError: a cell has fewer than two images, so that it has no two halves.
    """
    cells = _cell_numbers(samples, domains, len(classes))
    buckets, counts = _halves(cells, len(domains) * len(classes))
    sums: dict[str, torch.Tensor] = {}
    position = 0

    def add(site: str, activations: torch.Tensor) -> None:
        rows = torch.from_numpy(buckets[position : position + len(activations)])
        values = activations.cpu().double()
        if site not in sums:
            sums[site] = torch.zeros((len(counts), values.shape[1]), dtype=torch.float64)
        sums[site].index_add_(0, rows, values)

    def advance(features: torch.Tensor) -> None:
        nonlocal position
        position += len(features)

    with reading(image_sites(learner.model), add):
        embed_batches(learner, batches, device, advance)
    shape = (2, len(domains), len(classes), -1)
    halves = {site: (s.numpy() / counts[:, None]).reshape(shape) for site, s in sums.items()}
    return CellMeans(halves, tuple(domains), tuple(classes))


def _cell_numbers(samples: pl.DataFrame, domains: Sequence[str], classes: int) -> np.ndarray:
    order = {name: number for number, name in enumerate(domains)}
    domain = np.array([order[name] for name in samples["domain"]])
    return domain * classes + samples["class_id"].to_numpy()


def _halves(cells: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """For every sample the number of its (half, cell); for every (half, cell) its size."""
    order = np.argsort(cells, kind="stable")
    starts = np.searchsorted(cells[order], np.arange(count))
    rank = np.empty(len(cells), dtype=np.int64)
    rank[order] = np.arange(len(cells)) - starts[cells[order]]
    buckets = (rank % 2) * count + cells
    sizes = np.bincount(buckets, minlength=2 * count)
    if (sizes == 0).any():
        raise ValueError("every (domain, class) cell needs at least two images")
    return buckets, sizes
