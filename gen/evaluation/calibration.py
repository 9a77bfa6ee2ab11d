"""Whether a model is right as often as it is confident: the expected calibration error.

Legend: N samples, M bins, R draws.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from gen.evaluation.metrics import Estimate

BINS = 15
DRAWS = 1000
CERTAIN = 2.0
"""standard errors from which a bin's difference counts as one"""


def calibration_error(
    confidences: np.ndarray,
    correct: np.ndarray,
    labels: np.ndarray,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Expected calibration error over bins of equal width, ((m - 1)/M, m/M] (Guo et al. 2017).

    ECE = Σ_m |Σ_{i in m} (correct_i - confidence_i)| / N. The sums of the bins are taken for
    normal, with their covariance over samples drawn within classes. What noise adds to ECE is
    simulated and taken off: a plain bootstrap would add it once more, and leave out a perfect
    model's 0. For the lower limit, sums that chance explains are taken for 0, where noise adds
    most.

    Args:
        confidences: probability of the first choice, float in [0, 1] of shape [N].
        correct: whether it is right, bool of shape [N].
        labels: true class ids, int of shape [N].
        confidence: coverage of the interval.
        seed: of the simulation.

    Raises:
        ValueError: no samples, shapes differ, or a confidence is outside [0, 1].
    """
    if len(labels) == 0 or not len(confidences) == len(correct) == len(labels):
        raise ValueError(f"{len(confidences)} confidences for {len(labels)} labels")
    if not ((confidences >= 0) & (confidences <= 1)).all():
        raise ValueError("confidences are outside [0, 1]")
    edge = np.ceil(confidences * BINS).astype(int) - 1
    differences = np.zeros((len(labels), BINS))
    rows = np.arange(len(labels))
    differences[rows, edge.clip(0, BINS - 1)] = (correct - confidences) / len(labels)
    sums = differences.sum(axis=0)
    value = float(np.abs(sums).sum())
    lo, hi = _limits(sums, _covariance(differences, labels), confidence, seed)
    n_classes = len(np.unique(labels))
    return Estimate(value, min(value, max(0.0, lo)), max(value, min(1.0, hi)), len(rows), n_classes)


def _limits(
    sums: np.ndarray, covariance: np.ndarray, confidence: float, seed: int
) -> tuple[float, float]:
    """Limits of Σ|sums|, before they are cut to [0, 1]."""
    certain = np.abs(sums) > CERTAIN * np.sqrt(np.diag(covariance))
    values, vectors = np.linalg.eigh(covariance)
    noise = _normal(seed) @ (vectors * np.sqrt(values.clip(min=0))).T

    def added(centre: np.ndarray, quantile: float) -> float:
        more = np.abs(centre + noise).sum(axis=1) - np.abs(centre).sum()
        return float(np.quantile(more, quantile))

    tail, value = (1 - confidence) / 2, float(np.abs(sums).sum())
    # noise adds most where the true sums are 0, and least where they are as large as they look
    lowest = np.where(certain, sums, 0.0)
    return value - added(lowest, 1 - tail), value - added(sums, tail)


def _covariance(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Covariance [M, M] of sums of values [N, M] drawn within classes; lone ones form one class."""
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    stratum = np.where(counts[inverse] == 1, len(counts), inverse)
    sizes = np.bincount(stratum, minlength=len(counts) + 1)
    means = np.zeros((len(sizes), values.shape[1]))
    np.add.at(means, stratum, values)
    means /= np.maximum(sizes, 1)[:, None]
    # a class of one tells no variance: it is compared with the mean of all, so that it adds some
    if sizes[-1] == 1:
        means[-1] = values.mean(axis=0)
    weights = (sizes / np.maximum(sizes - 1, 1))[stratum]
    centred = values - means[stratum]
    return (centred * weights[:, None]).T @ centred


@lru_cache(4)
def _normal(seed: int) -> np.ndarray:
    """Standard normal numbers [R, M], the same for every score."""
    return np.random.default_rng(seed).standard_normal((DRAWS, BINS))
