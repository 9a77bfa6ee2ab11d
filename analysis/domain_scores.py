"""The measures of `analysis.similarity` for all pairs of domains at one site, and their references.

Legend: P pairings of halves, D domains, C classes, U units, N pairs of domains, S shuffles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from analysis.cells import CellMeans
from analysis.class_shuffles import (
    class_orders,
    shuffled_features,
    shuffled_kernels,
    shuffled_rotations,
)
from analysis.neighbours import nearest, neighbour_ranks, neighbours, shared_neighbours
from analysis.similarity import (
    ANY_BASIS,
    LINEAR,
    RBF,
    SAME_BASIS,
    Product,
    Similarity,
    cosine,
    noiseless,
    products_of_halves,
    without_first,
)

Shuffled = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""out of `analysis.class_shuffles`"""
CONSTANT = "all class means of {} are equal"
REMOVED = "the class means of {} have no more directions than are removed"
NOISY = "not estimable: the class means of {} are not clear of the noise in them"


@dataclass(frozen=True)
class Scores:
    """A measure of N pairs of domains. NaN is what cannot be estimated.

    Attributes:
        found: values [N], and without every class [N, C].
        chance: values with shuffled classes, [S, N].
        ceiling: the measure of halves of one domain, mean of the pair's two, [N]; NaN of a
            difference, which has none.
        reason: why a domain's class means allow no value.
        unfit: of which domains that holds, bool [D].
    """

    found: Similarity
    chance: np.ndarray
    ceiling: np.ndarray
    reason: str
    unfit: np.ndarray

    def __sub__(self, other: Scores) -> Scores:
        """The difference of two measures; of the shuffles those that both have.

        The difference of their ceilings is no ceiling: between halves of one domain's images it is
        what noise alone leaves, and the lower the less noise there is.
        """
        shuffles = min(len(self.chance), len(other.chance))
        return Scores(
            self.found - other.found,
            self.chance[:shuffles] - other.chance[:shuffles],
            np.full_like(self.ceiling, np.nan),
            self.reason,
            self.unfit | other.unfit,
        )


@dataclass(frozen=True)
class Products:
    """A product of class means between and within domains, class by class.

    Attributes:
        pairs: positions along D of the two domains of every pair, [N] twice.
        share: `analysis.similarity.Product.share`.
        across: what classes add to the product of two domains, [N, C].
        own: of a domain with itself, [D, C].
        between_halves: of the two halves of a domain's images, [P, D, C].
        own_halves: of a half with itself, [P, 2, D, C].
        shuffled: products of two domains with shuffled classes, [S, N].
    """

    pairs: tuple[np.ndarray, np.ndarray]
    share: float
    across: np.ndarray
    own: np.ndarray
    between_halves: np.ndarray
    own_halves: np.ndarray
    shuffled: np.ndarray

    def plain(self, reason: str = CONSTANT) -> Scores:
        """The cosine of class means as they are.

        Args:
            reason: what it means that a domain has no product with itself.
        """
        halves = cosine(
            self.between_halves, self.own_halves[:, 0], self.own_halves[:, 1], self.share
        )
        unfit = self.own.sum(axis=-1) <= 0
        ceiling = _of_pairs(halves.value.mean(axis=0), self.pairs)
        return self._scores(self.own, ceiling, unfit, reason)

    def corrected(self) -> Scores:
        """The cosine free of the noise in class means; its ceiling is 1 by construction.

        Noise in the means of two domains is independent and averages out of T(x, y), but a mean's
        product with itself holds its noise squared. The halves of one domain's images have
        independent noise again: T(x, y) / √(T(x₁, x₂) T(y₁, y₂)) (Spearman's 1904 correction for
        attenuation, with products in the place of correlations; crossnobis distances, Walther et
        al. 2016, rest on the same). It may be above 1. Only for LINEAR and SAME_BASIS, whose
        products noise does not move in expectation.
        """
        own = noiseless(self.between_halves, self.own_halves, self.share)
        return self._scores(own, np.ones(len(self.across)), np.isnan(own).any(axis=-1), NOISY)

    def _scores(
        self, own: np.ndarray, ceiling: np.ndarray, unfit: np.ndarray, reason: str
    ) -> Scores:
        a, b = self.pairs
        found = cosine(self.across, own[a], own[b], self.share)
        size = np.where(unfit, np.nan, own.sum(axis=-1))
        scale = np.sqrt(size[a] * size[b])
        ceiling = np.where(np.isnan(scale), np.nan, ceiling)
        return Scores(found, self.shuffled / scale, ceiling, reason, unfit)


