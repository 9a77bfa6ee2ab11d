"""Two domains at one site, measured as every run is, and what measures are held against."""

from __future__ import annotations

import numpy as np
from planted_networks import cells_of

from analysis.domain_scores import MEASURES, Scores, SiteClasses
from analysis.similarity import Similarity


def measured(measure: str, x: np.ndarray, y: np.ndarray) -> Similarity:
    """A measure of two domains, by its name in tables.

    Args:
        measure: out of MEASURES.
        x, y: class means [C, U], or those of folds [F, C, U]; the units may differ.
    """
    found = scores(measure, x, y).found
    return Similarity(found.value[0], found.left_out[0])


def scores(measure: str, x: np.ndarray, y: np.ndarray) -> Scores:
    """The same with its references, without chance."""
    sides = [np.stack([side, side]) if side.ndim == 2 else side for side in (x, y)]
    widest = max(side.shape[-1] for side in sides)
    padded = [np.pad(s, [(0, 0), (0, 0), (0, widest - s.shape[-1])]) for s in sides]
    cells = cells_of({"site": np.stack(padded, axis=1)})
    return MEASURES[measure](SiteClasses(cells, "site", None))


def each(measure: str, x: np.ndarray, y: np.ndarray) -> Similarity:
    """A measure of many pairs of domains, [N]: of folds [F, N, C, U]."""
    pairs = zip(np.moveaxis(x, 1, 0), np.moveaxis(y, 1, 0), strict=True)
    found = [measured(measure, *pair) for pair in pairs]
    values, left_out = ([getattr(one, name) for one in found] for name in ("value", "left_out"))
    return Similarity(np.array(values), np.array(left_out))


def hsic_of_song(k: np.ndarray, m: np.ndarray) -> float:
    """HSIC₁ of two kernels, written down letter by letter from Song et al. 2012, equation 5."""
    n = len(k)
    k, m = k - np.diag(np.diag(k)), m - np.diag(np.diag(m))
    one = np.ones(n)
    return (
        np.trace(k @ m)
        + (one @ k @ one) * (one @ m @ one) / ((n - 1) * (n - 2))
        - 2 / (n - 2) * (one @ k @ m @ one)
    ) / (n * (n - 3))


def cka_of_kernels(k: np.ndarray, m: np.ndarray) -> float:
    """HSIC₁(K, L) / √(HSIC₁(K, K) HSIC₁(L, L))."""
    return hsic_of_song(k, m) / np.sqrt(hsic_of_song(k, k) * hsic_of_song(m, m))
