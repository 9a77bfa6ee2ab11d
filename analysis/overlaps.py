"""Overlaps: how alike two score vectors are, of the same nodes for two domains or two classes.

A score vector holds what every node (or edge) of a site contributes to a class in a domain. Nodes
of several sites may stand side by side. docs/circuit_sharing.md has the equations. A measure is
NaN where a vector says nothing: all scores are 0, or equal.

Legend: P pairings of halves, D domains, C classes, N nodes, K pairs of domains, S shuffles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import ceil
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist
from scipy.stats import hypergeom, rankdata

TOP = 0.1
"""share of a site's nodes that make a set (Kempf et al. 2025)"""
SHUFFLES = 39
"""the fewest that have a band, which is their range: one more value lies in it 19 times of 20"""
ALL_ZERO = "all scores of {} are 0 in a class"
ALL_EQUAL = "all scores of {} are equal in a class"


class Parts(NamedTuple):
    """What stands side by side along N.

    Attributes:
        nodes: how many nodes every site has, in turn.
        top: share of a site's nodes that make its set.
    """

    nodes: tuple[int, ...]
    top: float = TOP

    @property
    def sizes(self) -> list[int]:
        """Nodes in the set of every site: one at least."""
        return [ceil(round(self.top * nodes, 9)) for nodes in self.nodes]

    def split(self, values: np.ndarray) -> list[np.ndarray]:
        """Those of every site: [..., N] → its nodes."""
        return np.split(values, np.cumsum(self.nodes)[:-1], axis=-1)


class Overlap(NamedTuple):
    """A measure of two score vectors.

    Attributes:
        describe: scores [..., N] → what is compared, [..., N]; NaN where a vector says nothing.
        rows: two descriptions → the measure of every vector with its counterpart, [..., C].
        table: two descriptions [C, N] → of every vector of one with every one of the other, [C, C].
        reason: what it means that a domain has none.
    """

    describe: Callable[[np.ndarray, Parts], np.ndarray]
    rows: Callable[[np.ndarray, np.ndarray], np.ndarray]
    table: Callable[[np.ndarray, np.ndarray], np.ndarray]
    reason: str


# --- what is compared ----------------------------------------------------------------------------


def top_sets(scores: np.ndarray, parts: Parts) -> np.ndarray:
    """1 where a node is among its site's `Parts.top` largest by |score|, else 0.

    A node of score 0 is in no set, and equal ones at the edge are all in it, so that the order of
    nodes decides nothing.
    """
    sizes, chosen = np.abs(scores), []
    for part, size in zip(parts.split(sizes), parts.sizes, strict=True):
        least = np.partition(part, -size, axis=-1)[..., -size, None]
        chosen.append((part >= least) & (part > 0))
    sets = np.concatenate(chosen, axis=-1)
    return np.where(sets.any(axis=-1, keepdims=True), sets, np.nan)


def shares(scores: np.ndarray) -> np.ndarray:
    """Scores over the sum of their absolute values: how large a domain's are does not count."""
    return _over(scores, np.abs(scores).sum(axis=-1, keepdims=True))


def unit_ranks(scores: np.ndarray) -> np.ndarray:
    """Ranks, equal scores at their mean rank, centred and of length 1."""
    ranks = rankdata(scores, axis=-1) - (scores.shape[-1] + 1) / 2
    return unit(ranks)


def unit(scores: np.ndarray) -> np.ndarray:
    """Scores of length 1."""
    return _over(scores, np.linalg.norm(scores, axis=-1, keepdims=True))


def _over(values: np.ndarray, size: np.ndarray) -> np.ndarray:
    return values / np.where(size > 0, size, np.nan)


# --- measures ------------------------------------------------------------------------------------


