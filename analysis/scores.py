"""Accuracy of answers per set of classes, as rows of a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from analysis.class_sets import ClassSet
from gen.evaluation.metrics import balanced_accuracy


def class_set_scores(
    right: np.ndarray, labels: np.ndarray, sets: Sequence[ClassSet]
) -> Iterator[dict]:
    """Balanced accuracy with its interval over test samples, one row per set of classes.

    Args:
        right: whether each answer is, bool [N].
        labels: true class ids, int [N].
        sets: of class ids; a set without samples has a row of nulls.
    """
    for name, draw, members in sets:
        key = {"draw": draw, "classes": name}
        mask = np.isin(labels, members)
        if mask.any():
            estimate = balanced_accuracy(right[mask], labels[mask])
            found = {"value": estimate.value, "lo": estimate.lo, "hi": estimate.hi}
            yield key | found | {"n": estimate.n, "n_classes": estimate.n_classes, "note": ""}
        else:
            yield key | unscored("no test image of these classes")


def unscored(note: str) -> dict:
    """The columns of a row without a score, and why there is none."""
    return {"value": None, "lo": None, "hi": None, "n": 0, "n_classes": 0, "note": note}
