"""Scores of a run: predictions → balanced accuracy per split, domain and class set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import polars as pl

from gen.evaluation.metrics import Estimate, balanced_accuracy, plain_accuracy


def score(
    predictions: pl.DataFrame, draws: Mapping[int, Sequence[str]], classes: int
) -> pl.DataFrame:
    """The long table of a run's scores (docs/formats.md: evaluation.parquet).

    Args:
        predictions: table of `gen.evaluation.zero_shot.predict`.
        draws: names of the held-out classes of every draw that the run is tested on.
        classes: number of classes that a prediction chose from.
    """
    tables = [
        _score_draw(predictions, held_out, classes).select(pl.lit(draw).alias("draw"), pl.all())
        for draw, held_out in sorted(draws.items())
    ]
    return pl.concat(tables).with_columns(pl.col("draw").cast(pl.Int64))


def _score_draw(predictions: pl.DataFrame, held_out: Sequence[str], classes: int) -> pl.DataFrame:
    is_held_out = pl.col("class_name").is_in(list(held_out))
    rows = []
    for (split, domain), group in predictions.group_by("split", "domain", maintain_order=True):
        for name, condition in (("held_out", is_held_out), ("seen", ~is_held_out), ("all", True)):
            part = group.filter(condition)
            if part.height:
                key = {"split": split, "domain": domain, "classes": name}
                rows += [key | row for row in _metrics(part, classes)]
    return pl.DataFrame(rows)


def _metrics(part: pl.DataFrame, classes: int) -> Iterator[dict]:
    labels = part["label"].to_numpy()
    top5 = np.stack(part["top5"].to_list())
    first = top5[:, 0] == labels
    any_of_five = (top5 == labels[:, None]).any(axis=1)
    yield _row("balanced_top1", balanced_accuracy(first, labels), 1 / classes)
    yield _row("balanced_top5", balanced_accuracy(any_of_five, labels), top5.shape[1] / classes)
    yield _row("top1", plain_accuracy(first, labels), 1 / classes)


def _row(metric: str, estimate: Estimate, chance: float) -> dict:
    return {
        "metric": metric,
        "value": estimate.value,
        "lo": estimate.lo,
        "hi": estimate.hi,
        "n": estimate.n,
        "n_classes": estimate.n_classes,
        "chance": chance,
    }
