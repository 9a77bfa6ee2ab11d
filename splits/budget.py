"""How many samples of every cell a mixture holds, and which.

The published rule (Kempf et al., ICML 2025) gives every mixture of one test domain the size of
`cg_low_diversity`, so that settings differ in what they show and not in how much.

Legend: D domains, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from splits.errors import UserError, unknown
from splits.held_out import seeded_key
from splits.settings import World, exposure


def count_cells(samples: pl.DataFrame, world: World) -> np.ndarray:
    """Count the rows of every cell; int64 [D, C].

    Args:
        samples: has columns `domain` and `class_name`.

    Raises:
        UserError: a row's domain or class is not in the world.
    """
    row_of = {name: row for row, name in enumerate(world.domains)}
    column_of = {name: column for column, name in enumerate(world.classes)}
    counts_DC = np.zeros((len(row_of), len(column_of)), dtype=np.int64)
    for domain, name, count in samples.group_by("domain", "class_name").len().sort(pl.all()).rows():
        if domain not in row_of:
            raise unknown("domain", domain, world.domains, where="the sample table")
        if name not in column_of:
            raise unknown("class", name, world.classes, where="the sample table")
        counts_DC[row_of[domain], column_of[name]] = count
    return counts_DC


def request(exposure_DC: np.ndarray, available_DC: np.ndarray, world: World) -> np.ndarray:
    """The pool that a setting asks for: ceil(exposure x available) per cell; int64 [D, C].

    Raises:
        UserError: a cell is asked for that has no sample.
    """
    for row, column in np.argwhere((exposure_DC > 0) & (available_DC == 0)):
        domain, name = world.domains[row], world.classes[column]
        raise UserError(
            f"cell (`{domain}`, `{name}`) is asked for but has no training sample",
            expected="at least one training sample in every cell that the setting shows",
            where="the sample table",
            fix=f"add samples of `{name}` in `{domain}`, or take the class out of the dataset",
        )
    # 0.07 x 100 is 7.000000000000001 in floating point, and its ceiling must be 7
    return np.ceil(exposure_DC * available_DC - 1e-9).astype(np.int64)


def published_size(
    available_DC: np.ndarray, world: World, test_domain: str, held_out: Sequence[str]
) -> int:
    """Size of every mixture of a test domain: all natural samples, and its seen classes."""
    shown_DC = exposure("cg_low_diversity", world, test_domain, held_out) > 0
    return int(available_DC[shown_DC].sum())


def trim_order(available_DC: np.ndarray, world: World) -> list[int]:
    """Domains in the order in which an overshoot is trimmed: largest first.

    On DomainNet this is the published order. Of equally large domains the natural one is first,
    then the order of the world.
    """
    sizes_D = available_DC.sum(axis=1)
    natural = world.domains.index(world.natural)
    return sorted(range(len(sizes_D)), key=lambda row: (-sizes_D[row], row != natural, row))


def realise(requested_pool: np.ndarray, budget: int, trim_order: Sequence[int]) -> np.ndarray:
    """Shrink a pool to a budget, all cells by the same factor.

    Every cell becomes ceil(n x budget / pool). The ceilings overshoot; the overshoot is trimmed
    one sample per class cell, domain by domain.

    Args:
        requested_pool: samples per cell, int [D, C].
        budget: samples that the mixture may hold, at least 0.
        trim_order: every row of the pool once, in the order of trimming.

    Returns:
        Int64 [D, C] that sums to min(budget, pool): a pool within the budget is kept whole.
    """
    pool_DC = np.asarray(requested_pool, dtype=np.int64)
    if budget < 0 or sorted(trim_order) != list(range(len(pool_DC))):
        raise ValueError(f"budget {budget} or trim order {list(trim_order)} fits no pool")
    pool = int(pool_DC.sum())
    if pool <= budget:
        return pool_DC.copy()
    order = list(trim_order)
    counts_DC = -(-pool_DC * budget // pool)  # the ceiling, in exact integers
    trimmed_DC = counts_DC[order]
    # Each non-empty cell overshoots by less than one sample, so that there are always more
    # non-empty cells than samples to trim: one round is enough, and no count falls below 0.
    row, column = np.nonzero(trimmed_DC)
    overshoot = int(counts_DC.sum()) - budget
    trimmed_DC[row[:overshoot], column[:overshoot]] -= 1
    counts_DC[order] = trimmed_DC
    return counts_DC


def choose(samples: pl.DataFrame, counts: np.ndarray, world: World, seed: int) -> list[str]:
    """Choose the samples of every cell: those with the smallest sha256 of `SEED/ID`.

    The choice depends on no order of rows, and nests: a larger count keeps the smaller choice.

    Args:
        samples: has columns `id`, `domain`, `class_name`.
        counts: samples per cell, int [D, C].
        world: names the rows and columns of `counts`.
        seed: of the choice.

    Returns:
        The chosen ids, sorted.

    Raises:
        ValueError: a cell has fewer samples than its count.
    """
    wanted = pl.DataFrame(
        {
            "domain": np.repeat(world.domains, len(world.classes)).tolist(),
            "class_name": list(world.classes) * len(world.domains),
            "wanted": np.asarray(counts, dtype=np.int64).ravel(),
        }
    ).filter(pl.col("wanted") > 0)
    cell = ["domain", "class_name"]
    pool = samples.select("id", *cell).join(wanted, on=cell)
    keys = pl.Series("key", [seeded_key(seed, name) for name in pool["id"]], dtype=pl.Binary)
    ranked = pool.with_columns(keys).sort("key")
    chosen = ranked.filter(pl.int_range(pl.len()).over(cell) < pl.col("wanted"))
    if len(chosen) != np.sum(counts):
        raise ValueError(f"{np.sum(counts)} samples are wanted, of which {len(chosen)} are there")
    return chosen["id"].sort().to_list()
