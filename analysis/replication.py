"""The published measures of sharing, as Kempf et al. 2025 computed them, beside ours.

A second implementation, letter by letter from the definitions, and independent of ours: where both
estimate the same thing their numbers must agree. Published numbers had no interval; none is
invented here. docs/maps.md says where the published code departs from its definitions, and how
that is handled.

Legend: N images, C classes, U units, J features, D domains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from analysis.cells import CellMeans
from analysis.class_sets import ClassSet
from gen.schema import SiteLevel

FEWEST_CLASSES = 4
"""n (n - 3) is 0 of three"""
COUNTED = 20
"""features of an image that a histogram counts, at most"""
KS = (5, 10, 15, 20)
NOT_ASKED = "no autoencoder of ours: `sae` is not among the analyses"
KEYS = ["site", "domain_a", "domain_b", "classes", "draw"]
PUBLISHED: dict[str, type[pl.DataType]] = {
    **{"measure": pl.String, "site": pl.String, "level": pl.String, "depth": pl.Int64},
    **{"domain_a": pl.String, "domain_b": pl.String, "classes": pl.String, "draw": pl.Int64},
    **dict.fromkeys(("value", "ours", "ours_lo", "ours_hi"), pl.Float64),
    **{"n": pl.Int64, "note": pl.String},
}


def hsic1(k_CC: np.ndarray, l_CC: np.ndarray) -> float:
    """HSIC₁ of Song et al. 2012, eq. 5, of two kernels over the same classes.

    [tr(K̃L̃) + (ΣK̃)(ΣL̃) / ((n-1)(n-2)) - 2/(n-2) · Σ(K̃L̃)] / (n(n-3)), with zero diagonals.
    """
    n = len(k_CC)
    k_CC, l_CC = k_CC - np.diag(np.diag(k_CC)), l_CC - np.diag(np.diag(l_CC))
    product = k_CC @ l_CC
    squares = np.trace(product) + k_CC.sum() * l_CC.sum() / ((n - 1) * (n - 2))
    return float((squares - 2 / (n - 2) * product.sum()) / (n * (n - 3)))


def linear_kernel(x_CU: np.ndarray) -> np.ndarray:
    """K = X Xᵀ."""
    return x_CU @ x_CU.T


def rbf_kernel(x_CU: np.ndarray) -> np.ndarray:
    """exp(-d² / (2σ²)) with σ² the median of the squared distances that are not 0.

    Of an even number of distances it is the lower of the two in the middle, as in PyTorch.
    """
    products = x_CU @ x_CU.T
    half_CC = np.diag(products)[None, :] - products
    apart_CC = half_CC + half_CC.T
    known = np.sort(apart_CC[apart_CC != 0])
    width = known[(len(known) - 1) // 2] if len(known) else 1.0
    return np.exp(-apart_CC / (2 * width))


KERNELS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "cka": linear_kernel,
    "cka_rbf": rbf_kernel,
}
"""by the name of our measure of the same thing"""


def cka(k_CC: np.ndarray, l_CC: np.ndarray) -> float | None:
    """HSIC₁(K, L) / √(HSIC₁(K, K) · HSIC₁(L, L)); None where the root is of no positive number."""
    scale = hsic1(k_CC, k_CC) * hsic1(l_CC, l_CC)
    return hsic1(k_CC, l_CC) / float(np.sqrt(scale)) if scale > 0 else None


def published_similarity(
    cells: CellMeans,
    class_sets: Sequence[ClassSet],
    ours: pl.DataFrame,
    places: Mapping[str, tuple[SiteLevel, int]] | None = None,
) -> pl.DataFrame:
    """Published CKA of the class means of every two domains, at every site.

    Args:
        cells: of one model.
        class_sets: all classes, and the seen (published as C1) and held-out ones (C2) of draws.
        ours: rows of `domain_similarity` of the same cells and class sets.
        places: level and depth by site; None: all sites are residual, in the order of `cells`.

    Returns:
        PUBLISHED. `ours` with its interval is the measure of the same name; `n` counts classes.
    """
    rows: list[dict[str, Any]] = []
    for depth, site in enumerate(cells.folds):
        level, depth = places[site] if places else (SiteLevel.residual, depth)
        means_DCU = cells.means(site)
        for name, draw, members in class_sets:
            key: dict[str, Any] = {"site": site, "level": level.value, "depth": depth}
            key |= {"classes": name, "draw": draw, "n": len(members)}
            for measure, kernel in KERNELS.items():
                found = _pairs(means_DCU[:, list(members)], kernel)
                rows += [key | {"measure": measure} | row for row in _named(found, cells.domains)]
    return _beside(pl.DataFrame(rows, schema=PUBLISHED), ours)


def _pairs(
    means_DCU: np.ndarray, kernel: Callable[[np.ndarray], np.ndarray]
) -> dict[tuple[int, int], tuple[float | None, str]]:
    """Value and note of every two domains."""
    pairs = list(combinations(range(len(means_DCU)), 2))
    if means_DCU.shape[1] < FEWEST_CLASSES:
        note = f"{means_DCU.shape[1]} classes; HSIC₁ needs {FEWEST_CLASSES}"
        return dict.fromkeys(pairs, (None, note))
    kernels = [kernel(x_CU) for x_CU in means_DCU]
    values = {(a, b): cka(kernels[a], kernels[b]) for a, b in pairs}
    return {
        pair: (value, "" if value is not None else "HSIC₁ of a domain with itself is not positive")
        for pair, value in values.items()
    }


def _named(
    found: Mapping[tuple[int, int], tuple[float | None, str]], domains: Sequence[str]
) -> list[dict[str, Any]]:
    return [
        {"domain_a": domains[a], "domain_b": domains[b], "value": value, "note": note}
        for (a, b), (value, note) in found.items()
    ]


def published_sae_sharing(
    codes_NJ: np.ndarray,
    samples: pl.DataFrame,
    domains: Sequence[str],
    class_sets: Sequence[ClassSet],
    ours: pl.DataFrame | None,
    site: str,
    depth: int,
) -> pl.DataFrame:
    """Published sharing of an autoencoder's features between every two domains.

    Of class c, h_a and h_b are the histograms of two domains; the value is the mean over classes
    and over k in KS of |top-k(h_a) ∩ top-k(h_b)| / k. Published for held-out classes.

    Args:
        codes_NJ: features of test images, at least 0.
        samples: the images' rows (`domain`, `class_id`).
        domains: names of the domains.
        class_sets: sets of class ids.
        ours: `domain_a`, `domain_b`, `classes`, `draw`, `value`, `lo`, `hi`: our number; None
            where no autoencoder of ours was asked for.
        site, depth: where the autoencoder reads.

    Returns:
        PUBLISHED with measure `sae_overlap`; `n` counts classes.
    """
    members = sorted({member for one in class_sets for member in one.members})
    histograms = {
        d: _histograms(codes_NJ, samples, domain, members) for d, domain in enumerate(domains)
    }
    key = {
        "measure": "sae_overlap",
        "site": site,
        "level": SiteLevel.residual.value,
        "depth": depth,
    }
    rows: list[dict[str, Any]] = []
    for a, b in combinations(range(len(domains)), 2):
        pair = key | {"domain_a": domains[a], "domain_b": domains[b]}
        shared = {
            c: float(np.mean([overlap(histograms[a][c], histograms[b][c], k) for k in KS]))
            for c in members
            if c in histograms[a] and c in histograms[b]
        }
        for name, draw, chosen in class_sets:
            values = [shared[c] for c in chosen if c in shared]
            found: dict[str, Any] = {"classes": name, "draw": draw, "n": len(values)}
            found["value"] = float(np.mean(values)) if values else None
            rows.append(
                pair | found | {"note": "" if values else "no class of this set has images"}
            )
    table = pl.DataFrame(rows, schema=PUBLISHED)
    if ours is None:
        return table.with_columns(
            note=pl.when(pl.col("note") == "").then(pl.lit(NOT_ASKED)).otherwise("note")
        )
    placed = ours.with_columns(site=pl.lit(site), measure=pl.lit("sae_overlap"))
    return _beside(table, placed)


def _histograms(
    codes_NJ: np.ndarray, samples: pl.DataFrame, domain: str, classes: Sequence[int]
) -> dict[int, np.ndarray]:
    """By class, the histogram of its images in one domain; classes without images have none."""
    here = (samples["domain"] == domain).to_numpy()
    label_N = samples["class_id"].to_numpy()
    masks = {c: here & (label_N == c) for c in classes}
    return {c: feature_histogram(codes_NJ[mask]) for c, mask in masks.items() if mask.any()}


def feature_histogram(codes_NJ: np.ndarray) -> np.ndarray:
    """In how many images every feature is positive and among the COUNTED largest: int [J]."""
    counted = min(COUNTED, codes_NJ.shape[1])
    largest = np.argsort(-codes_NJ, axis=1, kind="stable")[:, :counted]
    positive = np.take_along_axis(codes_NJ, largest, axis=1) > 0
    return np.bincount(largest[positive], minlength=codes_NJ.shape[1])


def overlap(a_J: np.ndarray, b_J: np.ndarray, k: int) -> float:
    """|top-k(a) ∩ top-k(b)| / k; of features with equal counts the first ones are on top."""
    tops = [set(np.argsort(-h_J, kind="stable")[:k].tolist()) for h_J in (a_J, b_J)]
    return len(tops[0] & tops[1]) / k


def _beside(published: pl.DataFrame, ours: pl.DataFrame) -> pl.DataFrame:
    """Our number of the same measure, place, pair and classes beside every published one."""
    keys = ["measure", *KEYS]
    found = ours.select(*keys, ours="value", ours_lo="lo", ours_hi="hi")
    joined = published.drop("ours", "ours_lo", "ours_hi").join(
        found, on=keys, how="left", nulls_equal=True, maintain_order="left", validate="m:1"
    )
    return joined.select(PUBLISHED.keys())
