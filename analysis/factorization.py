"""Whether a layer holds class plus domain, and predicts cells that the sum never saw.

The additive fit is made on the cells that a test domain and a draw leave: all but the held-out
classes in the test domain. What it says of these is then held against their images.

A sum of squares of cell means counts the noise of the few images behind them. Every such sum is
therefore taken between two independent halves of the images, which have the signal in common and
nothing else: E⟨a₁, a₂⟩ = |a|². That holds for whatever is linear in the cells, hence for the fit.
All sums are kept per class: an interval over classes leaves terms out, and fits nothing again.

Legend: D domains, C classes, H held-out classes, U units, E embedding channels, K sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import polars as pl
from scipy.special import gammaln

from analysis.additive_fit import AdditiveFit, additive_fit
from analysis.cells import CellMeans
from analysis.jackknife import Scored, jackknife
from analysis.statistics import Refused
from gen.evaluation.metrics import wilson
from gen.schema import SiteLevel

EMBEDDING = "embedding"
"""the site whose cells are compared with class texts"""
LEAST_RELIABLE = 0.1
"""share of a sum of squares that must be signal for the sum to be a denominator"""
NONE_HELD_OUT = "no held-out class has enough test images"
FACTORIZATION: dict[str, type[pl.DataType]] = {
    **{"site": pl.String, "level": pl.String, "depth": pl.Int64, "test_domain": pl.String},
    **{"draw": pl.Int64, "quantity": pl.String, "value": pl.Float64, "lo": pl.Float64},
    **{"hi": pl.Float64, "n": pl.Int64, "chance": pl.Float64, "note": pl.String},
}
WITHOUT_DOMAIN, WITHOUT_CLASS = "_without_domain", "_without_class"
HELD_OUT_COSINES = tuple(
    f"held_out_cosine{suffix}"
    for suffix in (
        *("", WITHOUT_DOMAIN, WITHOUT_CLASS),
        *(f"_minus{WITHOUT_DOMAIN}", f"_minus{WITHOUT_CLASS}"),
    )
)
Part: TypeAlias = Callable[[np.ndarray, AdditiveFit], np.ndarray]
"""from cells [D, C, U] and their fit to something linear in the cells, [D, C, U] or [H, U]"""
Statistic: TypeAlias = Callable[[np.ndarray], float | Refused]
"""of the positions of classes that are kept"""


def factorization(
    cells: CellMeans,
    test_domain: str,
    held_out: Mapping[int, Sequence[int]],
    texts_CE: np.ndarray | None,
    places: Mapping[str, tuple[SiteLevel, int]] | None = None,
) -> pl.DataFrame:
    """Quality of the additive fit at every site, per draw (docs/factorization.md).

    Args:
        cells: mean activations.
        test_domain: whose held-out cells are left out of the fit.
        held_out: positions along C of the held-out classes, by draw.
        texts_CE: class embeddings, for what is predicted at the site `embedding`; None: there are
            no such rows.
        places: level and depth by site; None: all sites are residual, in the order of `cells`.

    Raises:
        ValueError: there is one domain only, or no class is seen in the test domain.
    """
    if len(cells.domains) < 2:
        raise ValueError("an additive fit needs two domains")
    domain = cells.domains.index(test_domain)
    rows = []
    if places is None:
        places = {site: (SiteLevel.residual, depth) for depth, site in enumerate(cells.folds)}
    for site in cells.folds:
        halves, means, (level, depth) = cells.halves(site), cells.means(site), places[site]
        for draw, members in sorted(held_out.items()):
            fits = _fitted(halves, means, domain, np.array(members, dtype=int))
            found = [*_seen_rows(fits), *_held_out_rows(fits), *_factor_rows(fits)]
            if site == EMBEDDING and texts_CE is not None:
                found += _accuracy_rows(fits, texts_CE)
            key = {"site": site, "level": level.value, "depth": depth}
            key |= {"test_domain": test_domain, "draw": draw}
            rows += [key | row for row in found]
    return pl.DataFrame(rows, schema=FACTORIZATION)


@dataclass(frozen=True)
class _Fits:
    """The cells of one site and their fits: of all images, and of two halves in several ways.

    Attributes:
        domain: position of the test domain.
        held_out: positions of the held-out classes, int [H].
        seen: which cells are fitted, bool [D, C].
        whole: cells [D, C, U] and their fit, of all images.
        pairs: the same of the halves, per pairing.
    """

    domain: int
    held_out: np.ndarray
    seen: np.ndarray
    whole: tuple[np.ndarray, AdditiveFit]
    pairs: list[tuple[tuple[np.ndarray, AdditiveFit], tuple[np.ndarray, AdditiveFit]]]

    def signal(self, part: Part, other: Part | None = None) -> np.ndarray:
        """Per class the product of two parts, one of either half: unbiased, [C] or [H]."""
        other = other or part
        found = [
            (_products(part(*a), other(*b)) + _products(part(*b), other(*a))) / 2
            for a, b in self.pairs
        ]
        return np.mean(found, axis=0)

    def noisy(self, part: Part) -> np.ndarray:
        """Per class the square of a part, of all images: their noise counts as signal."""
        return _products(part(*self.whole), part(*self.whole))


def _fitted(
    halves: Sequence[tuple[np.ndarray, np.ndarray]],
    means: np.ndarray,
    domain: int,
    held_out: np.ndarray,
) -> _Fits:
    seen = np.ones(means.shape[:2], dtype=bool)
    seen[domain, held_out] = False
    pairs = [((a, additive_fit(a, seen)), (b, additive_fit(b, seen))) for a, b in halves]
    return _Fits(domain, held_out, seen, (means, additive_fit(means, seen)), pairs)


def _products(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Sums of products per class, the second axis from the end."""
    products = (a * b).sum(axis=-1)
    return products if products.ndim == 1 else products.sum(axis=0)


