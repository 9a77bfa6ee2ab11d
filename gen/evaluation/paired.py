"""How much two scores of the same samples differ, with an interval in closed form.

`analysis.statistics.paired_difference_interval` resamples; here thousands of differences are told.
Legend: N samples, C classes present.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from gen.evaluation.metrics import EVIDENCE, PRIOR, Estimate


def paired_difference(
    correct_a: np.ndarray, correct_b: np.ndarray, labels: np.ndarray, confidence: float = 0.95
) -> Estimate:
    """Balanced accuracy of b minus that of a, in [-1, 1], on the same samples.

    The interval is Wald's after one sample more was won and one more lost (Bonett & Price 2012),
    for samples drawn within classes: never of zero width. As in `metrics.balanced_accuracy` every
    class is drawn a little to the whole for the variance, and this to that of equally hard classes
    the more so the fewer samples differ, or agree.

    Args:
        correct_a, correct_b: whether a (b) is right, bool of shape [N], or the share of several
            answers of one model that are, float in [0, 1].
        labels: true class ids, int of shape [N].
        confidence: coverage of the interval.

    Raises:
        ValueError: no samples, or shapes differ.
    """
    if len(labels) == 0 or not len(correct_a) == len(correct_b) == len(labels):
        raise ValueError(f"{len(correct_a)} and {len(correct_b)} answers for {len(labels)} labels")
    difference = np.asarray(correct_b, dtype=float) - np.asarray(correct_a, dtype=float)
    _, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.bincount(inverse, weights=difference)
    squares = np.bincount(inverse, weights=difference**2)
    value, square = float((sums / counts).mean()), float((squares / counts).mean())
    size = len(counts) ** 2 / float((1 / counts).sum())  # of a plain draw that varies as much
    centre, moment = size * value / (size + 2), (size * square + 2) / (size + 2)
    shares = (sums + PRIOR * centre) / (counts + PRIOR)
    moments = (squares + PRIOR * moment) / (counts + PRIOR)
    bias = 1 - counts / (counts + PRIOR) ** 2
    within = float(((moments - shares**2) / counts / bias).sum()) / len(counts) ** 2
    rare = min(float(squares.sum()), len(labels) - float(squares.sum()))
    variance = (rare * within + EVIDENCE * (moment - centre**2) / size) / (rare + EVIDENCE)
    half = float(norm.ppf(0.5 + confidence / 2)) * np.sqrt(variance)
    lo, hi = max(-1.0, min(value, centre - half)), min(1.0, max(value, centre + half))
    return Estimate(value, float(lo), float(hi), len(labels), len(counts))
