"""How the rows of one run and site become a panel of a heat map, domain by domain.

Legend: D domains.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from analysis.report.sharing_tables import own_ceilings

Matrix = Callable[[pl.DataFrame], tuple[np.ndarray, np.ndarray]]
"""rows of one panel → values [D, D], and whether a cell is no more than chance [D, D]"""
PAIR = ("domain_a", "domain_b")


def pair_matrix(domains: Sequence[str], limit: str | None = None) -> Matrix:
    """Of rows that name a pair of domains: symmetric.

    Args:
        domains: names of rows and columns.
        limit: column of what an interval must lie above to be more than chance; None for 0.
    """

    def matrix(rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        values, by_chance = _filled(rows, domains, PAIR, limit)
        is_mirrored = np.isnan(values)
        return np.where(is_mirrored, values.T, values), by_chance | (is_mirrored & by_chance.T)

    return matrix


def similarity_matrix(domains: Sequence[str]) -> Matrix:
    """Similarities, and on the diagonal every domain's own ceiling."""
    of_pairs = pair_matrix(domains, "chance_hi")

    def matrix(rows: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        values, by_chance = of_pairs(rows)
        for name, ceiling in own_ceilings(rows, tuple(domains)).items():
            place = domains.index(name)
            values[place, place] = ceiling
        return values, by_chance

    return matrix


def transfer_matrix(domains: Sequence[str]) -> Matrix:
    """Fitted on (rows), tested on (columns)."""
    return lambda rows: _filled(rows, domains, ("trained_on", "domain"), "chance")


def source_matrix(domains: Sequence[str]) -> Matrix:
    """Nodes chosen in (rows), tested in (columns); held against random ones."""
    return lambda rows: _filled(rows, domains, ("source", "target"), "random")


def _filled(
    rows: pl.DataFrame, domains: Sequence[str], keys: tuple[str, str], limit: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Values where rows have them, NaN elsewhere; whether an interval reaches the limit."""
    values = np.full((len(domains), len(domains)), np.nan)
    by_chance = np.zeros_like(values, dtype=bool)
    for row in rows.drop_nulls(["value", *keys]).iter_rows(named=True):
        place = domains.index(row[keys[0]]), domains.index(row[keys[1]])
        values[place] = row["value"]
        least = row[limit] if limit else 0.0
        by_chance[place] = None not in (row["lo"], least) and row["lo"] <= least
    return values, by_chance
