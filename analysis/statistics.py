"""Intervals, paired comparisons, a regression's partial effect, corrections for several.

Legend: N test samples, C classes; of a regression N rows, K covariates. All intervals here but
that of the regression are over test samples, for fixed classes and fixed models; they say nothing
about other seeds or other draws of held-out classes (`analysis.hierarchy` does).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, t

from gen.evaluation.metrics import Estimate

ROUNDING = 1e-12
FEWEST_DEGREES = 2
"""rows beyond the coefficients of a regression that is tested"""


@dataclass(frozen=True)
class Difference(Estimate):
    """A difference of two scores in [-1, 1], its interval, and the p-value of "none"."""

    p: float


@dataclass(frozen=True)
class Ratio(Estimate):
    """A score as a share of another, at least 0; above 1 where it is the larger one."""


@dataclass(frozen=True)
class Refused:
    """A number that is not given, and why."""

    reason: str


@dataclass(frozen=True)
class PartialEffect:
    """What a predictor adds to covariates in a linear regression.

    Attributes:
        beta: standard deviations of the outcome per one of the predictor, covariates held.
        lo, hi: its interval; it leaves out 0 where p is below 1 - confidence.
        delta_r2: share of the outcome's variance that the predictor explains beyond the
            covariates.
        delta_chance: what a predictor without any relation is expected to explain.
        p: that the predictor adds nothing.
        n: rows.
    """

    beta: float
    lo: float
    hi: float
    delta_r2: float
    delta_chance: float
    p: float
    n: int


def paired_difference_interval(
    correct_a: np.ndarray,
    correct_b: np.ndarray,
    labels: np.ndarray,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Balanced accuracy of b minus that of a, on the same test samples.

    Interval: percentiles of a bootstrap within class that draws a sample's two answers jointly,
    its deviations scaled by √(n_c / (n_c - 1)) so that small classes do not look too certain
    (Rao & Wu 1988). Classes with a single sample are drawn together, as one stratum. Where no
    draw differs from another, so that percentiles would claim certainty, it is the value ± the
    share of differing samples that N equal ones do not rule out (Wilson 1927).
    p: two-sided sign-flip permutation test over samples; its smallest value is 1/(resamples + 1).

    Args:
        correct_a, correct_b: whether a (b) is right, bool of shape [N], or the share of its seeds
            that are, float in [0, 1].
        labels: true class ids, int of shape [N].
        confidence: coverage of the interval.
        resamples: draws of the bootstrap and of the permutation test.
        seed: seed of both.

    Raises:
        ValueError: no samples, shapes differ, or values are outside [0, 1].
    """
    correct_a, _ = _checked(correct_a, labels)
    correct_b, labels = _checked(correct_b, labels)
    difference = correct_b - correct_a
    rng = np.random.default_rng(seed)
    value, drawn, flipped = 0.0, np.zeros(resamples), np.zeros(resamples)
    for members, weight in _strata(labels):
        d = difference[members]
        n = len(d)
        value += weight * float(d.mean())
        deviation = d[rng.integers(n, size=(resamples, n))].mean(axis=1) - d.mean()
        drawn += weight * deviation * np.sqrt(n / max(n - 1, 1))
        flipped += weight * ((2 * rng.integers(2, size=(resamples, n)) - 1) @ d) / n
    tail = (1 - confidence) / 2
    lo, hi = value + np.quantile(drawn, [tail, 1 - tail])
    if hi - lo < ROUNDING:
        unseen = _most_unseen(len(labels), confidence)
        lo, hi = value - unseen, value + unseen
    lo, hi = np.clip([lo, hi], -1, 1)
    extreme = int((np.abs(flipped) >= abs(value) - ROUNDING).sum())
    p = (1 + extreme) / (1 + resamples)
    return Difference(value, float(lo), float(hi), len(labels), len(np.unique(labels)), p)


