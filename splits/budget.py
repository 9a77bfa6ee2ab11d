"""How many samples of every cell a mixture holds.

A setting says what may be shown; a budget says how much of it is. The rules are separate, so that
what the published one mixes (more domains, fewer images of each) can be taken apart:

- `published`: every mixture of a test domain has the size of `cg_low_diversity`; a larger pool is
  shrunk by one factor (Kempf et al. 2025, as their code does it). The first samples of the official
  lists are taken.
- `random`: the counts of `published`, samples chosen by a seed.
- `balanced`: the published size in equal parts for all domains that are shown.
- `exposure_matched`: the published size; the test domain's samples are never shrunk, so that
  settings of low and high diversity show equally many of them.
- `fixed_total`: a given size, the same for all test domains; shrunk as published.

Legend: D domains, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splits.errors import UserError, unknown
from splits.settings import SETTINGS, World, exposure

PUBLISHED_RULE = "published"
RULES = (PUBLISHED_RULE, "random", "balanced", "exposure_matched", "fixed_total")
NOISE = 1e-9
"""0.07 x 100 is 7.000000000000001 in floating point, and its ceiling must be 7"""


@dataclass(frozen=True)
class Budget:
    """How many samples a mixture holds, and how they are chosen.

    Attributes:
        rule: one of RULES.
        seed: of the choice within the cells; `published` takes the first of the list instead.
        total: samples of a mixture (`fixed_total` only).
        top_up: a pool smaller than the size is repeated until it has that size.
    """

    rule: str = "random"
    seed: int = 0
    total: int = 0
    top_up: bool = False

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise unknown("budget rule", self.rule, RULES)
        if (self.total > 0) != (self.rule == "fixed_total"):
            raise UserError(
                f"budget.total is {self.total} with rule {self.rule}",
                expected="a positive total with rule fixed_total, and 0 with every other rule",
                fix="give budget.total=N with the rule fixed_total, and with no other",
            )


@dataclass(frozen=True)
class Allocation:
    """Samples per cell of a mixture, and how they came about.

    Attributes:
        size: the budget.
        requested: what the setting asks for, before the budget; int64 [D, C].
        realised: what the mixture holds; int64 [D, C].
        trimmed: taken off after shrinking, because shares were rounded up; int64 [D, C].
        notes: what was shrunk, trimmed or repeated, and why.
    """

    size: int
    requested: np.ndarray
    realised: np.ndarray
    trimmed: np.ndarray
    notes: tuple[str, ...]


def request(exposure_DC: np.ndarray, available_DC: np.ndarray) -> np.ndarray:
    """The pool that a setting asks for: ceil(exposure x available) per cell; int64 [D, C]."""
    return np.ceil(exposure_DC * available_DC - NOISE).astype(np.int64)


def check_cells(exposure_DC: np.ndarray, available_DC: np.ndarray, world: World) -> None:
    """Check that every cell that is shown has a sample.

    Raises:
        UserError: a shown cell is empty.
    """
    empty = np.argwhere((exposure_DC > 0) & (available_DC == 0))
    if len(empty):
        row, column = empty[0]
        domain, name = world.domains[row], world.classes[column]
        more = f" (and {len(empty) - 1} more cells)" if len(empty) > 1 else ""
        raise UserError(
            f"cell (`{domain}`, `{name}`) is asked for but has no training sample{more}",
            expected="at least one training sample in every cell that the setting shows",
            where="the sample table",
            fix=f"add samples of `{name}` in `{domain}`, take the class out of the dataset, or go "
            "on without these cells: allow_empty_cells=true",
        )


def published_size(
    available_DC: np.ndarray, world: World, test_domain: str, held_out: Sequence[str]
) -> int:
    """Size of every mixture of a test domain: all natural samples, and its seen classes."""
    shown_DC = exposure(SETTINGS["cg_low_diversity"], world, test_domain, held_out) > 0
    return int(available_DC[shown_DC].sum())


def trim_order(available_DC: np.ndarray, world: World) -> list[int]:
    """Rows of the domains in the order in which an overshoot is trimmed.

    The world's own order, or else largest first: on DomainNet, the published order. Of equally
    large domains the natural one is first, then the order of the world.
    """
    if world.trim_order:
        return [world.domains.index(name) for name in world.trim_order]
    sizes_D = available_DC.sum(axis=1)
    natural = world.domains.index(world.natural)
    return sorted(range(len(sizes_D)), key=lambda row: (-sizes_D[row], row != natural, row))


def allocate(
    exposure_DC: np.ndarray,
    available_DC: np.ndarray,
    order_DC: np.ndarray,
    budget: Budget,
    *,
    world: World,
    test_domain: str,
    held_out: Sequence[str],
) -> Allocation:
    """Samples per cell of one setting within a budget.

    Args:
        exposure_DC: what the setting shows, in [0, 1].
        available_DC: training samples of every cell.
        order_DC: place of every class in the list of its domain, for trimming.
        budget: the rule.
        world, test_domain, held_out: as in `splits.settings.exposure`.

    Raises:
        UserError: the rule cannot be met.
    """
    size = budget.total or published_size(available_DC, world, test_domain, held_out)
    requested_DC = request(exposure_DC, available_DC)
    trimmed_DC = np.zeros_like(requested_DC)
    rows = trim_order(available_DC, world)
    if requested_DC.sum() <= size:
        realised_DC, notes = _small_pool(requested_DC, size, budget)
    elif budget.rule == "balanced":
        realised_DC = balance(requested_DC, size, rows)
        notes = _balance_notes(requested_DC, realised_DC, world)
    else:
        kept_DC, notes = np.zeros_like(requested_DC), ()
        if budget.rule == "exposure_matched":
            kept_DC, notes = _kept(requested_DC, size, world, test_domain)
        left_DC, left = np.where(kept_DC > 0, 0.0, exposure_DC), size - int(kept_DC.sum())
        tested_DC = np.zeros_like(exposure_DC, dtype=bool)
        tested_DC[world.domains.index(test_domain)] = np.isin(world.classes, held_out)
        shrunk_DC, may_DC = shrink(left_DC, available_DC, left, tested_DC)
        trimmed_DC = shrunk_DC - trim(shrunk_DC, left, _cell_order(rows, order_DC), may_DC)
        realised_DC = kept_DC + shrunk_DC - trimmed_DC
        pool = int(np.where(left_DC > 0, available_DC, 0).sum())
        notes += _shrink_notes(pool, left, trimmed_DC, [world.domains[row] for row in rows])
    notes += _empty_notes((exposure_DC > 0) & (available_DC == 0), world)
    return Allocation(size, requested_DC, realised_DC, trimmed_DC, notes)


def shrink(
    exposure_DC: np.ndarray, available_DC: np.ndarray, size: int, tested_DC: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Shrink a pool to `size` by one factor for all cells, rounded up per cell.

    The factor is a floating-point number, as in the published code, whose counts are met one by
    one. Where the held-out cells alone are shown in part (an interpolation between a setting and
    its upper bound), the rule is the published one: such a cell with share p gets
    ceil(p x factor x n), the factor being that of the pool with such cells whole, and the factor
    of all other cells is then set to fill the rest.

    Args:
        exposure_DC: what is shown.
        available_DC: samples of every cell.
        size: less than the samples that are shown.
        tested_DC: the held-out cells of the test domain.

    Returns:
        Int64 [D, C] of at least `size` samples in all, and the cells that may be trimmed to it,
        bool [D, C].
    """
    requested_DC = request(exposure_DC, available_DC)
    is_part_DC = (exposure_DC > 0) & (exposure_DC < 1)
    if not is_part_DC.any() or (is_part_DC & ~tested_DC).any():
        return _by_one_factor(requested_DC, size), exposure_DC > 0
    pool = int(np.where(exposure_DC > 0, available_DC, 0).sum())
    parts_DC = np.ceil(exposure_DC * (size / pool) * available_DC).astype(np.int64) * is_part_DC
    whole_DC = np.where(is_part_DC, 0, requested_DC)
    left, whole = size - int(parts_DC.sum()), int(whole_DC.sum())
    if left > whole:  # the other cells cannot fill the rest: they stay whole, and the parts fill it
        parts_DC = _by_one_factor(requested_DC * is_part_DC, size - whole)
        return parts_DC + whole_DC, is_part_DC
    if left < 0:
        return parts_DC, is_part_DC
    return parts_DC + _by_one_factor(whole_DC, left), ~is_part_DC & (exposure_DC > 0)


