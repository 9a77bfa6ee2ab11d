"""Which classes are near each other: mutual nearest neighbours, whatever the distances.

Legend: C classes, U units.
"""

from __future__ import annotations

import numpy as np

from analysis.hsic import row_products
from analysis.similarity import CLASSES_PER_CHOICE, Similarity, squared_distances

MOST_NEIGHBOURS = 10


def neighbours(classes: int) -> int:
    """How many nearest neighbours count, of so many classes."""
    return min(MOST_NEIGHBOURS, max(1, (classes - 1) // CLASSES_PER_CHOICE))


def neighbour_ranks(x: np.ndarray) -> np.ndarray:
    """Place of class j among the neighbours of class i, from 0: int [..., C, C].

    Its own is the last. All −1 where no class differs from another.
    """
    squares = squared_distances(x)
    away = np.where(np.eye(squares.shape[-1], dtype=bool), np.inf, squares)
    ranks = away.argsort(axis=-1, kind="stable").argsort(axis=-1, kind="stable")
    return np.where((squares > 0).any(axis=(-2, -1), keepdims=True), ranks, -1)


def shared_neighbours(ranks_a: np.ndarray, ranks_b: np.ndarray, k: int) -> Similarity:
    """Share of a class's k nearest neighbours that are the same in both, mean over classes.

    Mutual nearest neighbours (Huh et al. 2024) by Euclidean distance; chance is k / (C − 1).

    Without class j, whoever had it among the k gets the next one instead: where j is among the k
    of i in a, the overlap of i grows by [i's next in a is among its k in b], likewise in b, and
    where j was shared by [both next are the same] − 1.

    Args:
        ranks_a, ranks_b: of `neighbour_ranks`, [..., C, C].
        k: how many count.
    """
    in_a, in_b = nearest(ranks_a, k), nearest(ranks_b, k)
    next_a, next_b = (ranks_a == k).astype(float), (ranks_b == k).astype(float)
    both = in_a * in_b
    overlap = both.sum(axis=-1)
    change = _onto(row_products(next_a, in_b), in_a) + _onto(row_products(next_b, in_a), in_b)
    change += _onto(row_products(next_a, next_b) - 1, both)
    count, whole = overlap.shape[-1], overlap.sum(axis=-1)
    left_out = (whole[..., None] - overlap + change) / (k * (count - 1))
    return Similarity(whole / (k * count), left_out)


def nearest(ranks: np.ndarray, k: int) -> np.ndarray:
    """1 for the k nearest of every class, else 0: [..., C, C]; NaN where there is no order."""
    missing = (ranks < 0).any(axis=(-2, -1), keepdims=True)
    return np.where(missing, np.nan, (ranks < k).astype(float))


def _onto(gains: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Gains of all classes i that have j among theirs, summed for every j: [..., C]."""
    return np.einsum("...i,...ij->...j", gains, among)