def _seen_rows(fits: _Fits) -> Iterator[dict]:
    """How much of the seen cells is additive, and how much of what domains leave is class."""
    seen = fits.seen[..., None]
    count, (domains, classes) = int(fits.seen.sum()), fits.seen.shape

    def total(cells: np.ndarray, _fit: AdditiveFit) -> np.ndarray:
        return seen * (cells - (seen * cells).sum(axis=(0, 1)) / count)

    def within(cells: np.ndarray, _fit: AdditiveFit) -> np.ndarray:
        means = (seen * cells).sum(axis=1, keepdims=True) / seen.sum(axis=1, keepdims=True)
        return seen * (cells - means)

    def left(cells: np.ndarray, fit: AdditiveFit) -> np.ndarray:
        return seen * (cells - fit.cells_DCU)

    # what a fit of classes leaves of cells that have none in common, by degrees of freedom: the
    # mean over orders of the classes in every domain (exact where every cell is seen)
    unexplained = (count - domains - classes + 1) / (count - domains)
    sums = {part: fits.signal(part) for part in (total, within, left)}
    raw = {part: fits.noisy(part) for part in (total, within, left)}
    for name, of, noise, whole in (
        ("r2", sums, raw, total),
        ("r2_uncorrected", raw, raw, total),
        ("class_r2", sums, raw, within),
    ):
        scored = _explained(of[left], of[whole], noise[whole])
        chance = None
        if scored.value is not None:
            chance = float(1 - unexplained * of[within].sum() / of[whole].sum())
        yield _row(name, scored, classes, chance)


def _explained(left: np.ndarray, whole: np.ndarray, noisy: np.ndarray) -> Scored:
    """1 − Σ left / Σ whole, all per class, [C]."""

    def statistic(kept: np.ndarray) -> float | Refused:
        ratio = _ratio(left[kept].sum(), whole[kept].sum(), noisy[kept].sum())
        return ratio if isinstance(ratio, Refused) else 1 - ratio

    return jackknife(statistic, len(left))


def _ratio(part: float, whole: float, noisy: float) -> float | Refused:
    """part / whole, where enough of what was measured as `noisy` is signal."""
    if whole <= LEAST_RELIABLE * noisy:
        return Refused("too little of the variance is common to both halves of the images")
    return float(part / whole)


def _held_out_rows(fits: _Fits) -> Iterator[dict]:
    """Cosines between what is predicted for the held-out cells and what they are.

    Both as deviations from μ. Two baselines predict by one factor alone; what the sum has more than
    either is a difference over the same classes, with an interval of its own.
    """
    domain, members = fits.domain, fits.held_out

    def true(cells: np.ndarray, fit: AdditiveFit) -> np.ndarray:
        return cells[domain, members] - fit.mean_U

    def predicted(_cells: np.ndarray, fit: AdditiveFit) -> np.ndarray:
        return fit.class_CU[members] + fit.domain_DU[domain]

    def by_class(_cells: np.ndarray, fit: AdditiveFit) -> np.ndarray:
        return fit.class_CU[members]

    def by_domain(_cells: np.ndarray, fit: AdditiveFit) -> np.ndarray:
        return np.broadcast_to(fit.domain_DU[domain], (len(members), fit.domain_DU.shape[1]))

    parts = {"": predicted, WITHOUT_DOMAIN: by_class, WITHOUT_CLASS: by_domain}
    if not len(members):
        for name in HELD_OUT_COSINES:
            yield _row(name, Scored(None, None, None, NONE_HELD_OUT), 0, None)
        return
    cosines = {suffix: _cosine(fits, part, true) for suffix, part in parts.items()}
    for suffix, cosine in cosines.items():
        scored = jackknife(cosine, len(members))
        chance = None  # classes that are predicted alike have nothing to exchange
        if scored.value is not None and len(members) > 1 and suffix != WITHOUT_CLASS:
            chance = _exchanged(fits, parts[suffix], true)
        yield _row(f"held_out_cosine{suffix}", scored, len(members), chance)
    for suffix in list(parts)[1:]:
        difference = _minus(cosines[""], cosines[suffix])
        scored = jackknife(difference, len(members))
        yield _row(f"held_out_cosine_minus{suffix}", scored, len(members), None)


