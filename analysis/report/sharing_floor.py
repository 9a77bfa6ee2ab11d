"""Sharing beside that of the network before training, of the pairs that had a number then."""

from __future__ import annotations

import polars as pl

from analysis.report.sharing_tables import KEYS, PLACE, sharing

CORRECTED = "_nc"
"""ends the names of measures that are divided by what halves of the images have in common"""


def with_floors(means: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """Means over pairs of domains, held against the untrained network over the same pairs.

    A noise-corrected measure often has no number before training: classes of which two halves of
    the images have nothing in common have none. A mean over all pairs is then no match for a
    floor of some.

    Args:
        means: `sharing_tables.sharing`.
        pairs: what they are the means of.

    Returns:
        `means` with `floor` as the mean over the pairs that have one, and in the place behind it
        `floor_pairs` (how many), `value_floor`, `lo_floor`, `hi_floor` (sharing over these pairs).
    """
    keys = [*KEYS, *PLACE, "primary", "measure", "classes", "pairs"]
    known = sharing(pairs.drop_nulls(["value", "floor"])).select(
        *keys,
        floor="floor",
        floor_pairs="n_pairs",
        value_floor="value",
        lo_floor="lo",
        hi_floor="hi",
    )
    both = means.drop("floor").join(
        known, on=keys, how="left", nulls_equal=True, maintain_order="left"
    )
    both = both.with_columns(pl.col("floor_pairs").fill_null(0))
    first = [*means.columns[: means.columns.index("floor")], *known.columns[len(keys) :]]
    return both.select(*first, pl.exclude(first))


def uncorrected(measure: str) -> str:
    """The measure without its correction for noise; empty of one that has none."""
    return measure.removesuffix(CORRECTED) if measure.endswith(CORRECTED) else ""
