"""What an autoencoder's features fire for: classes in many domains, domains, or both at once.

Legend: N images, J features, D domains, C classes, G groups (domains or classes), R shuffles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from scipy.sparse import csr_array
from scipy.stats import gamma

from analysis.statistics import benjamini_hochberg

if TYPE_CHECKING:
    from analysis.sae_codes import Places

SHUFFLES = 200
ENOUGH = 10
"""shuffles at least as extreme as the truth from which their share is its p-value"""
SEVERAL = 15
"""images of a feature from which its entropy has a tail that a gamma distribution follows"""
ALPHA = 0.05
ROUNDING = 1e-9
TOP_IMAGES = 8
SHARED, DOMAIN, BOTH, OTHER, SILENT = (
    "shared-class",
    "domain",
    "class×domain",
    "dense/other",
    "silent",
)
KINDS = (SHARED, DOMAIN, BOTH, OTHER, SILENT)


@dataclass(frozen=True)
class Selectivity:
    """How evenly features fire over groups, and how evenly they would by chance.

    Attributes:
        entropy_J: of the shares of the groups in a feature's rate, over log G: 1 where it fires
            alike in all, 0 where it does in one; NaN of a feature that never fires.
        chance_J: its mean over shuffles.
        p_J: of an entropy this low by chance; 1 of a feature that never fires.
        top_J: the group in which it fires most.
    """

    entropy_J: np.ndarray
    chance_J: np.ndarray
    p_J: np.ndarray
    top_J: np.ndarray


def firing_rates(codes: csr_array, places: Places) -> np.ndarray:
    """Share of the images of every cell on which a feature fires, [D, C, J]."""
    return places.means((codes > 0).astype(np.float64))


def entropy(rates_GJ: np.ndarray) -> np.ndarray:
    """H / log G of every feature's rates in G groups, [J]; NaN where all are 0."""
    totals_J = rates_GJ.sum(axis=0)
    shares_GJ = rates_GJ / np.where(totals_J > 0, totals_J, 1)
    logs_GJ = np.log(np.where(shares_GJ > 0, shares_GJ, 1))
    found_J = -(shares_GJ * logs_GJ).sum(axis=0) / np.log(len(rates_GJ))
    return np.where(totals_J > 0, np.maximum(found_J, 0), np.nan)


def selectivity(
    codes: csr_array,
    group_N: np.ndarray,
    within_N: np.ndarray,
    groups: int,
    rng: np.random.Generator,
) -> Selectivity:
    """Entropy of features over groups, against groups shuffled within the other label.

    A feature that fires on few images fires in few groups by chance alone: every feature has a
    null of its own. Its p-value is the share of shuffles with an entropy as low. Where fewer than
    ENOUGH are, and the feature fires on SEVERAL images, it is the tail of a gamma distribution
    with the minimum, mean and variance of log G − H over shuffles: 2 n times that is the statistic
    of the G-test, asymptotically χ², a gamma. It begins at the minimum: n images are mostly in n of
    many groups, log G − H is log G − log n there, and only coincidences add to it. The entropy of
    a feature of fewer images has few values, and no tail to extrapolate.

    Args:
        codes: [N, J].
        group_N: domain (or class) of every image.
        within_N: its class (or domain); labels are shuffled among the images that share it.
        groups: G.
        rng: of the shuffles.
    """
    firing = codes.tocoo()
    rows, columns = firing.coords

    def rates(labels_N: np.ndarray) -> np.ndarray:
        cells = labels_N * (int(within_N.max()) + 1) + within_N
        weights = 1 / np.bincount(cells)[cells]  # all cells of a group weigh alike
        places = labels_N[rows] * codes.shape[1] + columns
        flat = np.bincount(places, weights[rows], minlength=groups * codes.shape[1])
        return flat.reshape(groups, -1)

    truth_GJ = rates(group_N)
    shuffled = (shuffled_within(group_N, within_N, rng) for _ in range(SHUFFLES))
    lack_RJ = np.stack([1 - entropy(rates(labels)) for labels in shuffled])
    entropy_J = entropy(truth_GJ)
    images_J = np.bincount(columns, minlength=codes.shape[1])
    p_J = _p_values(1 - entropy_J, lack_RJ, images_J)
    return Selectivity(entropy_J, 1 - lack_RJ.mean(axis=0), p_J, truth_GJ.argmax(0))


def _p_values(lack_J: np.ndarray, lack_RJ: np.ndarray, images_J: np.ndarray) -> np.ndarray:
    """Of a lack of entropy as large as the truth's, from that of shuffles.

    Args:
        lack_J: the truth's, 1 − H / log G.
        lack_RJ: of shuffles.
        images_J: on how many images each feature fires.
    """
    extreme_J = (lack_RJ >= lack_J - ROUNDING).sum(axis=0)
    counted_J = (1 + extreme_J) / (1 + len(lack_RJ))
    least_J, variance_J = lack_RJ.min(axis=0), lack_RJ.var(axis=0)
    mean_J = lack_RJ.mean(axis=0) - least_J
    varies_J = variance_J > ROUNDING**2
    shape_J = np.divide(mean_J**2, variance_J, out=np.ones_like(mean_J), where=varies_J)
    scale_J = np.divide(variance_J, mean_J, out=np.ones_like(mean_J), where=varies_J)
    tail_J = gamma.sf(lack_J - least_J, shape_J, scale=scale_J)
    rare_J = (extreme_J < ENOUGH) & varies_J & (images_J >= SEVERAL)
    found_J = np.where(rare_J, np.minimum(counted_J, tail_J), counted_J)
    return np.where(np.isnan(lack_J), 1, found_J)


