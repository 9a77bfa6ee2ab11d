"""What domains share at one site: overlaps of a set of classes, with their floor and ceiling.

Legend: P pairings of halves, D domains, C classes, N nodes, K pairs of domains, S shuffles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from analysis.class_shuffles import band
from analysis.jackknife import LEAST
from analysis.overlaps import (
    OVERLAPS,
    PRODUCT,
    Parts,
    class_overlaps,
    crossed_overlaps,
    dots,
    node_orders,
    random_jaccard,
)
from analysis.similarity import Similarity, cosine, noiseless

CORRECTED = "cosine_nc"
Floor = Literal["same_domain", "other_domain"]
NOISY = "not estimable: the scores of {} are not clear of the noise in them"
NO_SPAN = "not estimable: in {} a class is not clearly closer to itself than to other classes"


@dataclass(frozen=True)
class Sharing:
    """A measure of K pairs of domains, for a set of classes. NaN is what cannot be estimated.

    Attributes:
        value: of a class in two domains, mean over classes.
        floor: of two classes, in one domain (mean over both domains) or in the two; NaN where
            there is none.
        ceiling: of a class in two halves of one domain's images, mean over both domains.
        chance: with the nodes of one domain shuffled, in expectation, [K].
        chance_band: what 95 % of the shuffles lie between, [2, K].
        reasons: why a pair would have no value, [K].
        unfit: of which of its domains that holds, bool [K, D].
    """

    value: Similarity
    floor: Similarity
    ceiling: Similarity
    chance: np.ndarray
    chance_band: np.ndarray
    reasons: tuple[str, ...]
    unfit: np.ndarray

    def normalised(self) -> Sharing:
        """(value − floor) / (ceiling − floor): 0 like another class, 1 like other images.

        A ratio of means over classes. NaN where ceiling − floor is not above 0 by more than its
        own jackknife's interval: the ratio would have no bounded interval (Fieller 1954).
        """
        span = self.ceiling - self.floor
        lo, _ = span.interval()
        is_clear = lo > 0
        size = Similarity(
            np.where(is_clear, span.value, np.nan),
            np.where(is_clear[:, None] & (span.left_out > 0), span.left_out, np.nan),
        )
        is_new = ~is_clear & ~np.isnan(self.value.value)
        return replace(
            self,
            value=_ratio(self.value - self.floor, size),
            floor=_ratio(self.floor - self.floor, size),
            ceiling=_ratio(size, size),
            chance=(self.chance - self.floor.value) / size.value,
            chance_band=(self.chance_band - self.floor.value) / size.value,
            reasons=tuple(np.where(is_new, NO_SPAN, self.reasons)),
            unfit=np.where(is_new[:, None], members_of_pairs(self.unfit.shape[1]), self.unfit),
        )


def _ratio(part: Similarity, whole: Similarity) -> Similarity:
    return Similarity(part.value / whole.value, part.left_out / whole.left_out)


def members_of_pairs(domains: int) -> np.ndarray:
    """Which two domains make every pair, bool [K, D]."""
    pairs = np.triu_indices(domains, 1)
    return np.eye(domains, dtype=bool)[pairs[0]] | np.eye(domains, dtype=bool)[pairs[1]]


class SiteOverlaps:
    """Every overlap at one site, or at several side by side; class by class, so that any set of
    classes is an average.

    Args:
        halves_P2DCN: scores over the images of the halves of every pairing.
        parts: what is side by side along N.
        seed: of the shuffles behind chance.
        floor: whose other classes make the floor: those of the same domain, or of the other one.
    """

    def __init__(
        self, halves_P2DCN: np.ndarray, parts: Parts, seed: int, floor: Floor = "same_domain"
    ) -> None:
        orders = node_orders(parts, seed)
        self._overlaps = {
            name: class_overlaps(overlap, halves_P2DCN, parts, orders)
            for name, overlap in OVERLAPS.items()
        }
        self._products = class_overlaps(PRODUCT, halves_P2DCN, parts, orders)
        self._between_PDC = dots(halves_P2DCN[:, 0], halves_P2DCN[:, 1])
        self._own_P2DC = dots(halves_P2DCN, halves_P2DCN)
        self._expected = {"jaccard": random_jaccard(parts)}
        self._crossed: dict[str, np.ndarray] = {}
        if floor == "other_domain":
            measured = {**OVERLAPS, CORRECTED: PRODUCT}
            for name, overlap in measured.items():
                self._crossed[name] = crossed_overlaps(overlap, halves_P2DCN, parts)
        self.pairs = np.triu_indices(halves_P2DCN.shape[2], 1)

    def plain(self, measure: str, members: Sequence[int]) -> Sharing:
        """A measure of OVERLAPS, mean over some classes.

        Args:
            measure: its name.
            members: positions along C.
        """
        found, chosen = self._overlaps[measure], list(members)
        within_DCC = found.within[:, chosen][:, :, chosen]
        same_DC = np.diagonal(within_DCC, axis1=-2, axis2=-1)
        shuffled_SK = found.shuffled[:, :, chosen].mean(axis=-1)
        expected = self._expected.get(measure)
        unfit_KD = np.isnan(same_DC).any(axis=-1) & members_of_pairs(len(same_DC))
        return Sharing(
            value=mean_of_classes(found.across[:, chosen]),
            floor=self._others(measure, within_DCC, chosen),
            ceiling=self._of_pairs(mean_of_classes(same_DC)),
            chance=np.full(len(unfit_KD), expected) if expected else shuffled_SK.mean(axis=0),
            chance_band=band(shuffled_SK),
            reasons=(OVERLAPS[measure].reason,) * len(shuffled_SK[0]),
            unfit=unfit_KD,
        )

    def corrected(self, members: Sequence[int]) -> Sharing:
        """Cosine free of the noise of few images: Σ a · b / √(Σ a₁ · a₂ Σ b₁ · b₂) over classes.

        Noise in the halves of one domain's images is independent, so that their product holds
        none, where a vector's product with itself holds its noise squared (`analysis.similarity`
        has the same for class means). It may be above 1, which is its ceiling by construction.

        Args:
            members: positions along C, `analysis.similarity.MIN_CLASSES` or more.
        """
        chosen, (a, b) = list(members), self.pairs
        own_DC = noiseless(self._between_PDC[..., chosen], self._own_P2DC[..., chosen], 1.0)
        value = cosine(self._products.across[:, chosen], own_DC[a], own_DC[b], 1.0)
        scale = np.sqrt(own_DC[a].sum(axis=-1) * own_DC[b].sum(axis=-1))
        shuffled_SK = self._products.shuffled[:, :, chosen].sum(axis=-1) / scale
        return Sharing(
            value=value,
            floor=self._corrected_floor(chosen, mean_of_classes(own_DC)),
            ceiling=Similarity(np.ones_like(value.value), np.ones_like(value.left_out)),
            chance=shuffled_SK.mean(axis=0),
            chance_band=band(shuffled_SK),
            reasons=(NOISY,) * len(a),
            unfit=np.isnan(own_DC).any(axis=-1) & members_of_pairs(len(own_DC)),
        )

    def _corrected_floor(self, chosen: list[int], own: Similarity) -> Similarity:
        """Products of different classes over those that domains have with themselves, [K]."""
        within_DCC = self._products.within[:, chosen][:, :, chosen]
        if CORRECTED not in self._crossed:
            return self._of_pairs(_ratio(mean_of_others(within_DCC), own))
        a, b = self.pairs
        scale = Similarity(
            np.sqrt(own.value[a] * own.value[b]), np.sqrt(own.left_out[a] * own.left_out[b])
        )
        return _ratio(self._others(CORRECTED, within_DCC, chosen), scale)

    def _others(self, measure: str, within_DCC: np.ndarray, chosen: list[int]) -> Similarity:
        """A measure of different classes, in one domain or, where asked, in the two, [K]."""
        if measure not in self._crossed:
            return self._of_pairs(mean_of_others(within_DCC))
        return mean_of_others(self._crossed[measure][:, chosen][:, :, chosen])

    def _of_pairs(self, of_domains: Similarity) -> Similarity:
        a, b = self.pairs
        value, left_out = of_domains.value, of_domains.left_out
        return Similarity((value[a] + value[b]) / 2, (left_out[a] + left_out[b]) / 2)


def mean_of_classes(values: np.ndarray) -> Similarity:
    """Mean of [..., C]; without a class NaN where there are fewer than LEAST."""
    classes = values.shape[-1]
    left_out = np.full(values.shape, np.nan)
    if classes >= LEAST:
        left_out = (values.sum(axis=-1, keepdims=True) - values) / (classes - 1)
    return Similarity(values.mean(axis=-1), left_out)


def mean_of_others(table: np.ndarray) -> Similarity:
    """Mean of [..., C, C] over pairs of different classes; NaN where there is none."""
    classes, same = table.shape[-1], np.diagonal(table, axis1=-2, axis2=-1)
    with_class = table.sum(axis=-1) + table.sum(axis=-2) - 2 * same
    total = with_class.sum(axis=-1) / 2  # every pair of different classes is with two
    left_out = np.full(with_class.shape, np.nan)
    if classes >= LEAST:
        left_out = (total[..., None] - with_class) / ((classes - 1) * (classes - 2))
    pairs = classes * (classes - 1)
    return Similarity(total / pairs if pairs else np.full(total.shape, np.nan), left_out)
