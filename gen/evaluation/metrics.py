"""Accuracies with their intervals over test samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm


@dataclass(frozen=True)
class Estimate:
    """A score in [0, 1], its interval, and how many samples and classes stand behind it."""

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
    by class, p(1 - p) / Var (Korn & Graubard 1998): closed form, and never of zero width.

    Args:
        correct: whether each prediction is right, bool of shape [N].
        labels: true class ids, int of shape [N].
        confidence: coverage of the interval.

    Raises:
        ValueError: no samples, or shapes differ.
    """
    if len(correct) == 0 or len(correct) != len(labels):
        raise ValueError(f"{len(correct)} predictions for {len(labels)} labels")
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rates = np.bincount(inverse, weights=correct.astype(float)) / counts
    value = float(rates.mean())
    # Var of the mean of C independent rates; a class with one sample cannot show its spread, so
    # it is given that of the whole
    spread = np.where(
        counts > 1, rates * (1 - rates) / np.maximum(counts - 1, 1), value * (1 - value)
    )
    variance = float(spread.sum()) / len(counts) ** 2
    n = len(correct)
    effective = value * (1 - value) / variance if variance > 0 else float(n)
    lo, hi = _wilson(value, effective, confidence)
    return Estimate(value, lo, hi, n, len(counts))


def plain_accuracy(correct: np.ndarray, labels: np.ndarray, confidence: float = 0.95) -> Estimate:
    """Share of right predictions, with Wilson's score interval (Wilson 1927)."""
    if len(correct) == 0 or len(correct) != len(labels):
        raise ValueError(f"{len(correct)} predictions for {len(labels)} labels")
    value, n = float(correct.mean()), len(correct)
    lo, hi = _wilson(value, n, confidence)
    return Estimate(value, lo, hi, n, len(np.unique(labels)))


def _wilson(p: float, n: float, confidence: float) -> tuple[float, float]:
    z = float(norm.ppf(0.5 + confidence / 2))
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # rounding must not put the estimate outside its interval, which it bounds at 0 and at 1
    return max(0.0, min(p, float(centre - half))), min(1.0, max(p, float(centre + half)))