def shuffled_within(
    group_N: np.ndarray, within_N: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The labels [N] in a random order among the images of equal `within`."""
    found = np.empty_like(group_N)
    found[np.argsort(within_N, kind="stable")] = group_N[
        np.lexsort((rng.random(len(group_N)), within_N))
    ]
    return found


def kinds(domains: Selectivity, classes: Selectivity, d: int, c: int) -> list[str]:
    """The kind of every feature, one of KINDS.

    A feature is selective for classes (domains) where it fires as unevenly as if in half of them
    or fewer, exp H ≤ C / 2, and chance does not (Benjamini and Hochberg over features that fire).
    Shared: selective for classes, while it fires as evenly as in more than half of the domains.

    Args:
        domains, classes: selectivity of the same features.
        d, c: numbers of domains and classes.
    """
    fires_J = ~np.isnan(domains.entropy_J)
    few_d, few_c = _few(domains.entropy_J, d), _few(classes.entropy_J, c)
    sure_d, sure_c = _sure(domains.p_J, fires_J), _sure(classes.p_J, fires_J)
    by_domain, by_class = few_d & sure_d, few_c & sure_c
    found_J = np.full(len(fires_J), OTHER, dtype=object)
    found_J[by_class & ~few_d] = SHARED
    found_J[by_domain & ~few_c] = DOMAIN
    found_J[by_domain & by_class] = BOTH
    found_J[~fires_J] = SILENT
    return found_J.tolist()


def _few(entropy_J: np.ndarray, groups: int) -> np.ndarray:
    with np.errstate(invalid="ignore"):  # NaN: never fires, and is not few
        return np.exp(entropy_J * np.log(groups)) <= groups / 2 + ROUNDING


def _sure(p_J: np.ndarray, fires_J: np.ndarray) -> np.ndarray:
    found_J = np.zeros(len(p_J), dtype=bool)
    found_J[fires_J] = np.array(benjamini_hochberg(p_J[fires_J].tolist())) <= ALPHA
    return found_J


def top_images(codes: csr_array, ids: Sequence[str]) -> list[list[str]]:
    """Ids of the TOP_IMAGES images with the largest code of every feature, largest first."""
    by_feature = codes.tocsc()
    names = np.asarray(ids, dtype=object)
    found = []
    for start, stop in zip(by_feature.indptr[:-1], by_feature.indptr[1:], strict=True):
        values, rows = by_feature.data[start:stop], by_feature.indices[start:stop]
        best = np.lexsort((rows, -values))[:TOP_IMAGES]
        found.append(names[rows[best]].tolist())
    return found


def feature_names(
    decoder_JU: np.ndarray, names: Sequence[str], texts_VE: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """The text nearest to each feature by cosine, and the cosine (Rao et al. 2024).

    Args:
        decoder_JU: features of the embedding: U = E.
        names: of the texts, V.
        texts_VE: their embeddings.
    """
    texts = texts_VE / np.linalg.norm(texts_VE, axis=1, keepdims=True)
    cosines_JV = decoder_JU @ texts.T
    best_J = cosines_JV.argmax(axis=1)
    return [names[i] for i in best_J], cosines_JV[np.arange(len(best_J)), best_J]


def feature_rows(
    codes: csr_array,
    places: Places,
    domains: Sequence[str],
    classes: Sequence[str],
    rng: np.random.Generator,
) -> pl.DataFrame:
    """A row per feature: how often, in which domains and for which classes it fires.

    Columns: `feature`, `rate`, `domain_entropy`, `class_entropy` with their `_chance`,
    `p_domain`, `p_class`, `kind`, `top_domain`, `top_class`, `note`. Of a feature that fires on no
    test image all but the first two are null.
    """
    by_domain = selectivity(codes, places.domain_N, places.class_N, len(domains), rng)
    by_class = selectivity(codes, places.class_N, places.domain_N, len(classes), rng)
    table = pl.DataFrame(
        {
            "feature": np.arange(codes.shape[1]),
            "rate": firing_rates(codes, places).mean(axis=(0, 1)),
            "domain_entropy": by_domain.entropy_J,
            "domain_entropy_chance": by_domain.chance_J,
            "class_entropy": by_class.entropy_J,
            "class_entropy_chance": by_class.chance_J,
            "p_domain": by_domain.p_J,
            "p_class": by_class.p_J,
            "kind": kinds(by_domain, by_class, len(domains), len(classes)),
            "top_domain": [domains[i] for i in by_domain.top_J],
            "top_class": [classes[i] for i in by_class.top_J],
        }
    )
    silent = pl.col("kind") == SILENT
    kept = ["feature", "rate", "kind"]
    return table.with_columns(
        pl.when(~silent).then(pl.exclude(kept)),
        note=pl.when(silent).then(pl.lit("fires on no test image")).otherwise(pl.lit("")),
    )
