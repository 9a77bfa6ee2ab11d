"""What an intervention does, per set of classes: the rows of the table of causes.

Legend: N images, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import t

from analysis.class_sets import ClassSet
from analysis.jackknife import CONFIDENCE, LEAST
from analysis.scores import unscored
from gen.evaluation.metrics import balanced_accuracy

CAUSES: dict[str, type[pl.DataType]] = {
    **{"test": pl.String, "site": pl.String, "level": pl.String, "depth": pl.Int64},
    **{"source": pl.String, "target": pl.String, "draw": pl.Int64, "classes": pl.String},
    **{"dose": pl.Float64, "control": pl.String, "quantity": pl.String},
    **{"value": pl.Float64, "lo": pl.Float64, "hi": pl.Float64, "n": pl.Int64},
    **{"n_classes": pl.Int64, "chance": pl.Float64, "note": pl.String},
}
NO_IMAGE = "no image of these classes"


@dataclass(frozen=True)
class Asked:
    """The images of some rows of the table.

    Attributes:
        labels_N: their classes, int.
        sets: for each of which there is a row.
        targets_N: classes that an intervention asks for; None: the own. An image belongs to a set
            of classes with both.
    """

    labels_N: np.ndarray
    sets: Sequence[ClassSet]
    targets_N: np.ndarray | None = None

    def members(self, chosen: ClassSet) -> np.ndarray:
        """Which images belong to a set of classes, bool [N]."""
        mask = np.isin(self.labels_N, chosen.members)
        return mask if self.targets_N is None else mask & np.isin(self.targets_N, chosen.members)


def shares(asked: Asked, holds_N: np.ndarray, key: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The share of images that something holds for, all classes alike.

    With the interval of accuracies, over test images within classes (`balanced_accuracy`).
    """
    for chosen in asked.sets:
        row = key | {"draw": chosen.draw, "classes": chosen.name}
        mask = asked.members(chosen)
        if not mask.any():
            yield row | unscored(NO_IMAGE)
            continue
        found = balanced_accuracy(holds_N[mask], asked.labels_N[mask])
        row |= {"value": found.value, "lo": found.lo, "hi": found.hi}
        yield row | {"n": found.n, "n_classes": found.n_classes, "note": ""}


def means(asked: Asked, values_N: np.ndarray, key: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The mean over classes of what images of a class have on average, and its jackknife."""
    for chosen in asked.sets:
        row = key | {"draw": chosen.draw, "classes": chosen.name}
        mask = asked.members(chosen)
        if not mask.any():
            yield row | unscored(NO_IMAGE)
            continue
        _, inverse, counts = np.unique(
            asked.labels_N[mask], return_inverse=True, return_counts=True
        )
        values_K = np.bincount(inverse, weights=values_N[mask].astype(float)) / counts
        yield row | over_classes(values_K) | {"n": int(mask.sum()), "n_classes": len(counts)}


def over_classes(values_K: np.ndarray) -> dict[str, Any]:
    """Mean of the values of classes, with the interval of `analysis.jackknife` in closed form.

    Leaving out one of K values moves their mean by its deviation / (K − 1), so that the jackknife's
    error of a mean is the standard error s / √K itself (Efron & Tibshirani 1993, chapter 11).
    """
    value, count = float(values_K.mean()), len(values_K)
    if count < LEAST:
        note = f"no interval: {count} classes, fewer than {LEAST}"
        return {"value": value, "lo": None, "hi": None, "note": note}
    half = _quantile(count - 1) * float(values_K.std(ddof=1)) / count**0.5
    return {"value": value, "lo": value - half, "hi": value + half, "note": ""}


@lru_cache
def _quantile(degrees: int) -> float:
    return float(t.ppf(0.5 + CONFIDENCE / 2, degrees))


def table(rows: list[dict[str, Any]], note: str = "") -> pl.DataFrame:
    """Rows as a table of CAUSES, each with a note that holds of all of them."""
    noted = [row | {"note": "; ".join(filter(None, [row["note"], note]))} for row in rows]
    return pl.DataFrame(noted, schema=CAUSES)
