"""How alike two domains look to a layer: unbiased linear CKA of their class means.

Legend: C classes, U units.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import polars as pl
from scipy.stats import norm

from analysis.cells import CellMeans

SHUFFLES = 20
MIN_CLASSES = 5
"""U-centring needs four, the jackknife one more"""
CONFIDENCE = 0.95


def cka(x_CU: np.ndarray, y_CU: np.ndarray) -> float:
    """Unbiased linear CKA (Kornblith et al. 2019) with HSIC₁ of Song et al. 2012, eq. 5.

    Args:
        x_CU, y_CU: one row per class, in the same order; the units may differ.

    Returns:
        1 for equal geometry, 0 in expectation for independent ones; may be below 0.
        NaN where either input is constant.

    Raises:
        ValueError: fewer than MIN_CLASSES classes.
    """
    _check_classes(x_CU)
    return _cosine(u_centred(x_CU @ x_CU.T), u_centred(y_CU @ y_CU.T))


def u_centred(gram_CC: np.ndarray) -> np.ndarray:
    """U-centre a Gram matrix (Székely & Rizzo 2014): ⟨K, L⟩ / (C (C − 3)) is then HSIC₁."""
    count = len(gram_CC)
    hollow = gram_CC - np.diag(np.diag(gram_CC))
    rows = hollow.sum(axis=1) / (count - 2)
    total = hollow.sum() / ((count - 1) * (count - 2))
    centred = hollow - rows[:, None] - rows[None, :] + total
    np.fill_diagonal(centred, 0.0)
    if np.abs(centred).max() <= count * np.finfo(float).eps * np.abs(gram_CC).max():
        return np.zeros_like(centred)  # constant input: what is left is rounding
    return centred


def _check_classes(x_CU: np.ndarray) -> None:
    if len(x_CU) < MIN_CLASSES:
        raise ValueError(f"unbiased CKA needs at least {MIN_CLASSES} classes, not {len(x_CU)}")


def _cosine(k: np.ndarray, m: np.ndarray) -> float:
    scale = np.sqrt((k * k).sum() * (m * m).sum())
    return float((k * m).sum() / scale) if scale > 0 else float("nan")


@dataclass(frozen=True)
class Geometry:
    """The U-centred Gram matrix of one domain's class means at one site.

    Attributes:
        gram: of all classes, [C, C].
        without_one: of all classes but the i-th, [C, C − 1, C − 1], for the jackknife.
    """

    gram: np.ndarray
    without_one: np.ndarray


def geometry(x_CU: np.ndarray) -> Geometry:
    """Geometry of class means [C, U]."""
    _check_classes(x_CU)
    gram = x_CU @ x_CU.T
    classes = range(len(gram))
    smaller = [u_centred(np.delete(np.delete(gram, i, 0), i, 1)) for i in classes]
    return Geometry(u_centred(gram), np.stack(smaller))


def similarity(x: Geometry, y: Geometry) -> tuple[float, float, float]:
    """CKA and its interval: normal, with the delete-one-class jackknife's standard error."""
    value, count = _cosine(x.gram, y.gram), len(x.gram)
    products = (x.without_one * y.without_one).sum(axis=(1, 2))
    norms = (x.without_one**2).sum(axis=(1, 2)) * (y.without_one**2).sum(axis=(1, 2))
    left_out = products / np.sqrt(norms)
    error = np.sqrt((count - 1) / count * ((left_out - left_out.mean()) ** 2).sum())
    half = float(norm.ppf(0.5 + CONFIDENCE / 2) * error)
    return value, value - half, value + half


def chance(x: Geometry, y: Geometry, rng: np.random.Generator) -> float:
    """Mean CKA when the classes of one domain are shuffled."""
    orders = [rng.permutation(len(y.gram)) for _ in range(SHUFFLES)]
    return float(np.mean([_cosine(x.gram, y.gram[np.ix_(order, order)]) for order in orders]))


def domain_similarity(cells: CellMeans, seed: int = 0) -> pl.DataFrame:
    """CKA of every pair of domains at every site (docs/formats.md: similarity.parquet).

    The ceiling is what noise in the class means allows: CKA between the class means of the two
    halves of a domain's images, averaged over the pair's two domains. A half has half the images,
    so this ceiling is lower than that of the whole.
    """
    return pl.DataFrame(list(_similarities(cells, np.random.default_rng(seed))))


def _similarities(cells: CellMeans, rng: np.random.Generator) -> Iterator[dict]:
    domains = range(len(cells.domains))
    for depth, (site, halves) in enumerate(cells.halves.items()):
        geometries = [geometry(halves[:, d].mean(axis=0)) for d in domains]
        ceilings = [cka(halves[0, d], halves[1, d]) for d in domains]
        for a, b in combinations(domains, 2):
            value, lo, hi = similarity(geometries[a], geometries[b])
            yield {
                "site": site,
                "depth": depth,
                "domain_a": cells.domains[a],
                "domain_b": cells.domains[b],
                "measure": "cka",
                "value": value,
                "lo": lo,
                "hi": hi,
                "n": len(cells.classes),
                "chance": chance(geometries[a], geometries[b], rng),
                "ceiling": (ceilings[a] + ceilings[b]) / 2,
            }
