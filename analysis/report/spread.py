"""How numbers differ over draws of held-out classes and over seeds, kept apart from each other.

This is replication: other classes, other initial weights. What the test samples of one model leave
open is another matter, and stands in the interval of each score.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.stats import t

CONFIDENCE = 0.95
FEWEST = 3
"""draws that an interval over draws needs"""
ROUNDING = 1e-12
KEYS = ["test_domain", "setting", "split", "classes"]


def t_interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Student's 95 % interval of the mean of independent values.

    None for fewer than FEWEST, and for equal ones, of which it would claim certainty.
    """
    count = len(values)
    if count < FEWEST or max(values) - min(values) < ROUNDING:
        return None, None
    half = float(t.ppf(0.5 + CONFIDENCE / 2, count - 1) * np.std(values, ddof=1) / np.sqrt(count))
    return float(np.mean(values)) - half, float(np.mean(values)) + half


def accuracy_spread(headline: pl.DataFrame) -> pl.DataFrame:
    """How the accuracy of every setting varies over draws, and over seeds.

    Args:
        headline: `tables.headline`.

    Returns:
        One row per test domain, setting, split and class set: `value`, the mean over draws of the
        means over seeds; over draws, of these means: `draws` (how many), `draw_smallest`,
        `draw_largest`, `draw_sd`; over seeds, within draws: `seeds` (of a draw, at most),
        `seed_range` (the widest), `seed_sd` (pooled). Null where there are fewer than two.
    """
    scores, by_draw = pl.col("value"), _by_draw(headline)
    several_draws, several_seeds = pl.len() > 1, pl.col("seeds").max() > 1
    table = by_draw.group_by(KEYS, maintain_order=True).agg(
        scores.mean(),
        draws=pl.len().cast(pl.Int64),
        draw_smallest=pl.when(several_draws).then(scores.min()),
        draw_largest=pl.when(several_draws).then(scores.max()),
        draw_sd=scores.std(),
        seeds=pl.col("seeds").max(),
        seed_range=pl.when(several_seeds).then(pl.col("range").max()),
        seed_sd=pl.when(several_seeds).then(
            (pl.col("squares").sum() / pl.col("degrees").sum()).sqrt()
        ),
    )
    planned = headline.select(KEYS).unique(maintain_order=True)
    return planned.join(table, on=KEYS, how="left", maintain_order="left").with_columns(
        pl.col("draws", "seeds").fill_null(0)
    )


def _by_draw(headline: pl.DataFrame) -> pl.DataFrame:
    """Per draw: the mean over seeds, and what their spread is pooled from."""
    scores, degrees = pl.col("value"), pl.len() - 1
    known = headline.drop_nulls("value").group_by([*KEYS, "draw"], maintain_order=True)
    return known.agg(
        scores.mean(),
        seeds=pl.len().cast(pl.Int64),
        range=scores.max() - scores.min(),
        squares=scores.var() * degrees,
        degrees=degrees.cast(pl.Int64),
    )
