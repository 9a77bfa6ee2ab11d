"""Cell means: the mean activation of every (domain, class) cell at every site.

Legend: F folds, D domains, C classes, U units, N images.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch

from analysis.sites import Site, list_sites, pool, taps
from gen.evaluation.embed import embed_batches
from gen.schema import SiteLevel
from splits.errors import unknown

if TYPE_CHECKING:
    from gen.models.trained import Learner

FOLDS = 4
"""three ways to make two halves of them; every cell needs so many images"""
FEWEST_FOLDS = 2


@dataclass(frozen=True)
class CellMeans:
    """Mean activations per site, for disjoint folds of every cell's images.

    Attributes:
        folds: by site, float64 of shape [F, D, C, U]: means over the images of a fold. F is 4
            where every cell has four images or more, else 2.
        counts: images behind them, int of shape [F, D, C]; those of a cell differ by one at most.
        domains: names along D.
        classes: names along C.
    """

    folds: dict[str, np.ndarray]
    counts: np.ndarray
    domains: tuple[str, ...]
    classes: tuple[str, ...]

    def means(self, site: str) -> np.ndarray:
        """Means over all images of a cell: [D, C, U]."""
        return self._over(site, range(len(self.counts)))

    def pairings(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """The ways to make two halves of the folds: one of two folds, three of four."""
        folds = range(len(self.counts))
        halves = [half for half in combinations(folds, len(folds) // 2) if 0 in half]
        return [(half, tuple(f for f in folds if f not in half)) for half in halves]

    def halves(self, site: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """For every pairing the means over the images of its halves: [D, C, U] twice."""
        return [(self._over(site, a), self._over(site, b)) for a, b in self.pairings()]

    def of_classes(self, chosen: Sequence[int] | Sequence[str]) -> CellMeans:
        """Those of some classes, in the order asked for.

        Args:
            chosen: positions or names.

        Raises:
            UserError: there is no class of this name.
        """
        index = _positions("class", chosen, self.classes)
        folds = {site: values[:, :, index] for site, values in self.folds.items()}
        names = tuple(self.classes[i] for i in index)
        return CellMeans(folds, self.counts[:, :, index], self.domains, names)

    def of_domains(self, chosen: Sequence[int] | Sequence[str]) -> CellMeans:
        """Those of some domains, in the order asked for.

        Args:
            chosen: positions or names.

        Raises:
            UserError: there is no domain of this name.
        """
        index = _positions("domain", chosen, self.domains)
        folds = {site: values[:, index] for site, values in self.folds.items()}
        names = tuple(self.domains[i] for i in index)
        return CellMeans(folds, self.counts[:, index], names, self.classes)

    def in_two_folds(self) -> CellMeans:
        """The same images, in the halves of the first pairing."""
        halves = self.pairings()[0]
        folds = {site: np.stack([self._over(site, half) for half in halves]) for site in self.folds}
        counts = np.stack([self.counts[list(half)].sum(axis=0) for half in halves])
        return CellMeans(folds, counts, self.domains, self.classes)

    def _over(self, site: str, chosen: Iterable[int]) -> np.ndarray:
        """Means over the images of some folds: a fold counts by its images."""
        index = list(chosen)
        weights = self.counts[index] / self.counts[index].sum(axis=0)
        return np.einsum("fdc,fdcu->dcu", weights, self.folds[site][index])


class CellSums:
    """Sums of activations per (fold, cell) and site, image by image; no activation is kept.

    Args:
        buckets: for every image, in the order in which they come, the number of its (fold, cell).
        sizes: images of every (fold, cell).
        device: where the sums are.
    """

    def __init__(self, buckets: np.ndarray, sizes: np.ndarray, device: torch.device) -> None:
        self._buckets = torch.from_numpy(buckets).to(device)
        self._sizes = sizes
        self._seen: dict[str, int] = {}
        self._sums: dict[str, torch.Tensor] = {}

    def add(self, site: str, activations: torch.Tensor) -> None:
        """Add the next images at a site.

        Args:
            site: its name.
            activations: [B, U], on the device.

        Raises:
            ValueError: more images came than there are.
        """
        start = self._seen.get(site, 0)
        rows = self._buckets[start : start + len(activations)]
        if len(rows) < len(activations):
            raise ValueError(f"{start + len(activations)} of {len(self._buckets)} images at {site}")
        if site not in self._sums:
            shape = (len(self._sizes), activations.shape[1])
            self._sums[site] = torch.zeros(shape, dtype=torch.float64, device=rows.device)
        # float32 values in float64 sums: the order in which a GPU adds them hardly ever shows
        self._sums[site].index_add_(0, rows, activations.double())
        self._seen[site] = start + len(activations)

    def cells(
        self, sites: Iterable[str], domains: Sequence[str], classes: Sequence[str]
    ) -> CellMeans:
        """The means as those of cells, by the order of the sites. The sums are gone afterwards.

        Args:
            sites: their names.
            domains, classes: along D and C; of the buckets that `dealt` makes.

        Raises:
            ValueError: some images have not come.
        """
        shape, means = (-1, len(domains), len(classes)), self.means()
        folds = {site: means[site].reshape(*shape, means[site].shape[1]) for site in sites}
        return CellMeans(folds, self._sizes.reshape(shape), tuple(domains), tuple(classes))

    def means(self) -> dict[str, np.ndarray]:
        """By site, float64 [F·D·C, U]. The sums are gone afterwards.

        Raises:
            ValueError: some images have not come.
        """
        for site, seen in self._seen.items():
            if seen < len(self._buckets):
                raise ValueError(f"{seen} of {len(self._buckets)} images at {site}")
        totals = {site: values.cpu().numpy() for site, values in self._sums.items()}
        self._sums = {}
        for values in totals.values():
            values /= self._sizes[:, None]
        return totals


def cell_means(
    learner: Learner,
    batches: Iterable[torch.Tensor],
    samples: pl.DataFrame,
    domains: Sequence[str],
    classes: Sequence[str],
    device: torch.device,
    levels: Sequence[SiteLevel] = (SiteLevel.residual,),
) -> CellMeans:
    """Stream images through the image tower and average activations per cell and fold.

    Samples of a cell go to its folds in turn, in the order of the table. Activations are averaged
    over positions (`analysis.sites.pool`) and added where they were computed.

    Args:
        learner: any model with an image tower, and how images enter it.
        batches: of the images, uint8, each of shape [b, 3, P, P].
        samples: the images' rows (`domain`, `class_id`).
        domains: names of the domains, the order of D.
        classes: names of the classes, by class id.
        device: where to compute.
        levels: of the sites; all are read in one pass.

    Raises:
        UserError: the image tower has no sites of a level.
        ValueError: a cell has fewer than two images, so that it has no two halves; or there are
            more rows than images, or fewer.
    """
    sites = [site for level in levels for site in list_sites(learner.model, level)]
    return site_means(learner, batches, samples, domains, classes, device, sites)


def site_means(
    learner: Learner,
    batches: Iterable[torch.Tensor],
    samples: pl.DataFrame,
    domains: Sequence[str],
    classes: Sequence[str],
    device: torch.device,
    sites: Sequence[Site],
) -> CellMeans:
    """`cell_means` at any sites of the image tower.

    Args:
        learner, batches, samples, domains, classes, device: those of `cell_means`.
        sites: of the model's image tower.

    Raises:
        ValueError: as of `cell_means`.
    """
    cells = cell_numbers(samples, domains, len(classes))
    buckets, sizes = dealt(cells, len(domains) * len(classes))
    sums = CellSums(buckets, sizes, device)
    with taps(sites, lambda site, activations: sums.add(site, pool(activations))):
        embed_batches(learner, batches, device, lambda _features: None)
    return sums.cells([site.name for site in sites], domains, classes)


def beside(first: CellMeans, second: CellMeans) -> CellMeans:
    """The domains of both, one after another; in two folds where one of them has no more.

    Args:
        first, second: of the same sites, units and classes.

    Raises:
        ValueError: sites or classes differ.
    """
    if list(first.folds) != list(second.folds) or first.classes != second.classes:
        raise ValueError("cells of other sites or classes do not stand side by side")
    if len(first.counts) != len(second.counts):
        first, second = (
            cells if len(cells.counts) == FEWEST_FOLDS else cells.in_two_folds()
            for cells in (first, second)
        )
    folds = {
        site: np.concatenate([values, second.folds[site]], axis=1)
        for site, values in first.folds.items()
    }
    counts = np.concatenate([first.counts, second.counts], axis=1)
    return CellMeans(folds, counts, (*first.domains, *second.domains), first.classes)


def cell_numbers(samples: pl.DataFrame, domains: Sequence[str], classes: int) -> np.ndarray:
    """For every sample the number of its cell: domain · C + class."""
    order = {name: number for number, name in enumerate(domains)}
    domain = np.array([order[name] for name in samples["domain"]])
    return domain * classes + samples["class_id"].to_numpy()


def dealt(cells: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """For every sample the number of its (fold, cell); for every (fold, cell) its size.

    Samples of a cell go to its folds in turn, in the order of the table.

    Args:
        cells: for every sample the number of its cell.
        count: of cells.

    Raises:
        ValueError: a cell has fewer than two images, so that it has no two halves.
    """
    images = np.bincount(cells, minlength=count)
    if images.min() < FEWEST_FOLDS:
        raise ValueError("every (domain, class) cell needs at least two images")
    folds = FOLDS if images.min() >= FOLDS else FEWEST_FOLDS
    order = np.argsort(cells, kind="stable")
    rank = np.empty(len(cells), dtype=np.int64)
    rank[order] = np.arange(len(cells)) - (np.cumsum(images) - images)[cells[order]]
    buckets = rank % folds * count + cells
    return buckets, np.bincount(buckets, minlength=folds * count)


def _positions(
    kind: str, chosen: Sequence[int] | Sequence[str], names: tuple[str, ...]
) -> list[int]:
    """Positions among the names; a mask of booleans is refused."""
    positions = []
    for one in chosen:
        if isinstance(one, str) and one not in names:
            raise unknown(kind, one, names)
        positions.append(names.index(one) if isinstance(one, str) else operator.index(one))
    return positions