def _of_pairs(of_domains: np.ndarray, pairs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return (of_domains[pairs[0]] + of_domains[pairs[1]]) / 2


class SiteClasses:
    """The class means of all domains at one site, and what measures share of them.

    Every part is made when it is first asked for.

    Args:
        cells: of the classes that count.
        site: its name.
        seed: of the shuffles; None: there are none.
    """

    def __init__(self, cells: CellMeans, site: str, seed: int | None) -> None:
        self.means_DCU = cells.means(site)
        self._halves_P2DCU = np.stack([np.stack(pair) for pair in cells.halves(site)])
        self._orders = class_orders(len(cells.classes), seed)
        self.pairs = np.triu_indices(len(cells.domains), 1)

    @cached_property
    def linear(self) -> Products:
        return self._products(LINEAR, shuffled_kernels)

    @cached_property
    def rbf(self) -> Products:
        return self._products(RBF, shuffled_kernels)

    @cached_property
    def same_basis(self) -> Products:
        return self._products(SAME_BASIS, shuffled_features)

    @cached_property
    def any_basis(self) -> Products:
        return self._products(ANY_BASIS, shuffled_rotations)

    @cached_property
    def trimmed(self) -> Products:
        means = without_first(self.means_DCU)
        halves = without_first(self.means_DCU, self._halves_P2DCU)
        return self._products_of(means, halves, LINEAR, shuffled_kernels)

    def _products(self, product: Product, shuffled: Shuffled) -> Products:
        return self._products_of(self.means_DCU, self._halves_P2DCU, product, shuffled)

    def _products_of(
        self, means: np.ndarray, halves: np.ndarray, product: Product, shuffled: Shuffled
    ) -> Products:
        a, b = self.pairs
        whole = product.describe(means)
        between, own = products_of_halves(product, halves)
        return Products(
            pairs=self.pairs,
            share=product.share(means.shape[1]),
            across=product.rows(whole[a], whole[b]),
            own=product.own(whole),
            between_halves=between,
            own_halves=own,
            shuffled=shuffled(whole, self._orders)[:, a, b],
        )

    def neighbours(self) -> Scores:
        """Mutual nearest neighbours."""
        count = neighbours(self.means_DCU.shape[1])
        ranks, halves = neighbour_ranks(self.means_DCU), neighbour_ranks(self._halves_P2DCU)
        a, b = self.pairs
        agreement = shared_neighbours(halves[:, 0], halves[:, 1], count).value.mean(axis=0)
        unfit = np.asarray((ranks < 0).all(axis=(-2, -1)))
        chance = shuffled_kernels(nearest(ranks, count), self._orders)[:, a, b]
        return Scores(
            shared_neighbours(ranks[a], ranks[b], count),
            chance / (count * ranks.shape[-1]),
            _of_pairs(agreement, self.pairs),
            CONSTANT,
            unfit,
        )


MEASURES: Mapping[str, Callable[[SiteClasses], Scores]] = {
    "cka": lambda site: site.linear.plain(),
    "cka_rbf": lambda site: site.rbf.plain(),
    "cka_nc": lambda site: site.linear.corrected(),
    "s_id": lambda site: site.same_basis.plain(),
    "s_id_nc": lambda site: site.same_basis.corrected(),
    "s_rot": lambda site: site.any_basis.plain(),
    "rot_minus_id": lambda site: site.any_basis.plain() - site.same_basis.plain(),
    "knn": SiteClasses.neighbours,
    "cka_minus_pcs": lambda site: site.trimmed.plain(REMOVED),
}
"""measures of pairs of domains, by the name in tables"""
