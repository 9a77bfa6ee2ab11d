"""Test images in the features of an autoencoder, and their means per (domain, class) cell.

Legend: N images, J features, D domains, C classes, U units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_array, vstack

from analysis.sae import BatchTopK

ROWS_AT_A_TIME = 2048


@dataclass(frozen=True)
class Places:
    """Which cell every image is in.

    Attributes:
        domain_N, class_N: positions of the image's domain and class.
        domains, classes: how many there are: D, C.
    """

    domain_N: np.ndarray
    class_N: np.ndarray
    domains: int
    classes: int

    @cached_property
    def cell_N(self) -> np.ndarray:
        return self.domain_N * self.classes + self.class_N

    @cached_property
    def sizes(self) -> np.ndarray:
        """Images of every cell, int [D, C]."""
        counts = np.bincount(self.cell_N, minlength=self.domains * self.classes)
        return counts.reshape(self.domains, self.classes)

    @cached_property
    def half_N(self) -> np.ndarray:
        """0 or 1: the images of a cell are dealt to two halves in turn, in their order."""
        order = np.argsort(self.cell_N, kind="stable")
        first = np.searchsorted(self.cell_N[order], self.cell_N)
        rank = np.empty(len(order), dtype=np.int64)
        rank[order] = np.arange(len(order))
        return (rank - first) % 2

    def means(self, values: csr_array | np.ndarray, mask_N: np.ndarray | None = None) -> np.ndarray:
        """Mean of values [N, J] over the images of every cell, float64 [D, C, J].

        Args:
            values: sparse or dense.
            mask_N: the images that count; None: all. Every cell has one at least.
        """
        rows = np.arange(len(self.cell_N)) if mask_N is None else np.flatnonzero(mask_N)
        cells, count = self.cell_N[rows], self.domains * self.classes
        sizes = np.bincount(cells, minlength=count)
        shape = (count, len(self.cell_N))
        average = csr_array((1 / sizes[cells], (cells, rows)), shape=shape)
        found = average @ values
        dense = found if isinstance(found, np.ndarray) else found.toarray()
        return dense.reshape(self.domains, self.classes, -1)


@dataclass(frozen=True)
class Coded:
    """Images in the features of an autoencoder.

    Attributes:
        codes: float32 [N, J].
        error_DC: mean squared distance of the activations of a cell to their reconstruction.
        square_DC: mean squared length of its activations around the mean of all images.
        mean_DCU: mean activation of a cell, around the same.
    """

    codes: csr_array
    error_DC: np.ndarray
    square_DC: np.ndarray
    mean_DCU: np.ndarray

    @cached_property
    def alive(self) -> int:
        """Features that fire on any image."""
        return int((self.codes > 0).sum(axis=0).astype(bool).sum())

    def r2(self, domain: int, classes: Sequence[int]) -> float | None:
        """Share of the variance within a domain that is reconstructed; None without variance.

        All classes weigh alike. The variance is around the domain's own mean: to know the domain
        of an image explains nothing.
        """
        chosen = list(classes)
        mean_U = self.mean_DCU[domain, chosen].mean(axis=0)
        square = float(self.square_DC[domain, chosen].mean())
        total = square - float(mean_U @ mean_U)
        if total <= np.finfo(float).eps * square:
            return None
        return 1 - float(self.error_DC[domain, chosen].mean()) / total


@torch.inference_mode()
def coded(sae: BatchTopK, x_NU: np.ndarray, places: Places) -> Coded:
    """Encode and reconstruct images, a few at a time.

    Args:
        sae: a fitted autoencoder.
        x_NU: activations, float32.
        places: their cells.
    """
    parts, errors = [], []
    device = sae.decoder.device
    for start in range(0, len(x_NU), ROWS_AT_A_TIME):
        x = torch.from_numpy(x_NU[start : start + ROWS_AT_A_TIME]).to(device)
        f = sae.encode(x)
        errors.append((x - sae.decode(f)).double().square().sum(dim=1).cpu().numpy())
        parts.append(csr_array(f.cpu().numpy()))
    around = x_NU - x_NU.mean(axis=0, dtype=np.float64)
    return Coded(
        csr_array(vstack(parts, format="csr")),
        places.means(np.concatenate(errors)[:, None])[:, :, 0],
        places.means((around**2).sum(axis=1, keepdims=True))[:, :, 0],
        places.means(around),
    )
