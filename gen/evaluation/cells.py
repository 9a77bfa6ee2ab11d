"""Accuracy of every (domain, class) cell, and what its images are taken for."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from gen.evaluation.metrics import wilson

CELL = ("split", "domain", "class_name", "label")


def cell_table(predictions: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    """One row per cell with test samples (docs/formats.md: cells.parquet).

    Args:
        predictions: of one checkpoint and one prompt set, every sample once.
        classes: names of all classes, in the order of their ids.

    Returns:
        `split`, `domain`, `class_name`, `label`, `n`, `correct`, `value` with Wilson's interval
        `lo`, `hi`, and the class that most wrong answers name (of equally frequent ones the first)
        with their number: `mistaken_for`, `mistaken`; null and 0 where no answer is wrong.

    Raises:
        ValueError: a sample stands more than once.
    """
    if predictions["id"].is_duplicated().any():
        raise ValueError("predictions of several checkpoints or prompt sets")
    answers = predictions.select(*CELL, answer=pl.col("top5").list.first())
    right = pl.col("answer") == pl.col("label")
    cells = answers.group_by(CELL, maintain_order=True).agg(
        n=pl.len().cast(pl.Int64), correct=right.sum().cast(pl.Int64)
    )
    lo, hi = wilson((cells["correct"] / cells["n"]).to_numpy(), cells["n"].to_numpy())
    wrong = answers.filter(~right).group_by(*CELL, "answer").agg(mistaken=pl.len().cast(pl.Int64))
    worst = wrong.sort("mistaken", "answer", descending=[True, False]).unique(
        CELL, keep="first", maintain_order=True
    )
    names = pl.col("answer").replace_strict(range(len(classes)), classes, return_dtype=pl.String)
    return (
        cells.with_columns(value=pl.col("correct") / pl.col("n"), lo=lo, hi=hi)
        .join(worst.with_columns(mistaken_for=names).drop("answer"), on=CELL, how="left")
        .with_columns(pl.col("mistaken").fill_null(0))
        .select(*CELL, "n", "correct", "value", "lo", "hi", "mistaken_for", "mistaken")
        .sort("split", "domain", "label")
    )