def paired_ratio_interval(
    correct_a: np.ndarray,
    correct_b: np.ndarray,
    labels: np.ndarray,
    chance: float,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Ratio | Refused:
    """Balanced accuracy of a as a share of that of b, on the same test samples.

    Interval: percentiles of the same bootstrap as in `paired_difference_interval`, both scores of
    a draw from the same samples. A ratio has no bounded interval where its denominator may be 0
    (Fieller 1954), and no meaning where b does no more than guess: it is refused where the
    interval of b reaches chance.

    Args:
        correct_a, correct_b: numerator and denominator, as in `paired_difference_interval`.
        labels: true class ids, int of shape [N].
        chance: accuracy of guessing.
        confidence: coverage of the interval.
        resamples: draws of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: no samples, shapes differ, or values are outside [0, 1].
    """
    correct_a, _ = _checked(correct_a, labels)
    correct_b, labels = _checked(correct_b, labels)
    rng = np.random.default_rng(seed)
    answers_N2, scores_2 = np.stack([correct_a, correct_b], axis=1), np.zeros(2)
    drawn_R2 = np.zeros((resamples, 2))
    for members, weight in _strata(labels):
        part = answers_N2[members]
        n = len(part)
        scores_2 += weight * part.mean(axis=0)
        deviation = part[rng.integers(n, size=(resamples, n))].mean(axis=1) - part.mean(axis=0)
        drawn_R2 += weight * deviation * np.sqrt(n / max(n - 1, 1))
    tail, unseen = (1 - confidence) / 2, _most_unseen(len(labels), confidence)
    drawn_R2 = np.clip(scores_2 + drawn_R2, 0, 1)
    lowest = np.quantile(drawn_R2[:, 1], tail) - unseen * (np.ptp(drawn_R2[:, 1]) < ROUNDING)
    if lowest <= chance:
        return Refused(f"the denominator, {scores_2[1]:.1%}, is not clearly above chance")
    value = float(scores_2[0] / scores_2[1])
    ratios_R = drawn_R2[:, 0] / np.maximum(drawn_R2[:, 1], ROUNDING)
    lo, hi = np.quantile(ratios_R, [tail, 1 - tail])
    if hi - lo < ROUNDING:
        lo, hi = value - unseen / scores_2[1], value + unseen / scores_2[1]
    return Ratio(value, max(0.0, float(lo)), float(hi), len(labels), len(np.unique(labels)))


def partial_effect(
    outcome: np.ndarray,
    predictor: np.ndarray,
    covariates: np.ndarray,
    confidence: float = 0.95,
) -> PartialEffect | Refused:
    """Least squares of an outcome on an intercept, covariates and one predictor.

    Interval and p are Student's, with N - 2 - rank(covariates) degrees of freedom: exact however
    few rows there are, where their errors are normal, of one variance, and independent. With r²
    the squared partial correlation and R₀² that of the covariates alone, ΔR² = r² (1 - R₀²); of a
    predictor without relation r² is Beta(1/2, degrees/2), of mean 1/(degrees + 1).

    Args:
        outcome, predictor: float of shape [N].
        covariates: float of shape [N, K]. What is constant or a sum of others costs no degree.
        confidence: coverage of the interval.

    Returns:
        The effect; or why there is none: too few rows, or nothing left to explain, or by which.

    Raises:
        ValueError: shapes differ, or a value is no number.
    """
    columns_NK = np.column_stack([outcome, predictor, covariates]).astype(float)
    if not np.isfinite(columns_NK).all():
        raise ValueError("values that are no numbers")
    centred_NK = columns_NK - columns_NK.mean(axis=0)
    basis_NK = _basis(centred_NK[:, 2:])
    left_N2 = centred_NK[:, :2] - basis_NK @ (basis_NK.T @ centred_NK[:, :2])
    spread_2, rest_2 = (centred_NK[:, :2] ** 2).sum(axis=0), (left_N2**2).sum(axis=0)
    rows, used = basis_NK.shape
    degrees = rows - 2 - used
    if degrees < FEWEST_DEGREES:
        return Refused(f"too few for {used} covariates, {used + 2 + FEWEST_DEGREES} are needed")
    for name, rest, spread in zip(("outcome", "predictor"), rest_2, spread_2, strict=True):
        if rest <= ROUNDING * max(spread, ROUNDING):
            return Refused(f"the {name} does not vary beyond the covariates")
    slope = float(left_N2[:, 0] @ left_N2[:, 1] / rest_2[1])
    error = max(rest_2[0] - slope**2 * rest_2[1], ROUNDING * rest_2[0]) / degrees
    deviation = float(np.sqrt(error / rest_2[1]))
    half = float(t.ppf(0.5 + confidence / 2, degrees)) * deviation
    scale = float(np.sqrt(spread_2[1] / spread_2[0]))
    return PartialEffect(
        beta=scale * slope,
        lo=scale * (slope - half),
        hi=scale * (slope + half),
        delta_r2=slope**2 * float(rest_2[1] / spread_2[0]),
        delta_chance=float(rest_2[0] / spread_2[0]) / (degrees + 1),
        p=2 * float(t.sf(abs(slope) / deviation, degrees)),
        n=rows,
    )


def _basis(columns_NK: np.ndarray) -> np.ndarray:
    """Orthonormal basis of the columns' span; constant or repeated columns add nothing to it."""
    scale_K = np.linalg.norm(columns_NK, axis=0)
    kept = columns_NK[:, scale_K > ROUNDING] / scale_K[scale_K > ROUNDING]
    vectors, values, _ = np.linalg.svd(kept, full_matrices=False)
    return vectors[:, values > 1e-9]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) step-down adjustment of a family of p-values, in the order given."""
    order = np.argsort(p_values, kind="stable")
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        adjusted[index] = min(1.0, largest)
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Benjamini and Hochberg's (1995) step-up adjustment of a family, in the order given.

    It bounds the share of false ones among the differences that are called real, where `holm`
    bounds the chance of any: for large families.
    """
    order = np.argsort(p_values, kind="stable")
    adjusted, smallest = [0.0] * len(p_values), 1.0
    for rank in range(len(p_values), 0, -1):
        index = order[rank - 1]
        smallest = min(smallest, len(p_values) / rank * p_values[index])
        adjusted[index] = float(smallest)
    return adjusted


def _most_unseen(n: int, confidence: float) -> float:
    """Upper Wilson limit of a share of which n samples show none: z² / (n + z²)."""
    square = float(norm.ppf(0.5 + confidence / 2)) ** 2
    return square / (n + square)


def _strata(labels: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
    """Members and weight of each class; classes with one sample together in one stratum."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    for index in np.flatnonzero(counts > 1):
        yield np.flatnonzero(inverse == index), 1 / len(counts)
    single = np.flatnonzero(counts[inverse] == 1)
    if len(single):
        yield single, len(single) / len(counts)


def _checked(correct: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as arrays: correct as floats in [0, 1], labels as integers."""
    correct, labels = np.asarray(correct, dtype=float), np.asarray(labels)
    if correct.ndim != 1 or correct.shape != labels.shape:
        raise ValueError(f"shapes differ: {correct.shape} answers, {labels.shape} labels")
    if correct.size == 0:
        raise ValueError("there are no samples")
    if np.isnan(correct).any() or (labels.dtype.kind == "f" and np.isnan(labels).any()):
        raise ValueError("there are NaN values among the answers or labels")
    if correct.min() < 0 or correct.max() > 1:
        raise ValueError("answers are outside [0, 1]")
    return correct, labels
