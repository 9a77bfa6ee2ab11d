"""Scores with their intervals over test samples; docs/evaluation.md has the formulas.

Legend: N samples, C classes present. Samples are taken as drawn within their classes: the number of
samples of a class is no accident, which of them a model gets right is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

PRIOR = 0.5
"""samples with the accuracy of the whole that are added to every class, for its variance only"""
EVIDENCE = 4.0
"""right or wrong answers, whichever are rarer, from which a variance is taken at its word"""


@dataclass(frozen=True)
class Estimate:
    """A score in [0, 1] or a difference of two, its interval, and how many samples and classes
    stand behind it."""

    value: float
    lo: float
    hi: float
    n: int
    n_classes: int


def balanced_accuracy(
    correct: np.ndarray, labels: np.ndarray, confidence: float = 0.95
) -> Estimate:
    """Mean over the classes present of the per-class accuracy.

    The interval is Wilson's score interval with the effective sample size of a sample stratified
    by class, p(1 - p) / Var (Korn & Graubard 1998): closed form, and never of zero width. For the
    variance every class's accuracy is drawn a little to that of the whole, and the more so the
    fewer answers are right, or wrong: no class and no model looks certain.

    Args:
        correct: whether each prediction is right, bool of shape [N].
        labels: true class ids, int of shape [N].
        confidence: coverage of the interval.

    Raises:
        ValueError: no samples, or shapes differ.
    """
    _check(correct, labels)
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    right = np.bincount(inverse, weights=correct.astype(float))
    value = float((right / counts).mean())
    size = _effective_size(_variance(value, right, counts), int(right.sum()), counts)
    lo, hi = _wilson(value, size, confidence)
    return Estimate(value, lo, hi, len(correct), len(counts))


def plain_accuracy(correct: np.ndarray, labels: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Share of right predictions (or of samples that anything else holds for).

    With Wilson's score interval (Wilson 1927). Arguments and errors are those of
    `balanced_accuracy`.
    """
    _check(correct, labels)
    value, n = float(correct.mean()), len(correct)
    lo, hi = _wilson(value, n, confidence)
    return Estimate(value, lo, hi, n, len(np.unique(labels)))


def macro_f1(answers: np.ndarray, labels: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Mean over the classes present of F1, the harmonic mean of precision and recall.

    An answer that is none of the classes present is wrong, and spoils no class's precision. The
    interval is Wilson's with the effective size of the delta method's variance (Takahashi et al.
    2022): F1 is taken for linear in the counts of answers.

    Args:
        answers: predicted class ids, int of shape [N].
        labels: true class ids, int of shape [N].
        confidence: coverage of the interval.

    Raises:
        ValueError: no samples, or shapes differ.
    """
    _check(answers, labels)
    present, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    place = np.searchsorted(present, answers).clip(max=len(present) - 1)
    known = present[place] == answers
    correct = answers == labels
    right = np.bincount(inverse, weights=correct.astype(float))
    both = counts + np.bincount(place[known], minlength=len(present))
    value = float((2 * right / both).mean())
    # how much one more answer of this kind moves the mean of F1
    pull = np.where(correct, 2 / both[inverse], 0.0)
    pull -= np.where(known, 2 * right[place] / both[place] ** 2, 0.0)
    variance = _within(pull / len(present), inverse, counts)
    relative = variance / (value * (1 - value)) if 0 < value < 1 else 0.0
    lo, hi = _wilson(value, _effective_size(relative, int(right.sum()), counts), confidence)
    return Estimate(value, lo, hi, len(labels), len(present))


def wilson(share: np.ndarray, n: np.ndarray, confidence: float = 0.95) -> np.ndarray:
    """Wilson's (1927) score intervals of shares [K] of samples [K]; float of shape [2, K]."""
    z = float(norm.ppf(0.5 + confidence / 2))
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # rounding must not put the estimate outside its interval, which it bounds at 0 and at 1
    lo = np.maximum(0.0, np.minimum(share, centre - half))
    return np.stack([lo, np.minimum(1.0, np.maximum(share, centre + half))])


def _wilson(value: float, n: float, confidence: float) -> tuple[float, float]:
    lo, hi = wilson(np.array([value]), np.array([n]), confidence)[:, 0]
    return float(lo), float(hi)


def _variance(value: float, right: np.ndarray, counts: np.ndarray) -> float:
    """Variance of the mean of per-class shares, as a share of p(1 - p).

    With k of n right in a class and m = PRIOR samples added, its variance is r(1 - r)/n times
    1/(1 - n/(n + m)²), where r = (k + mp)/(n + m): unbiased where all classes are equally hard,
    too large elsewhere.
    """
    size = _equal_size(counts)
    whole = (size * value + 1) / (size + 2)  # Laplace: inside of (0, 1)
    rates = (right + PRIOR * whole) / (counts + PRIOR)
    bias = 1 - counts / (counts + PRIOR) ** 2
    variance = float((rates * (1 - rates) / counts / bias).sum()) / len(counts) ** 2
    centre = float(rates.mean())
    return variance / (centre * (1 - centre))


def _effective_size(variance: float, right: int, counts: np.ndarray) -> float:
    """Samples of a plain draw whose share would vary as much.

    Args:
        variance: of a score of these samples, as a share of p(1 - p).
        right: number of right answers.
        counts: samples of every class, int [C].

    What a variance rests on are the rarer ones of right and wrong answers. Where they are few it is
    drawn to that of equally hard classes: which class the only mistake is in says little.
    """
    rare = min(right, int(counts.sum()) - right)
    return (rare + EVIDENCE) / (rare * variance + EVIDENCE / _equal_size(counts))


def _equal_size(counts: np.ndarray) -> float:
    """Effective size of the mean of per-class shares where all classes are equally hard."""
    return len(counts) ** 2 / float((1 / counts).sum())


def _within(values: np.ndarray, inverse: np.ndarray, counts: np.ndarray) -> float:
    """Variance of a sum of values [N] that are drawn within classes; lone ones form one class."""
    lone = counts[inverse] == 1
    stratum = np.where(lone, len(counts), inverse)
    sizes = np.bincount(stratum, minlength=len(counts) + 1)
    means = np.bincount(stratum, weights=values, minlength=len(sizes)) / np.maximum(sizes, 1)
    squares = np.bincount(stratum, weights=(values - means[stratum]) ** 2, minlength=len(sizes))
    many = sizes > 1
    total = float((squares[many] * sizes[many] / (sizes[many] - 1)).sum())
    return total + (float(values.var()) if lone.sum() == 1 else 0.0)


def _check(answers: np.ndarray, labels: np.ndarray) -> None:
    if len(answers) == 0 or len(answers) != len(labels):
        raise ValueError(f"{len(answers)} predictions for {len(labels)} labels")
