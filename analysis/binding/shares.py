"""Scores over scenes, with intervals that know that scenes repeat.

A scene may stand in the data as several images, in other orders, and as its swap: such scenes are
easy or hard together. Scores are therefore those of scenes, and intervals those of families
(`rebindings.families`), drawn as a whole. They are over scenes for one model; other seeds, other
draws of the train objects are not in them.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gen.evaluation.metrics import EVIDENCE, wilson

CONFIDENCE = 0.95
RESAMPLES = 1000
NOTHING = 1e-12
"""share of all squares below which a spread is rounding"""


@dataclass(frozen=True)
class Share:
    """A score, its interval, and what stands behind it.

    Attributes:
        value: in [0, 1], an R² also below; None where it cannot be told.
        lo, hi: interval over families of scenes.
        n: scenes.
        clusters: families of scenes.
        floor: expected of a bag of concepts; None where it has none.
        chance: expected of a guess.
        reason: why there is no value.
    """

    value: float | None
    lo: float | None
    hi: float | None
    n: int
    clusters: int
    floor: float | None = None
    chance: float | None = None
    reason: str | None = None

    def row(self, **keys: Any) -> dict[str, Any]:
        """A row of a table: the keys that tell what was scored, and the score."""
        return {**keys, **asdict(self)}


def missing(reason: str) -> Share:
    """A score that cannot be told."""
    return Share(None, None, None, 0, 0, reason=reason)


def share(
    right: NDArray[Any],
    clusters: NDArray[np.int64],
    *,
    floor: NDArray[np.float64] | float | None = None,
    chance: NDArray[np.float64] | float | None = None,
    reason: str = "there are no scenes",
) -> Share:
    """Mean over scenes, with Wilson's interval of an effective number of scenes.

    The effective number is p(1 - p) / Var, Var of a mean of clusters drawn whole (Korn & Graubard
    1998), at most n. The fewer right or wrong answers there are, the more it is drawn to that of
    scenes that are right or wrong by whole clusters, n² / Σ n_g²: no score looks certain.

    Args:
        right: [n] how right every scene is, in [0, 1]; ties count in part.
        clusters: [n] number of the family of every scene.
        floor, chance: of a bag and of a guess, per scene [n] or one for all.
        reason: told where there are no scenes.
    """
    n = len(right)
    if n == 0:
        return missing(reason)
    values = np.asarray(right, dtype=np.float64)
    value = float(values.mean())
    members = np.unique(clusters, return_inverse=True)[1].reshape(-1)
    sizes = np.bincount(members)
    sums = np.bincount(members, weights=values - value)
    whole = n**2 / float((sizes**2).sum())
    rare = min(float(values.sum()), n - float(values.sum()))
    relative = 0.0
    if rare > 0 and len(sizes) > 1:
        variance = float((sums**2).sum()) / n**2 * len(sizes) / (len(sizes) - 1)
        relative = variance / (value * (1 - value))
    size = min(float(n), (rare + EVIDENCE) / (rare * relative + EVIDENCE / whole))
    lo, hi = wilson(np.array([value]), np.array([size]), CONFIDENCE)[:, 0]
    return Share(
        value, float(lo), float(hi), n, len(sizes), floor=_mean(floor), chance=_mean(chance)
    )


def explained(
    found: NDArray[np.floating],
    predicted: NDArray[np.floating],
    clusters: NDArray[np.int64],
    seed: int,
) -> Share:
    """R² = 1 - Σ‖y - ŷ‖² / Σ‖y - ȳ‖², of at most 1, with a bootstrap over clusters.

    Args:
        found, predicted: [n, d] embeddings and what is expected of them.
        clusters: [n] number of the family of every scene.
        seed: of the bootstrap.
    """
    if len(found) == 0:
        return missing("there are no scenes")
    y, y_hat = found.astype(np.float64), predicted.astype(np.float64)
    members = np.unique(clusters, return_inverse=True)[1].reshape(-1)
    left, spread = np.zeros(members.max() + 1), np.zeros(members.max() + 1)
    np.add.at(left, members, ((y - y_hat) ** 2).sum(axis=1))
    np.add.at(spread, members, ((y - y.mean(axis=0)) ** 2).sum(axis=1))
    if spread.sum() <= NOTHING * max(float((y**2).sum()), NOTHING):
        spread = np.zeros_like(spread)
    return explained_sums(left, spread, len(y), seed)


def explained_sums(
    left: NDArray[np.float64], spread: NDArray[np.float64], n: int, seed: int
) -> Share:
    """R² of sums of squares by cluster: 1 - Σ left / Σ spread, with a bootstrap over clusters.

    Args:
        left, spread: [clusters] squares that are left, and that there are; a spread of 0 in all is
            none that could be explained.
        n: what stands behind them.
        seed: of the bootstrap.
    """
    if spread.sum() <= 0 or len(spread) < 2:
        return missing("nothing varies that could be explained")
    drawn = np.random.default_rng(seed).integers(len(left), size=(RESAMPLES, len(left)))
    shares = 1 - left[drawn].sum(axis=1) / np.maximum(spread[drawn].sum(axis=1), 1e-300)
    tail = (1 - CONFIDENCE) / 2
    lo, hi = np.quantile(shares, [tail, 1 - tail])
    value = float(1 - left.sum() / spread.sum())
    return Share(value, min(value, float(lo)), max(value, float(hi)), n, len(left))


def _mean(level: NDArray[np.float64] | float | None) -> float | None:
    return None if level is None else float(np.mean(level))
