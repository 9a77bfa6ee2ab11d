"""Robustness under a shift of domain: accuracy beside what accuracy without the shift predicts.

Legend: N points (a model at a moment of its training), M models, R resamples; `id` is the domain
without shift (here the natural one), `ood` the shifted one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri
from scipy.stats import norm, t

from analysis.statistics import Refused

FEWEST_POINTS = 3
"""points that a line is fitted to, at least"""
FEWEST_MODELS = 6
"""models that an interval over models needs; of 5 it covers 90 %, of 3 it covers 75 %"""
MOST_UNFIT = 0.05
"""share of resamples without a line above which there is no interval"""
SAME = 1e-12
"""variance below which points have one place"""
Scale = Callable[[np.ndarray], np.ndarray]
TRANSFORMS: dict[str, tuple[Scale, Scale]] = {"logit": (logit, expit), "probit": (ndtri, ndtr)}


@dataclass(frozen=True, eq=False)
class Baseline:
    """A line through models of one kind: g(a_ood) = slope · g(a_id) + intercept.

    Attributes:
        transform: name of g.
        lowest, highest: smallest and largest a_id of its points.
        r_squared: share of the variance of g(a_ood) that it explains; None where there is none.
        resampled: slope and intercept per resample of the models, [R, 2]; R is 0 where the models
            allow no interval.
        doubt: why not; empty where they do.
    """

    transform: str
    slope: float
    intercept: float
    lowest: float
    highest: float
    r_squared: float | None
    n_points: int
    n_models: int
    resampled: np.ndarray
    doubt: str

    def expected(self, accuracy_id: np.ndarray, n_id: int | np.ndarray) -> np.ndarray:
        """What it predicts for `accuracy_id` [N], each measured on `n_id` samples, [N]."""
        forward, backward = TRANSFORMS[self.transform]
        x_N = forward(_clipped(np.asarray(accuracy_id, dtype=float), n_id))
        return backward(self.slope * x_N + self.intercept)


@dataclass(frozen=True)
class Robustness:
    """Effective robustness of a model: its accuracy under shift minus the expected one.

    Attributes:
        value: accuracy minus `expected`, in [-1, 1].
        lo, hi: its interval over the baseline's models; None where they allow none.
    """

    value: float
    expected: float
    lo: float | None
    hi: float | None


def fit_baseline(
    accuracy_id: Sequence[float],
    accuracy_ood: Sequence[float],
    n_id: Sequence[int],
    n_ood: Sequence[int],
    models: Sequence[str],
    transform: str = "logit",
    resamples: int = 2000,
    seed: int = 0,
) -> Baseline | Refused:
    """Fit how accuracy under shift goes with accuracy without it, by least squares.

    Taori et al. 2020 (logit, Section 3; Radford et al. 2021, Figure 13); Miller et al. 2021 take
    the probit. Accuracies are clipped to [1/2n, 1 - 1/2n], so that 0 and 1 have a place. All
    points count the same; the bootstrap draws models, each with all of its points, because the
    moments of one training are not independent. The order of the points is of no effect.

    Args:
        accuracy_id, accuracy_ood: in [0, 1], shape [N].
        n_id, n_ood: test samples behind each, shape [N].
        models: whose point it is, shape [N].
        transform: `logit` or `probit`.
        resamples: draws of the bootstrap.
        seed: of the bootstrap.

    Returns:
        The line; or why there is none: fewer than FEWEST_POINTS points, or one a_id for all.

    Raises:
        ValueError: shapes differ, an accuracy is outside [0, 1], or the transform is unknown.
    """
    if transform not in TRANSFORMS:
        raise ValueError(f"no transform `{transform}`; there are {', '.join(TRANSFORMS)}")
    id_N, ood_N = _accuracies(accuracy_id), _accuracies(accuracy_ood)
    if not len(id_N) == len(ood_N) == len(n_id) == len(n_ood) == len(models):
        raise ValueError("shapes differ")
    if len(id_N) < FEWEST_POINTS:
        return Refused(f"baseline points: {len(id_N)}; {FEWEST_POINTS} are needed")
    order = np.lexsort([ood_N, id_N, np.asarray(models)])
    names, model_N = np.unique(np.asarray(models)[order], return_inverse=True)
    forward, _ = TRANSFORMS[transform]
    x_N = forward(_clipped(id_N, np.asarray(n_id)))[order]
    y_N = forward(_clipped(ood_N, np.asarray(n_ood)))[order]
    if x_N.var() < SAME:
        return Refused("the baseline models have one and the same accuracy without shift")
    ((slope, intercept),) = _lines(x_N, y_N, np.ones((1, len(x_N))))
    residual = ((y_N - slope * x_N - intercept) ** 2).mean()
    resampled, doubt = _resampled(x_N, y_N, model_N, len(names), resamples, seed)
    return Baseline(
        transform=transform,
        slope=float(slope),
        intercept=float(intercept),
        lowest=float(id_N.min()),
        highest=float(id_N.max()),
        r_squared=float(1 - residual / y_N.var()) if y_N.var() > SAME else None,
        n_points=len(x_N),
        n_models=len(names),
        resampled=resampled,
        doubt=doubt,
    )


def effective_robustness(
    baseline: Baseline,
    accuracy_id: float,
    accuracy_ood: float,
    n_id: int,
    confidence: float = 0.95,
) -> Robustness | Refused:
    """ρ = a_ood - g⁻¹(slope · g(a_id) + intercept) (Taori et al. 2020, Section 3).

    The interval is over the baseline's models: the expanded percentiles (Hesterberg 2015) of the
    line's bootstrap at a_id. It covers neither the test samples nor the seeds of the model itself.

    Args:
        baseline: of models that were trained without the shifted domain.
        accuracy_id, accuracy_ood: of the model, in [0, 1].
        n_id: test samples behind `accuracy_id`.
        confidence: coverage of the interval.

    Returns:
        The robustness; or why there is none: `accuracy_id` is outside the baseline's range, where
        nothing tells whether the line goes on.
    """
    if not baseline.lowest <= accuracy_id <= baseline.highest:
        return Refused(
            f"accuracy {accuracy_id:.1%} without shift is outside the baseline's "
            f"{baseline.lowest:.1%} to {baseline.highest:.1%}"
        )
    forward, backward = TRANSFORMS[baseline.transform]
    expected = float(baseline.expected(np.array([accuracy_id]), n_id)[0])
    value = accuracy_ood - expected
    if not len(baseline.resampled):
        return Robustness(value, expected, None, None)
    x = float(forward(_clipped(np.array([accuracy_id]), n_id))[0])
    expected_R = backward(baseline.resampled @ np.array([x, 1.0]))
    tail = _expanded_tail((1 - confidence) / 2, baseline.n_models)
    lowest, highest = np.quantile(expected_R, [tail, 1 - tail])
    return Robustness(value, expected, accuracy_ood - float(highest), accuracy_ood - float(lowest))


def _resampled(
    x_N: np.ndarray, y_N: np.ndarray, model_N: np.ndarray, models: int, resamples: int, seed: int
) -> tuple[np.ndarray, str]:
    """Lines of the resampled models [R, 2], and why there are none where R is 0."""
    none = np.empty((0, 2))
    if models < FEWEST_MODELS:
        runs = "1 baseline run" if models == 1 else f"{models} baseline runs"
        return none, f"{runs}; an interval over models needs {FEWEST_MODELS}"
    rng = np.random.default_rng(seed)
    counts_RM = rng.multinomial(models, np.full(models, 1 / models), size=resamples)
    lines = _lines(x_N, y_N, counts_RM[:, model_N].astype(float))
    fit = np.isfinite(lines).all(axis=1)
    if (~fit).mean() > MOST_UNFIT:
        return none, f"{(~fit).mean():.0%} of the resamples of models have a single place"
    if np.ptp(lines[fit], axis=0).max() < SAME:
        return none, "the baseline runs are equal, of which an interval would claim certainty"
    return lines[fit], ""


def _lines(x_N: np.ndarray, y_N: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """Slope and intercept of weighted least squares per row of weights, [R, 2]; NaN for a point."""
    centre = x_N.mean()
    x_N = x_N - centre  # so that the difference of squares below loses no digits
    total_R = weights_RN.sum(axis=1)
    mean_x_R, mean_y_R = weights_RN @ x_N / total_R, weights_RN @ y_N / total_R
    variance_R = weights_RN @ x_N**2 / total_R - mean_x_R**2
    covariance_R = weights_RN @ (x_N * y_N) / total_R - mean_x_R * mean_y_R
    slope_R = np.where(variance_R < SAME, np.nan, covariance_R / np.maximum(variance_R, SAME))
    return np.stack([slope_R, mean_y_R - slope_R * (mean_x_R + centre)], axis=1)


def _expanded_tail(tail: float, models: int) -> float:
    """Tail of percentiles that are as wide as few models ask: Φ(√(M / (M - 1)) · t_{tail, M-1})."""
    return float(norm.cdf(np.sqrt(models / (models - 1)) * t.ppf(tail, models - 1)))


def _clipped(accuracy_N: np.ndarray, n_N: int | np.ndarray) -> np.ndarray:
    least_N = 1 / (2 * np.asarray(n_N, dtype=float))
    return np.clip(accuracy_N, least_N, 1 - least_N)


def _accuracies(values: Sequence[float]) -> np.ndarray:
    values_N = np.asarray(values, dtype=float)
    if not ((values_N >= 0) & (values_N <= 1)).all():  # also refuses NaN
        raise ValueError("an accuracy is outside [0, 1]")
    return values_N
