"""Scores of a run: predictions → the metrics per checkpoint, prompt set, split, domain, class set.

Legend: N samples, K guesses of a prediction, C classes that it chose from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from gen.evaluation.calibration import calibration_error
from gen.evaluation.metrics import Estimate, balanced_accuracy, macro_f1, plain_accuracy

EVALUATION = {
    "draw": pl.Int64,
    "split": pl.String,
    "domain": pl.String,
    "classes": pl.String,
    "samples_seen": pl.Int64,
    "final": pl.Boolean,
    "prompts": pl.String,
    "metric": pl.String,
    "value": pl.Float64,
    "lo": pl.Float64,
    "hi": pl.Float64,
    "n": pl.Int64,
    "n_classes": pl.Int64,
    "chance": pl.Float64,
}
"""columns of evaluation.parquet; docs/formats.md explains them"""
GROUP = ("samples_seen", "final", "prompts", "split", "domain")
HELD_OUT, SEEN, ALL = "held_out", "seen", "all"
CLEAN, TYPOS = "none", "typos"
"""ways to write prompts, of `disturbances`: as they are, and with typos"""
SAME = "read as the undisturbed prompts"
"""note on a way to write prompts that changes nothing for a model"""


@dataclass(frozen=True)
class _Answers:
    """Predictions of one group: labels [N], top5 [N, K], confidences [N]."""

    labels: np.ndarray
    top5: np.ndarray
    confidences: np.ndarray

    def of(self, chosen: np.ndarray) -> _Answers:
        return _Answers(self.labels[chosen], self.top5[chosen], self.confidences[chosen])


def score_predictions(
    predictions: pl.DataFrame, draws: Mapping[int, Sequence[str]], classes: Sequence[str]
) -> pl.DataFrame:
    """The zero-shot part of evaluation.parquet: all that predictions.parquet decides.

    Args:
        predictions: rows of predictions.parquet.
        draws: names of the held-out classes of every draw that the run is tested on.
        classes: names of all classes that a prediction chose from, in the order of their ids.

    Returns:
        Columns EVALUATION: draw after draw, the groups in the order of the predictions.
    """
    held_out = {draw: np.isin(classes, list(names)) for draw, names in sorted(draws.items())}
    rows: dict[int, list[dict]] = {draw: [] for draw in held_out}
    for key, group in predictions.group_by(GROUP, maintain_order=True):
        answers = _answers(group)
        named = dict(zip(GROUP, key, strict=True))
        shared = [named | row for row in _metrics(ALL, answers, len(classes), named["final"])]
        for draw, is_held_out in held_out.items():
            own = _by_class_set(answers, is_held_out, named["final"])
            rows[draw] += [{"draw": draw} | named | row for row in own]
            rows[draw] += [{"draw": draw} | row for row in shared]
    return pl.DataFrame([row for part in rows.values() for row in part], schema=EVALUATION)


def _answers(group: pl.DataFrame) -> _Answers:
    top5 = group["top5"].explode().to_numpy().reshape(group.height, -1)
    return _Answers(group["label"].to_numpy(), top5, group["confidence"].to_numpy().astype(float))


def _by_class_set(answers: _Answers, is_held_out: np.ndarray, final: bool) -> Iterator[dict]:
    """Metrics of held-out and of seen classes (`is_held_out` [C]), where they have samples."""
    sets = ((HELD_OUT, is_held_out, "held_out_as_seen"), (SEEN, ~is_held_out, "seen_as_held_out"))
    for name, members, crossed in sets:
        part = answers.of(members[answers.labels])
        if not len(part.labels):
            continue
        yield from _metrics(name, part, len(members), final)
        if final:
            others = plain_accuracy(~members[part.top5[:, 0]], part.labels)
            yield _row(name, crossed, others, float((~members).mean()))


def _metrics(name: str, part: _Answers, classes: int, final: bool) -> Iterator[dict]:
    labels, answers = part.labels, part.top5[:, 0]
    first = answers == labels
    any_of_five = (part.top5 == labels[:, None]).any(axis=1)
    guesses = part.top5.shape[1]
    yield _row(name, "balanced_top1", balanced_accuracy(first, labels), 1 / classes)
    yield _row(name, "balanced_top5", balanced_accuracy(any_of_five, labels), guesses / classes)
    yield _row(name, "top1", plain_accuracy(first, labels), 1 / classes)
    if final:
        yield _row(name, "macro_f1", macro_f1(answers, labels), None)
        yield _row(name, "ece", calibration_error(part.confidences, first, labels), None)


def _row(classes: str, metric: str, estimate: Estimate, chance: float | None) -> dict:
    return {
        "classes": classes,
        "metric": metric,
        "value": estimate.value,
        "lo": estimate.lo,
        "hi": estimate.hi,
        "n": estimate.n,
        "n_classes": estimate.n_classes,
        "chance": chance,
    }
