"""The jackknife: how far a number would move with other classes than those that were drawn."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.stats import t

from analysis.statistics import Refused

CONFIDENCE = 0.95
LEAST = 3
"""members without which there is no interval"""


class Scored(NamedTuple):
    """A number with its interval, as the columns of a table: null what cannot be estimated.

    Attributes:
        value, lo, hi: the number and the ends of its interval.
        note: why one of them is None; empty otherwise.
    """

    value: float | None
    lo: float | None
    hi: float | None
    note: str


def jackknife(
    statistic: Callable[[np.ndarray], float | Refused], count: int, groups: int | None = None
) -> Scored:
    """A statistic of members that were drawn, and its interval over such draws.

    value ± t · √((G − 1)/G · Σ (θ_g − θ̄)²), where θ_g is the statistic without the g-th of G groups
    (Efron & Tibshirani 1993, chapter 11) and t the 97.5 % quantile of Student's t with G − 1
    degrees of freedom. Members are never repeated, unlike in a bootstrap: a Gram matrix with equal
    rows would break what is estimated from different ones.

    Args:
        statistic: gets the positions of the members that are kept, ascending.
        count: of members.
        groups: into which members are dealt in turn; None: every member is one.
    """
    everyone = np.arange(count)
    value = statistic(everyone)
    if isinstance(value, Refused):
        return Scored(None, None, None, value.reason)
    if count < LEAST:
        return Scored(value, None, None, f"no interval: {count} classes, fewer than {LEAST}")
    number = min(count, groups or count)
    left_out = [statistic(everyone[everyone % number != group]) for group in range(number)]
    for found in left_out:
        if isinstance(found, Refused):
            return Scored(value, None, None, f"no interval: without a class {found.reason}")
    spread = np.var(np.array(left_out, dtype=float)) * (number - 1)
    half = float(t.ppf(0.5 + CONFIDENCE / 2, number - 1) * np.sqrt(spread))
    return Scored(value, value - half, value + half, "")
