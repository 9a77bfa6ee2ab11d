"""Intervals over several levels of replication at once: settings, seeds, draws, classes.

Legend: N rows, R resamples. A level is nested in those before it (the runs of a setting: others in
each), or crossed with them (classes: the same in every run).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import t

from analysis.statistics import Refused

SAME = 1e-24
"""variance over resamples below which nothing varies"""


@dataclass(frozen=True)
class HierarchicalInterval:
    """A mean over nested units, and its interval over them.

    Attributes:
        value: the mean in which every unit counts the same among those of its parent.
        lo, hi: its interval.
        n: rows.
        members: units of every level that varies; nested ones are counted over all parents.
        drawn: the levels whose units were resampled.
    """

    value: float
    lo: float
    hi: float
    n: int
    members: dict[str, int]
    drawn: tuple[str, ...]


def hierarchical_interval(
    values: pl.DataFrame,
    levels: Sequence[str],
    crossed: Sequence[str] = (),
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> HierarchicalInterval | Refused:
    """Mean of a table's `value`, and its interval over the units of all levels.

    Units of the outermost level are drawn with replacement, each with all that is nested in it:
    what inner units vary by shows between their parents, and would count twice if they were drawn
    too (Davison & Hinkley 1997, Section 3.8). Units of a crossed level are drawn once for all
    others (Owen 2007), because a class that is hard for one run is hard for every run. With V the
    variance over the resamples of one level and m its units, the interval is
    value ± t · √(Σ V · m / (m - 1)) over the drawn levels, Student's t with the degrees of freedom
    of Satterthwaite (1946): percentiles of few units are far too narrow. What only a combination
    of two drawn levels decides counts in both, which makes the interval too wide, √2 at most.

    Args:
        values: `value`, and a column per level.
        levels: names of the levels that vary, outermost first. What is left out is held fixed;
            units of equal label in several fixed groups are drawn together.
        crossed: those of them whose labels mean the same in every parent.
        confidence: coverage of the interval.
        resamples: draws of every level.
        seed: of the draws.

    Returns:
        The interval; or why there is none: a level has one member, or nothing varies.

    Raises:
        ValueError: there are no rows, a value is no number, or a level is none of the columns.
    """
    value_N = values["value"].cast(pl.Float64).to_numpy()
    if not len(value_N) or not np.isfinite(value_N).all() or not set(levels) <= set(values.columns):
        raise ValueError("no rows, values that are no numbers, or levels that are no columns")
    nested = [name for name in levels if name not in crossed]
    members = _members(values, nested) | {name: values[name].n_unique() for name in crossed}
    single = [name for name in levels if members[name] == _parents(name, nested, members)]
    if single:
        return Refused(f"level `{single[0]}` has one member")
    drawn = (*nested[:1], *crossed)
    weight_N = nested_weights(values, nested)
    variances = [
        _variance(resampled_counts(values[name], resamples, seed + place), weight_N, value_N)
        * (members[name] / (members[name] - 1))
        for place, name in enumerate(drawn)
    ]
    total = sum(variances)
    if total < SAME:
        return Refused("all units are equal, of which an interval would claim certainty")
    pairs = zip(variances, drawn, strict=True)
    degrees = total**2 / sum(part**2 / (members[name] - 1) for part, name in pairs)
    half = float(t.ppf(0.5 + confidence / 2, degrees) * np.sqrt(total))
    value = float(weight_N @ value_N)
    return HierarchicalInterval(value, value - half, value + half, len(value_N), members, drawn)


def resampled_counts(labels: pl.Series, resamples: int, seed: int) -> np.ndarray:
    """How often the unit of every row is in every resample of the units; int [R, N].

    Args:
        labels: of the units, one per row.
        resamples: R.
        seed: of the draws.
    """
    _, unit_N = np.unique(labels.to_list(), return_inverse=True)
    units = int(unit_N.max()) + 1
    drawn_RU = np.random.default_rng(seed).multinomial(
        units, np.full(units, 1 / units), size=resamples
    )
    return drawn_RU[:, unit_N]


def nested_weights(units: pl.DataFrame, nested: Sequence[str]) -> np.ndarray:
    """Weight of every row, [N], which sum to 1: units of a parent share its weight equally."""
    weight_N, parent_N = np.ones(units.height), np.zeros(units.height, dtype=int)
    for name in nested:
        _, label_N = np.unique(units[name].to_list(), return_inverse=True)
        _, unit_N = np.unique(parent_N * len(label_N) + label_N, return_inverse=True)
        parents = np.unique(np.stack([parent_N, unit_N]), axis=1)[0]
        weight_N /= np.bincount(parents)[parent_N]
        parent_N = unit_N
    return weight_N / np.bincount(parent_N)[parent_N]


def _members(values: pl.DataFrame, nested: Sequence[str]) -> dict[str, int]:
    """Units of every nested level, over all of their parents."""
    paths = [nested[: place + 1] for place in range(len(nested))]
    return {path[-1]: values.select(path).n_unique() for path in paths}


def _parents(name: str, nested: Sequence[str], members: dict[str, int]) -> int:
    """Units of the level in which this one is nested; one where it is in none."""
    place = nested.index(name) if name in nested else 0
    return members[nested[place - 1]] if place else 1


def _variance(counts_RN: np.ndarray, weight_N: np.ndarray, value_N: np.ndarray) -> float:
    """Variance of the weighted mean over resamples; one that draws no row at all is left out."""
    total_R = counts_RN @ weight_N
    means_R = (counts_RN @ (weight_N * value_N))[total_R > 0] / total_R[total_R > 0]
    return float(means_R.var())
