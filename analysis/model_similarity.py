"""How alike two models see the same images, within each domain (docs/similarity.md).

Rows are images here, not class means: both models saw the same ones. Never over the images of
several domains at once, where the distances between domains are all that counts. Images of a class
are no independent draws, so that the jackknife leaves out whole classes.

Legend: N images, C classes, P and Q units of the two models, S shuffles, K neighbours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import polars as pl
from tqdm import tqdm

from analysis.class_shuffles import ROTATIONS, band, nuclear_norms
from analysis.hsic import HsicSums
from analysis.neighbours import MOST_NEIGHBOURS
from analysis.probes import Activations
from analysis.similarity import (
    MIN_CLASSES,
    Similarity,
    coordinates,
    row_products,
)
from splits.errors import UserError, unknown

ROWS_AT_A_TIME = 1000
"""of distances between all images"""
MODEL_SIMILARITY: dict[str, type[pl.DataType]] = {
    **{"site_a": pl.String, "site_b": pl.String, "domain": pl.String, "measure": pl.String},
    **{"value": pl.Float64, "lo": pl.Float64, "hi": pl.Float64},
    **{"n": pl.Int64, "n_classes": pl.Int64},
    **{"chance": pl.Float64, "chance_lo": pl.Float64, "chance_hi": pl.Float64, "note": pl.String},
}


def model_similarity(
    a: Activations,
    b: Activations,
    sites: Sequence[tuple[str, str]],
    seed: int = 0,
    bar: tqdm | None = None,
) -> pl.DataFrame:
    """CKA, S_rot and mutual nearest neighbours of two models on the same images, domain by domain.

    Args:
        a, b: what the models show of the same images, in the same order.
        sites: of the first and of the second model: which to compare.
        seed: of the shuffles of images behind chance.
        bar: advanced by one per domain and pair of sites.

    Returns:
        The columns MODEL_SIMILARITY.

    Raises:
        UserError: the images are not the same.
    """
    if not a.samples["id"].equals(b.samples["id"]):
        raise UserError(
            f"the models saw {a.samples.height:,} and {b.samples.height:,} images, not the same",
            expected="activations of one table of samples, in its order",
        )
    rows = []
    for domain in a.samples["domain"].unique(maintain_order=True):
        one, other = a.of(domain), b.of(domain)
        groups = np.unique(one.labels, return_inverse=True)[1]
        for site_a, site_b in sites:
            _check_site(site_a, a)
            _check_site(site_b, b)
            key = {"site_a": site_a, "site_b": site_b, "domain": domain}
            key |= {"n": len(groups), "n_classes": int(groups.max()) + 1}
            found = _rows(one.sites[site_a], other.sites[site_b], groups, seed)
            rows += [key | row for row in found]
            if bar is not None:
                bar.update()
    return pl.DataFrame(rows, schema=MODEL_SIMILARITY)


def _check_site(site: str, of: Activations) -> None:
    if site not in of.sites:
        raise unknown("site", site, of.sites)


def _rows(
    x_NP: np.ndarray, y_NQ: np.ndarray, groups: np.ndarray, seed: int
) -> Iterator[dict[str, Any]]:
    count = int(groups.max()) + 1
    if count < MIN_CLASSES:
        for measure in MEASURES:
            yield {"measure": measure, "note": f"{count} classes, fewer than {MIN_CLASSES}"}
        return
    # no more units than images, with the same distances and products: shuffles stay cheap
    x, y = coordinates(x_NP.astype(np.float64)), coordinates(y_NQ.astype(np.float64))
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(x)) for _ in range(ROTATIONS)]
    for measure, compare in MEASURES.items():
        if not (x.any() and y.any()):
            yield {"measure": measure, "note": "all activations of a model are equal"}
            continue
        found, shuffled = compare(x, y, groups, orders)
        lo, hi = found.interval()
        below, above = band(shuffled)
        numbers = {"value": found.value, "lo": lo, "hi": hi, "chance": np.mean(shuffled)}
        numbers |= {"chance_lo": below, "chance_hi": above}
        yield {"measure": measure, "note": ""} | {k: float(v) for k, v in numbers.items()}


def _cka(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, orders: Sequence[np.ndarray]
) -> tuple[Similarity, np.ndarray]:
    """Unbiased linear CKA from sums over images: no kernel over all images is needed."""
    whole, left_out = zip(*(_hsic(*pair, groups) for pair in ((x, y), (x, x), (y, y))), strict=True)
    scale = np.sqrt(whole[1] * whole[2])
    shuffled = np.array([HsicSums.of(x, y[order]).hsic / scale for order in orders])
    found = Similarity(whole[0] / scale, left_out[0] / np.sqrt(left_out[1] * left_out[2]))
    return found, shuffled


def _hsic(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> tuple[float, np.ndarray]:
    """HSIC₁ of all images, and without those of every class [C]."""
    members = (groups == group for group in range(groups.max() + 1))
    parts = [HsicSums.of(x[of], y[of]) for of in members]
    whole = reduce(add, parts)
    return whole.hsic, np.array([(whole - part).hsic for part in parts])


def _s_rot(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, orders: Sequence[np.ndarray]
) -> tuple[Similarity, np.ndarray]:
    """The cosine of shapes; without a class the best rotation is held fixed."""
    left, values, right = np.linalg.svd(x.T @ y, full_matrices=False)
    across = _products(x @ left, y @ right.T, groups)
    own_x, own_y = _products(x, x, groups), _products(y, y, groups)
    scale = np.sqrt(own_x.value * own_y.value)
    norms = [nuclear_norms(x, y[order]) for order in orders]
    ratio = across.left_out / np.sqrt(own_x.left_out * own_y.left_out)
    return Similarity(values.sum() / scale, ratio), np.array(norms) / scale


def _products(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> Similarity:
    """Σ xᵢ · yᵢ of centred rows; without those of a class the others are centred anew."""
    count, of_rows = len(x), row_products(x, y)
    sizes = np.bincount(groups)
    sums = [np.stack([m[groups == g].sum(axis=0) for g in range(len(sizes))]) for m in (x, y)]
    gone = np.bincount(groups, of_rows) + row_products(*sums) / (count - sizes)
    return Similarity(of_rows.sum(), of_rows.sum() - gone)


def _knn(
    x: np.ndarray, y: np.ndarray, groups: np.ndarray, orders: Sequence[np.ndarray]
) -> tuple[Similarity, np.ndarray]:
    """Mutual nearest neighbours; without a class the next ones take the places of its images."""
    sizes = np.bincount(groups)
    kept = min(MOST_NEIGHBOURS, len(x) - sizes.max() - 1)
    near_x, near_y = (_nearest(m, kept + int(sizes.max())) for m in (x, y))
    first_x, first_y = near_x[:, :kept], near_y[:, :kept]
    shared = _overlap(first_x, first_y)
    left_out = []
    for group, size in enumerate(sizes):
        without = np.where(groups == group, 0.0, shared)
        met = (groups[first_x] == group).any(axis=1) | (groups[first_y] == group).any(axis=1)
        met &= groups != group
        lists = (_first_others(near[met], groups == group, kept) for near in (near_x, near_y))
        without[met] = _overlap(*lists)
        left_out.append(without.sum() / (len(x) - size))
    shuffled = []
    for order in orders:
        place = np.argsort(order)  # where an image went
        shuffled.append(_overlap(first_x, place[first_y[order]]).mean())
    return Similarity(shared.mean(), np.array(left_out)), np.array(shuffled)


def _nearest(x: np.ndarray, count: int) -> np.ndarray:
    """The nearest images of every image by Euclidean distance, nearest first: int [N, count]."""
    size = (x * x).sum(axis=1)
    found = []
    for start in range(0, len(x), ROWS_AT_A_TIME):
        part = x[start : start + ROWS_AT_A_TIME]
        rows = np.arange(len(part))[:, None]
        away = size[None, :] - 2 * part @ x.T
        away[rows, start + rows] = np.inf
        near = np.argpartition(away, count - 1, axis=1)[:, :count]
        found.append(near[rows, np.argsort(away[rows, near], axis=1, kind="stable")])
    return np.concatenate(found)


def _first_others(near: np.ndarray, gone: np.ndarray, count: int) -> np.ndarray:
    """The first neighbours that are not gone, [n, count] of [n, more]."""
    last = np.argsort(gone[near], axis=1, kind="stable")[:, :count]
    return np.take_along_axis(near, last, axis=1)


def _overlap(near_x: np.ndarray, near_y: np.ndarray) -> np.ndarray:
    """Share of an image's neighbours that are the same in both, [N]."""
    return (near_x[:, :, None] == near_y[:, None, :]).any(axis=2).mean(axis=1)


MEASURES: dict[str, Callable[..., tuple[Similarity, np.ndarray]]] = {
    "cka": _cka,
    "s_rot": _s_rot,
    "knn": _knn,
}
