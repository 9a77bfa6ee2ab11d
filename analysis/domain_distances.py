"""How far domains lie apart at every site, in units of how far images of one cell do.

Legend: P pairings of halves, D domains, C classes, U units, E embedding channels, N images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from scipy.stats import t

from analysis.cells import CellMeans
from analysis.probes import Activations
from gen.schema import SiteLevel

CONFIDENCE = 0.95
FEWEST_CLASSES = 3
"""classes that an interval over them needs"""
SAME = 1e-12
EMBEDDING = "embedding"
MAP_DISTANCES: dict[str, type[pl.DataType]] = {
    **{"site": pl.String, "level": pl.String, "depth": pl.Int64, "quantity": pl.String},
    **{"domain_a": pl.String, "domain_b": pl.String, "value": pl.Float64},
    **{"lo": pl.Float64, "hi": pl.Float64, "n": pl.Int64, "note": pl.String},
}


class Over(NamedTuple):
    """A number of all classes, and without each of them.

    Attributes:
        whole: of all.
        without_C: of all but one, [C].
    """

    whole: float
    without_C: np.ndarray


def domain_distances(
    cells: CellMeans, places: Mapping[str, tuple[SiteLevel, int]] | None = None
) -> pl.DataFrame:
    """Distances between the means of every two domains at every site (docs/maps.md).

    `distance` is ‖μ_a - μ_b‖, with μ the mean over classes of cell means, and `class_distance` the
    mean over classes of ‖μ_ac - μ_bc‖: both as published by Kempf et al. 2025 but for the equal
    weight of classes. Noise makes them too large, and every site has units of its own. The
    `_relative` ones are corrected and comparable: squares are taken between halves of the images,
    ⟨δ₁, δ₂⟩, divided by the variance within cells, and the root taken again; where noise leaves a
    square below 0 the value is -√|·|.

    Args:
        cells: of one model.
        places: level and depth by site; None: all sites are residual, in the order of `cells`.

    Returns:
        MAP_DISTANCES; `n` counts classes, over which the jackknife's interval is.
    """
    rows = []
    for depth, site in enumerate(cells.folds):
        level, depth = places[site] if places else (SiteLevel.residual, depth)
        key = {"site": site, "level": level.value, "depth": depth, "n": len(cells.classes)}
        means_DCU, within_DC = cells.means(site), within_cells(cells, site)
        halves_P2DCU = np.stack([np.stack(pair) for pair in cells.halves(site)])
        for a, b in combinations(range(len(cells.domains)), 2):
            pair = {"domain_a": cells.domains[a], "domain_b": cells.domains[b]}
            apart_CU = means_DCU[a] - means_DCU[b]
            apart_P2CU = halves_P2DCU[:, :, a] - halves_P2DCU[:, :, b]
            within_C = (within_DC[a] + within_DC[b]) / 2
            rows += [key | pair | row for row in _distances(apart_CU, apart_P2CU, within_C)]
    return pl.DataFrame(rows, schema=MAP_DISTANCES)


def _distances(
    apart_CU: np.ndarray, apart_P2CU: np.ndarray, within_C: np.ndarray
) -> Iterator[dict[str, Any]]:
    """The four distances of a pair of domains at a site."""
    between_C = np.einsum("pcu,pcu->c", apart_P2CU[:, 0], apart_P2CU[:, 1]) / len(apart_P2CU)
    of_means, of_classes = squared_length(apart_P2CU), mean(between_C)
    plain = squared_length(np.stack([apart_CU, apart_CU])[None])
    length_C = np.linalg.norm(apart_CU, axis=1)
    yield {"quantity": "distance"} | length(plain)
    yield {"quantity": "distance_relative"} | relative(of_means, mean(within_C))
    yield {"quantity": "class_distance"} | estimate(mean(length_C))
    yield {"quantity": "class_distance_relative"} | relative(of_classes, mean(within_C))


def within_cells(cells: CellMeans, site: str) -> np.ndarray:
    """Variance of an image's activations around its cell's mean, summed over units: [D, C].

    From the means of folds, which vary by it over the number of their images: unbiased
    Σ_f n_f ‖m_f - m‖² / (F - 1).
    """
    away_FDCU = cells.folds[site] - cells.means(site)
    squares = cells.counts * (away_FDCU**2).sum(axis=-1)
    return squares.sum(axis=0) / (len(cells.counts) - 1)


def modality_gaps(
    shown: Activations, domains: tuple[str, ...], texts_CE: np.ndarray
) -> pl.DataFrame:
    """How far the images of every domain lie from the texts of their classes, in the embedding.

    `modality_gap` is ‖μ_d - μ_texts‖ of normalised embeddings (Liang et al. 2022), all classes
    alike, with the square between halves of the images. `modality_gap_centred` is the part of it
    that is the domain's own, ‖μ_d - mean over domains‖: where it is small beside the gap, all
    domains have the same one.

    Args:
        shown: two images or more of every cell, with the site `embedding`.
        domains: their names.
        texts_CE: class embeddings, by class id.

    Returns:
        MAP_DISTANCES, without `domain_b`.

    Raises:
        ValueError: a cell has fewer than two images.
    """
    classes = len(texts_CE)
    halves_2DCE = _halves(shown, domains, classes)
    texts = texts_CE / np.linalg.norm(texts_CE, axis=1, keepdims=True)
    middle_2CE = halves_2DCE.mean(axis=1)
    key = {"site": EMBEDDING, "level": SiteLevel.residual.value, "n": classes}
    key["depth"] = list(shown.sites).index(EMBEDDING)
    rows = []
    for d, domain in enumerate(domains):
        gap = squared_length((halves_2DCE[:, d] - texts)[None])
        own = squared_length((halves_2DCE[:, d] - middle_2CE)[None])
        for name, square in (("modality_gap", gap), ("modality_gap_centred", own)):
            rows.append(key | {"quantity": name, "domain_a": domain} | root(square))
    return pl.DataFrame(rows, schema=MAP_DISTANCES)


def _halves(shown: Activations, domains: tuple[str, ...], classes: int) -> np.ndarray:
    """Cell means of normalised embeddings, images dealt to two halves in turn: [2, D, C, E]."""
    x_NE = shown.sites[EMBEDDING].astype(np.float64)
    x_NE /= np.maximum(np.linalg.norm(x_NE, axis=1, keepdims=True), SAME)
    turn = pl.int_range(pl.len()).over("domain", "class_id") % 2
    half_N = shown.samples.select(turn).to_series().to_numpy()
    place = {name: number for number, name in enumerate(domains)}
    domain_N = np.array([place[name] for name in shown.samples["domain"]])
    sums = np.zeros((2, len(domains), classes, x_NE.shape[1]))
    counts = np.zeros(sums.shape[:3], dtype=int)
    np.add.at(sums, (half_N, domain_N, shown.labels), x_NE)
    np.add.at(counts, (half_N, domain_N, shown.labels), 1)
    if counts.min() == 0:
        raise ValueError("every (domain, class) cell needs at least two images")
    return sums / counts[..., None]


def mean(values_C: np.ndarray) -> Over:
    """Mean over classes."""
    total, count = values_C.sum(), len(values_C)
    return Over(float(total / count), (total - values_C) / max(count - 1, 1))


def squared_length(vectors_P2CU: np.ndarray) -> Over:
    """⟨mean over classes in one half, the same in the other⟩, mean over pairings."""
    count = vectors_P2CU.shape[2]
    sums = vectors_P2CU.sum(axis=2)
    without = (sums[:, :, None] - vectors_P2CU) / max(count - 1, 1)
    whole = np.einsum("pu,pu->p", sums[:, 0], sums[:, 1]).mean() / count**2
    return Over(float(whole), np.einsum("pcu,pcu->pc", without[:, 0], without[:, 1]).mean(axis=0))


def relative(square: Over, within: Over) -> dict[str, Any]:
    """Signed root of a square over the variance within cells, as columns of a table."""
    if within.without_C.min() <= SAME:
        return {"note": "the images of a cell do not differ"}
    return root(Over(square.whole / within.whole, square.without_C / within.without_C))


def root(square: Over) -> dict[str, Any]:
    """Signed root of a number and of the ends of its interval: an order-keeping change of scale."""
    found = estimate(square)
    ends = {key: found[key] for key in ("value", "lo", "hi") if found.get(key) is not None}
    return found | {key: float(np.sign(end) * np.sqrt(abs(end))) for key, end in ends.items()}


def length(square: Over) -> dict[str, Any]:
    """The same of a square that cannot be negative: neither is the lower end."""
    found = root(square)
    return found | {"lo": max(0.0, found["lo"])} if "lo" in found else found


def estimate(number: Over) -> dict[str, Any]:
    """A number and its jackknife interval over classes: ± t · √((C - 1)/C · Σ (θ_c - θ̄)²)."""
    count = len(number.without_C)
    if count < FEWEST_CLASSES:
        note = f"no interval: {count} classes, not {FEWEST_CLASSES}"
        return {"value": number.whole, "note": note}
    error = float(np.sqrt((count - 1) * number.without_C.var()))
    half = float(t.ppf(0.5 + CONFIDENCE / 2, count - 1)) * error
    value = number.whole
    return {"value": value, "lo": value - half, "hi": value + half, "note": ""}