def _by_one_factor(pool_DC: np.ndarray, size: int) -> np.ndarray:
    """The pool times size / pool, rounded up; int64."""
    return np.ceil(size / max(int(pool_DC.sum()), 1) * pool_DC).astype(np.int64)


def trim(
    counts_DC: np.ndarray, size: int, order: Sequence[tuple[int, int]], may_DC: np.ndarray
) -> np.ndarray:
    """Take one sample per cell, in the order of the cells, until `size` is met.

    Args:
        counts_DC: at least `size` samples in all.
        size: to be met.
        order: all cells, as (row, column).
        may_DC: cells that may be trimmed.
    """
    counts_DC = counts_DC.copy()
    cells = [cell for cell in order if may_DC[cell] and counts_DC[cell]]
    overshoot = int(counts_DC.sum()) - size
    # Each cell overshoots by less than one sample: one round is enough, no count falls below 0.
    if not 0 <= overshoot <= len(cells):
        raise ValueError(f"{counts_DC.sum()} samples in {len(cells)} cells cannot become {size}")
    for cell in cells[:overshoot]:
        counts_DC[cell] -= 1
    return counts_DC


def balance(pool_DC: np.ndarray, size: int, order: Sequence[int]) -> np.ndarray:
    """Give every shown domain the same number of samples, smaller ones all that they have.

    Within a domain every cell keeps its share, by largest remainder; what does not divide goes to
    the domains first in `order`.

    Args:
        pool_DC: at least `size` samples in all.
        size: samples of the result.
        order: rows of the pool.

    Returns:
        Int64 [D, C] that sums to `size`.
    """
    left = {row: int(pool_DC[row].sum()) for row in order if pool_DC[row].any()}
    counts_DC = np.zeros_like(pool_DC)
    rows = sorted(left, key=lambda row: left[row])  # stable: equals stay in their order
    for place, row in enumerate(rows):
        rest = len(rows) - place
        share = size // rest
        if left[row] > share:  # so has every later one: the rest is shared out
            extra = set(sorted(rows[place:], key=list(order).index)[: size % rest])
            for last in rows[place:]:
                counts_DC[last] = _proportional(pool_DC[last], share + (last in extra))
            break
        counts_DC[row] = pool_DC[row]
        size -= left[row]
    return counts_DC