def dots(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """aᵢ · bᵢ of every vector with its counterpart; leading axes broadcast."""
    return np.einsum("...n,...n->...", a, b)


def _products(a_CN: np.ndarray, b_CN: np.ndarray) -> np.ndarray:
    return a_CN @ b_CN.T


def _jaccard(common: np.ndarray, size_a: np.ndarray, size_b: np.ndarray) -> np.ndarray:
    """|A ∩ B| / |A ∪ B|."""
    return common / (size_a + size_b - common)


def _jaccard_rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _jaccard(dots(a, b), a.sum(axis=-1), b.sum(axis=-1))


def _jaccard_table(a_CN: np.ndarray, b_CN: np.ndarray) -> np.ndarray:
    return _jaccard(a_CN @ b_CN.T, a_CN.sum(axis=-1)[:, None], b_CN.sum(axis=-1)[None, :])


def _weighted(distance: np.ndarray) -> np.ndarray:
    """Σ min / Σ max of two vectors of shares, from Σ |a − b|.

    On a node where both have one sign, min(|a|, |b|) = (|a| + |b| − |a − b|) / 2 and max is the
    same with +; where the signs differ, the first is 0 and the second |a| + |b|, as if what helps
    a class and what hurts it were two nodes. Both sums of |.| are 1.
    """
    return (2 - distance) / (2 + distance)


def _weighted_rows(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return _weighted(np.abs(a - b).sum(axis=-1))


def _weighted_table(a_CN: np.ndarray, b_CN: np.ndarray) -> np.ndarray:
    return _weighted(cdist(a_CN, b_CN, "cityblock"))


OVERLAPS: Mapping[str, Overlap] = {
    "jaccard": Overlap(top_sets, _jaccard_rows, _jaccard_table, ALL_ZERO),
    "weighted_jaccard": Overlap(
        lambda scores, _: shares(scores), _weighted_rows, _weighted_table, ALL_ZERO
    ),
    "spearman": Overlap(lambda scores, _: unit_ranks(scores), dots, _products, ALL_EQUAL),
    "cosine": Overlap(lambda scores, _: unit(scores), dots, _products, ALL_ZERO),
}
"""measures by their name in tables"""
PRODUCT = Overlap(lambda scores, _: scores, dots, _products, ALL_ZERO)
"""a · b as it is, of which noise-corrected cosines are made"""


# --- of all domains and classes ------------------------------------------------------------------


@dataclass(frozen=True)
class ClassOverlaps:
    """One measure between halves of the images, class by class.

    Attributes:
        across: of a class in one domain with the same in another, mean over pairings and over
            which half is whose, [K, C].
        within: of a class in one half of a domain's images with every class in the other half,
            mean over pairings, [D, C, C].
        shuffled: of `across` when the nodes of one domain are shuffled, in one pairing, [S, K, C].
    """

    across: np.ndarray
    within: np.ndarray
    shuffled: np.ndarray


def class_overlaps(
    overlap: Overlap, halves_P2DCN: np.ndarray, parts: Parts, orders_SN: np.ndarray
) -> ClassOverlaps:
    """A measure of all pairs of domains, with what it is compared to.

    Half 1 of one domain is compared with half 2 of the other and the reverse, never 1 with 1: where
    cells have the same instances in the same order, one that both domains show is on one side only,
    as it is between halves of one domain.

    Args:
        overlap: the measure.
        halves_P2DCN: scores over the images of two halves.
        parts: what is side by side along N.
        orders_SN: of `node_orders`.
    """
    described = overlap.describe(halves_P2DCN, parts)
    _, _, domains, classes, _ = described.shape
    pairs = list(combinations(range(domains), 2))
    across = np.empty((len(pairs), classes))
    for pair, (a, b) in enumerate(pairs):
        there = overlap.rows(described[:, 0, a], described[:, 1, b])
        back = overlap.rows(described[:, 1, a], described[:, 0, b])
        across[pair] = (there + back).mean(axis=0) / 2
    within = [
        [overlap.table(first[d], second[d]) for d in range(domains)] for first, second in described
    ]
    return ClassOverlaps(
        across, np.mean(within, axis=0), _shuffled(overlap, described[0], orders_SN)
    )


def crossed_overlaps(overlap: Overlap, halves_P2DCN: np.ndarray, parts: Parts) -> np.ndarray:
    """A measure of every class in one domain with every class in another, [K, C, C].

    Halves are compared as in `class_overlaps`, whose `across` is the diagonal.

    Args: those of `class_overlaps`.
    """
    described = overlap.describe(halves_P2DCN, parts)
    _, _, domains, classes, _ = described.shape
    pairs = list(combinations(range(domains), 2))
    crossed = np.zeros((len(pairs), classes, classes))
    for first, second in described:
        for pair, (a, b) in enumerate(pairs):
            crossed[pair] += overlap.table(first[a], second[b]) + overlap.table(second[a], first[b])
    return crossed / (2 * len(described))


def _shuffled(overlap: Overlap, described_2DCN: np.ndarray, orders_SN: np.ndarray) -> np.ndarray:
    """Every domain's first half with later domains' second halves, their nodes shuffled."""
    first, second = described_2DCN.astype(np.float32)  # the spread of chance is far above rounding
    domains, classes, _ = first.shape
    found = np.empty((len(orders_SN), domains * (domains - 1) // 2, classes))
    for shuffle, order in enumerate(orders_SN):
        moved = second[..., order]
        rows = [overlap.rows(first[d], moved[d + 1 :]) for d in range(domains)]
        found[shuffle] = np.concatenate(rows)
    return found


def node_orders(parts: Parts, seed: int) -> np.ndarray:
    """Orders of the nodes within their sites, int [SHUFFLES, N]: the same for all models."""
    rng = np.random.default_rng(seed)
    starts = np.cumsum([0, *parts.nodes[:-1]])
    return np.stack(
        [
            np.concatenate(
                [
                    start + rng.permutation(nodes)
                    for start, nodes in zip(starts, parts.nodes, strict=True)
                ]
            )
            for _ in range(SHUFFLES)
        ]
    )


def random_jaccard(parts: Parts) -> float:
    """Jaccard index that two sets of random nodes have in expectation.

    Of every site they have `Parts.sizes` nodes, so that what they have in common is a sum of
    hypergeometric numbers.
    """
    chances = np.ones(1)
    for nodes, size in zip(parts.nodes, parts.sizes, strict=True):
        chances = np.convolve(chances, hypergeom.pmf(np.arange(size + 1), nodes, size, size))
    common = np.arange(len(chances))
    return float(chances @ (common / (2 * common[-1] - common)))
