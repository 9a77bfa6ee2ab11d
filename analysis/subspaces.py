"""Whether two sets of means lie along the same directions of a layer.

Legend: C and D vectors of the two sets, U units, K directions, N images, R random draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from analysis.jackknife import CONFIDENCE, Scored, jackknife
from analysis.statistics import Refused

RANDOM_SUBSPACES = 200
GROUPS = 20
"""of classes, in the jackknife"""
NO_INTERVAL = "no interval: a largest value has no jackknife that holds"


def subspace_overlap(
    by_class_DCU: np.ndarray,
    by_domain_DCU: np.ndarray,
    rest_NU: np.ndarray,
    rng: np.random.Generator,
) -> Iterator[dict]:
    """Cosines of the principal angles between the spans of class means and of domain means.

    Of either set of means the K directions of most variance count, K = D − 1 where there are more
    classes than domains. Chance is made in the same way, of C and of D vectors that are drawn
    independently of each other, both with the covariance of images within their cells: a layer in
    which few directions hold most of the variance has these among the leading ones of any means.

    Args:
        by_class_DCU: cell means, for those of classes.
        by_domain_DCU: cell means of other images, for those of domains: no noise in common.
        rest_NU: images minus the means of their cells.
        rng: of the random vectors.

    Yields:
        `quantity` (`subspace_cosine`, the mean of the cosines, and `largest_subspace_cosine`),
        `value`, `lo`, `hi`, `note`, `chance`, `chance_lo`, `chance_hi`.
    """
    domains, classes, units = by_class_DCU.shape
    fewest = classes - -(-classes // GROUPS)  # of a jackknife
    count = min(domains - 1, fewest - 1, units)

    def cosines(kept: np.ndarray) -> np.ndarray | Refused:
        a = leading(by_class_DCU[:, kept].mean(axis=0), count)
        b = leading(by_domain_DCU[:, kept].mean(axis=1), count)
        if len(a) < count or len(b) < count:
            return Refused("the means of classes or of domains do not differ")
        return np.linalg.svd(a @ b.T, compute_uv=False)

    def summary(of: Callable) -> Callable[[np.ndarray], float | Refused]:
        def statistic(kept: np.ndarray) -> float | Refused:
            found = cosines(kept)
            return found if isinstance(found, Refused) else float(of(found))

        return statistic

    random_RK = random_cosines(rest_NU, (classes, domains), count, rng)
    mean = jackknife(summary(np.mean), classes, GROUPS)
    yield {"quantity": "subspace_cosine", **mean._asdict(), **_band(random_RK.mean(axis=1))}
    largest = summary(np.max)(np.arange(classes))
    if isinstance(largest, Refused):
        alone = Scored(None, None, None, largest.reason)
    else:
        alone = Scored(largest, None, None, NO_INTERVAL)
    yield {"quantity": "largest_subspace_cosine", **alone._asdict(), **_band(random_RK.max(axis=1))}


def leading(vectors: np.ndarray, count: int) -> np.ndarray:
    """Orthonormal directions of most variance among the vectors, at most `count`: [K, U]."""
    centred = vectors - vectors.mean(axis=0)
    rounding = max(vectors.shape) * np.finfo(np.float32).eps * np.abs(vectors).max()
    if len(centred) > centred.shape[1]:
        squares, basis = np.linalg.eigh(centred.T @ centred)
        kept = squares[::-1][:count] > rounding**2
        return basis.T[::-1][:count][kept]
    squares, left = np.linalg.eigh(centred @ centred.T)  # the smaller of the two Gram matrices
    kept = squares[::-1][:count] > rounding**2
    return np.linalg.qr(centred.T @ left[:, ::-1][:, :count][:, kept])[0].T


def random_cosines(
    rest_NU: np.ndarray, sizes: tuple[int, int], count: int, rng: np.random.Generator
) -> np.ndarray:
    """The same cosines for two sets of so many random sums of the rows, [R, K].

    Sums of rows with normal weights are normal vectors with the covariance of the rows. Angles do
    not depend on the axes: along those of the principal components the units are independent, and
    only the variances are needed.
    """
    smaller = rest_NU.T if rest_NU.shape[1] < len(rest_NU) else rest_NU
    variances = np.maximum(np.linalg.eigvalsh(smaller @ smaller.T), 0)
    found = np.ones((RANDOM_SUBSPACES, count))
    if not variances.any():  # no image differs from its cell: there are no directions to draw
        variances = np.ones(rest_NU.shape[1])
    for number in range(RANDOM_SUBSPACES):
        a, b = (
            leading(rng.normal(size=(size, len(variances))) * np.sqrt(variances), count)
            for size in sizes
        )
        shared = np.linalg.svd(a @ b.T, compute_uv=False)
        found[number, : len(shared)] = shared
    return found


def _band(random_R: np.ndarray) -> dict:
    lo, hi = np.quantile(random_R, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return {"chance": float(random_R.mean()), "chance_lo": float(lo), "chance_hi": float(hi)}
