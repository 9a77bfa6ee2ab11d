"""The Circuit Shift Score: how far a domain's circuit of all classes is that of another.

Legend: P pairings of halves, D domains, C classes, N nodes, K pairs of domains, S shuffles.
"""

from __future__ import annotations

import numpy as np

from analysis.class_shuffles import band
from analysis.jackknife import LEAST
from analysis.overlaps import ALL_EQUAL, dots, unit_ranks
from analysis.similarity import Similarity
from analysis.site_overlaps import Sharing, members_of_pairs


def circuit_shift(
    means_DCN: np.ndarray, halves_P2DCN: np.ndarray, orders_SN: np.ndarray
) -> Sharing:
    """Spearman's correlation of two domains' scores, which are averaged over classes first.

    CSS(v, SRCC) of Peng et al. 2026 (arXiv 2604.08192), of signed scores: it is high where little
    has shifted. As published it is of all images of a domain; its ceiling is that of halves, which
    have more noise, and therefore a little too low. It has no floor: the other classes are in the
    mean.

    Args:
        means_DCN: scores over all images, of the classes that count.
        halves_P2DCN: the same over halves.
        orders_SN: of `analysis.overlaps.node_orders`.
    """
    domains, classes, _ = means_DCN.shape
    a, b = np.triu_indices(domains, 1)
    whole_DN = unit_ranks(means_DCN.mean(axis=1))
    halves_P2DN = unit_ranks(halves_P2DCN.mean(axis=3))
    ceiling_D = dots(halves_P2DN[:, 0], halves_P2DN[:, 1]).mean(axis=0)
    shuffled_SK = np.stack([dots(whole_DN[a], whole_DN[b][:, order]) for order in orders_SN])
    nothing = Similarity(np.full(len(a), np.nan), np.full((len(a), classes), np.nan))
    return Sharing(
        value=Similarity(dots(whole_DN[a], whole_DN[b]), _left_out(means_DCN)),
        floor=nothing,
        ceiling=Similarity((ceiling_D[a] + ceiling_D[b]) / 2, nothing.left_out),
        chance=shuffled_SK.mean(axis=0),
        chance_band=band(shuffled_SK),
        reasons=(ALL_EQUAL,) * len(a),
        unfit=np.isnan(whole_DN).any(axis=-1) & members_of_pairs(domains),
    )


def _left_out(means_DCN: np.ndarray) -> np.ndarray:
    """The score without every class, [K, C]: means and ranks are made anew."""
    domains, classes, _ = means_DCN.shape
    pairs = np.transpose(np.triu_indices(domains, 1))
    if classes < LEAST:
        return np.full((len(pairs), classes), np.nan)
    rest_DCN = (means_DCN.sum(axis=1, keepdims=True) - means_DCN) / (classes - 1)
    ranks_DCN = unit_ranks(rest_DCN)
    rows = [dots(ranks_DCN[a], ranks_DCN[b]) for a, b in pairs]
    return np.reshape(rows, (len(pairs), classes))