def _kept(
    requested_DC: np.ndarray, size: int, world: World, test_domain: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    """The test domain's samples, all of them; zero elsewhere."""
    tested = world.domains.index(test_domain)
    kept_DC = np.zeros_like(requested_DC)
    kept_DC[tested] = requested_DC[tested]
    kept = int(kept_DC.sum())
    if kept > size:
        raise UserError(
            f"the test domain `{test_domain}` alone has {kept} samples to show",
            expected=f"at most {size}, the size of the mixture",
            fix="take another budget rule than exposure_matched for this setting",
        )
    return kept_DC, (f"all {kept} requested samples of the test domain are kept",) * bool(kept)


def _shrink_notes(
    pool: int, size: int, trimmed_DC: np.ndarray, order: Sequence[str]
) -> tuple[str, ...]:
    notes = []
    if pool > size:
        notes.append(f"pool of {pool} shrunk to {size} (factor {size / pool:.4f}), rounded up")
    if trimmed_DC.any():
        notes.append(
            f"{trimmed_DC.sum()} samples too many after rounding up: trimmed one per class, "
            f"domains in the order {', '.join(order)}"
        )
    return tuple(notes)


def _small_pool(
    pool_DC: np.ndarray, size: int, budget: Budget
) -> tuple[np.ndarray, tuple[str, ...]]:
    """A pool within the budget: kept as it is, or repeated up to the size."""
    pool = int(pool_DC.sum())
    if pool == size:
        return pool_DC.copy(), (f"pool of {pool} kept whole: as large as the budget",)
    if budget.top_up and pool:
        counts = _proportional(pool_DC.ravel(), size).reshape(pool_DC.shape)
        return counts, (f"pool of {pool} repeated to {size}: {size / pool:.2f} times each",)
    if budget.rule == "fixed_total":
        raise UserError(
            f"a mixture of {size} samples is asked for, of a pool of {pool}",
            expected=f"at most {pool} (budget.total), or samples that stand several times",
            fix=f"set budget.total={pool} or less, or budget.top_up=true",
        )
    return pool_DC.copy(), (f"pool of {pool} kept whole: smaller than the budget of {size}",)


def _balance_notes(pool_DC: np.ndarray, realised_DC: np.ndarray, world: World) -> tuple[str, ...]:
    """Which domains have equal parts, and which gave all that they have."""
    rows = [row for row in range(len(pool_DC)) if pool_DC[row].any()]
    whole = [row for row in rows if np.array_equal(pool_DC[row], realised_DC[row])]
    parts = [row for row in rows if row not in whole]
    told = ", ".join(f"{world.domains[row]} {realised_DC[row].sum()}" for row in parts)
    notes: tuple[str, ...] = (f"equal parts for the domains that are shown: {told}",)
    if whole:
        told = ", ".join(f"{world.domains[row]} {realised_DC[row].sum()}" for row in whole)
        notes += (f"smaller domains with all that they have: {told}",)
    return notes


def _empty_notes(empty_DC: np.ndarray, world: World) -> tuple[str, ...]:
    cells = [
        f"{world.domains[row]}/{world.classes[column]}" for row, column in np.argwhere(empty_DC)
    ]
    more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
    return (f"shown, but without a sample: {', '.join(cells[:3])}{more}",) if cells else ()


def _proportional(pool: np.ndarray, size: int) -> np.ndarray:
    """Share out `size` in proportion to `pool`, by largest remainder; ties in order; int64."""
    counts, remainders = np.divmod(pool.astype(np.int64) * size, int(pool.sum()))
    first = np.argsort(-remainders, kind="stable")[: size - int(counts.sum())]
    counts[first] += 1
    return counts


def _cell_order(rows: Sequence[int], order_DC: np.ndarray) -> list[tuple[int, int]]:
    """All cells: domain after domain, the classes of each in the order of its list."""
    columns = np.argsort(order_DC, axis=1, kind="stable").tolist()
    return [(row, column) for row in rows for column in columns[row]]