def _cosine(fits: _Fits, part: Part, true: Part) -> Statistic:
    """Σ ⟨part, true⟩ / √(Σ ‖part‖² · Σ ‖true‖²), sums over the held-out classes that are kept."""
    agreement = fits.signal(part, true)
    lengths = [(fits.signal(side), fits.noisy(side)) for side in (part, true)]

    def statistic(kept: np.ndarray) -> float | Refused:
        one, other = (
            _ratio(agreement[kept].sum(), length[kept].sum(), noisy[kept].sum())
            for length, noisy in lengths
        )
        if isinstance(one, Refused) or isinstance(other, Refused):
            return one if isinstance(one, Refused) else other
        return float(np.sign(one) * np.sqrt(one * other))

    return statistic


def _exchanged(fits: _Fits, part: Part, true: Part) -> float:
    """The same cosine in the mean over predictions of every other held-out class."""
    agreement = fits.signal(part, true)
    count = len(agreement)
    everyone = fits.signal(_mean(part), _mean(true)).item() * count**2
    between = (everyone - agreement.sum()) / (count - 1)
    return float(between / np.sqrt(fits.signal(part).sum() * fits.signal(true).sum()))


def _mean(part: Part) -> Part:
    """The mean of a part over its classes, [1, U]."""
    return lambda cells, fit: part(cells, fit).mean(axis=0, keepdims=True)


def _minus(one: Statistic, other: Statistic) -> Statistic:
    """Of the same classes."""

    def statistic(kept: np.ndarray) -> float | Refused:
        a, b = one(kept), other(kept)
        if isinstance(a, Refused):
            return a
        return b if isinstance(b, Refused) else a - b

    return statistic


def _factor_rows(fits: _Fits) -> Iterator[dict]:
    """Whether classes and domains have directions of their own."""
    fit = fits.whole[1]
    units = fit.mean_U.size
    basis_KU = _span(fit.domain_DU)
    classes = len(fit.class_CU)
    if not len(basis_KU):
        equal = Scored(None, None, None, "all domains have one mean")
        yield _row("class_in_domain_span", equal, classes, None)
        yield _row("factor_cosine", equal, classes, None)
        return

    def factor(_cells: np.ndarray, fit: AdditiveFit) -> np.ndarray:
        return fit.class_CU

    def shared(_cells: np.ndarray, fit: AdditiveFit) -> np.ndarray:
        return fit.class_CU @ basis_KU.T

    inside, whole, noisy = fits.signal(shared), fits.signal(factor), fits.noisy(factor)
    share = jackknife(
        lambda kept: _ratio(inside[kept].sum(), whole[kept].sum(), noisy[kept].sum()), classes
    )
    yield _row("class_in_domain_span", share, classes, len(basis_KU) / units)
    cosines = np.abs(_unit(fit.class_CU) @ _unit(fit.domain_DU).T).mean(axis=1)
    mean = jackknife(lambda kept: float(cosines[kept].mean()), classes)
    # E|cos| of two directions at random: Γ(U/2) / (√π Γ((U + 1)/2))
    random = np.exp(gammaln(units / 2) - gammaln((units + 1) / 2)) / np.sqrt(np.pi)
    yield _row("factor_cosine", mean, classes, float(random))


def _span(vectors_DU: np.ndarray) -> np.ndarray:
    """Orthonormal basis of what the vectors span, [K, U]; empty where they are all 0."""
    _, sizes, basis = np.linalg.svd(vectors_DU, full_matrices=False)
    return basis[sizes > max(vectors_DU.shape) * np.finfo(float).eps * max(sizes[0], 1.0)]


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Of length 1 each; zeros stay."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _accuracy_rows(fits: _Fits, texts_CE: np.ndarray) -> Iterator[dict]:
    """Zero-shot accuracy of predicted and of true held-out cells, among all classes.

    The interval is Wilson's, over held-out classes.
    """
    cells, fit = fits.whole
    members, shift = fits.held_out, fit.domain_DU[fits.domain]
    guessed = {
        "accuracy_predicted": fit.mean_U + fit.class_CU[members] + shift,
        "accuracy_without_domain": fit.mean_U + fit.class_CU[members],
        "accuracy_without_class": np.tile(fit.mean_U + shift, (len(members), 1)),
        "accuracy_true": cells[fits.domain, members],
    }
    for name, embeddings_HE in guessed.items():
        if not len(members):
            yield _row(name, Scored(None, None, None, NONE_HELD_OUT), 0, 1 / len(texts_CE))
            continue
        share = float(((embeddings_HE @ texts_CE.T).argmax(axis=1) == members).mean())
        lo, hi = wilson(np.array([share]), np.array([len(members)]))[:, 0]
        scored = Scored(share, float(lo), float(hi), "")
        yield _row(name, scored, len(members), 1 / len(texts_CE))


def _row(quantity: str, scored: Scored, n: int, chance: float | None) -> dict:
    return {"quantity": quantity, **scored._asdict(), "n": n, "chance": chance}
