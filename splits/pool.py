"""The training samples as numbers: the cell of every row, and its rank within the cell.

Ranks are drawn once per seed; every mixture is then the rows whose rank is below the count of
their cell. So a choice depends on no order of rows, and nests: a larger count keeps the smaller
choice.

Legend: N samples, D domains, C classes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from splits.errors import UserError, unknown
from splits.settings import World

ROWS_AT_ONCE = 1 << 23


@dataclass(frozen=True, eq=False)
class Pool:
    """The training rows of a sample table.

    Attributes:
        world: names the domains and classes.
        ids: of the samples, sorted, shape [N].
        cells: number of every sample's cell (row x C + column), int, shape [N].
        positions: place of every sample in its official list, int64 of shape [N].
    """

    world: World
    ids: pl.Series
    cells: np.ndarray
    positions: np.ndarray
    _ranks: dict[int | None, np.ndarray] = field(default_factory=dict, repr=False)

    @property
    def available(self) -> np.ndarray:
        """Samples of every cell, int64 [D, C]."""
        shape = len(self.world.domains), len(self.world.classes)
        return np.bincount(self.cells, minlength=shape[0] * shape[1]).reshape(shape)

    @property
    def order(self) -> np.ndarray:
        """First place of every class in the list of its domain, int64 [D, C]."""
        shape = len(self.world.domains), len(self.world.classes)
        first = np.full(shape[0] * shape[1], np.iinfo(np.int64).max)
        np.minimum.at(first, self.cells, self.positions)
        return first.reshape(shape)

    def take(self, counts_DC: np.ndarray, seed: int | None) -> tuple[pl.Series, np.ndarray]:
        """Choose samples of every cell.

        Args:
            counts_DC: samples per cell; a count above the cell's samples repeats them in turn.
            seed: of the choice; None takes the first of the official list.

        Returns:
            The ids, sorted, and the number of each one's cell; as many as the counts' sum.
        """
        if seed not in self._ranks:
            keys = self.positions if seed is None else seeded_numbers(self.ids, seed)
            self._ranks[seed] = rank_within_cells(self.cells, keys)
        copies = copies_of(self._ranks[seed], self.cells, counts_DC, self.available)
        rows = np.repeat(np.arange(len(self.cells), dtype=np.uint32), copies)
        return self.ids.gather(rows), self.cells[rows]


def named_rows(ids: pl.Series, cells: np.ndarray, world: World) -> pl.DataFrame:
    """The samples as a table: `id`, `domain`, `class_name`."""
    domains, classes = np.divmod(cells.astype(np.int64), len(world.classes))
    return pl.DataFrame(
        {
            "id": ids,
            "domain": pl.Series(world.domains, dtype=pl.String).gather(domains),
            "class_name": pl.Series(world.classes, dtype=pl.String).gather(classes),
        }
    )


def build_pool(train: pl.DataFrame, world: World) -> Pool:
    """The pool of a table of training samples, in any order of its rows.

    Args:
        train: has the columns `id`, `domain`, `class_name`, and may have `position`; without it
            the official list is that of the sorted ids.
        world: holds every domain and class of the table.

    Raises:
        UserError: a domain or class is not in the world, or an id stands twice.
    """
    columns = [name for name in ("id", "domain", "class_name", "position") if name in train.columns]
    train = train.select(columns).sort("id")
    check_unique(train["id"])
    cells = cell_numbers(train, world)
    classes = len(world.classes)
    positions = train["position"] if "position" in train.columns else None
    if positions is None:  # of the classes, the world's order; within a class, that of the ids
        numbers = (cells % classes).astype(np.int64) * len(train) + np.arange(len(train))
    else:
        numbers = positions.to_numpy()
    return Pool(world, train["id"], cells, numbers)


def cell_numbers(rows: pl.DataFrame, world: World) -> np.ndarray:
    """Number of every row's cell, in the smallest integer type that holds them, shape [N].

    Raises:
        UserError: a row's domain or class is not in the world.
    """
    numbers = []
    for column, kind, names in (
        ("domain", "domain", world.domains),
        ("class_name", "class", world.classes),
    ):
        places = {name: place for place, name in enumerate(names)}
        number = rows[column].replace_strict(places, default=None, return_dtype=pl.Int64)
        if number.null_count():
            strange = rows[column].filter(number.is_null())[0]
            raise unknown(kind, strange, names, where="the sample table")
        numbers.append(number.to_numpy())
    largest = np.min_scalar_type(-len(world.domains) * len(world.classes))
    return (numbers[0] * len(world.classes) + numbers[1]).astype(largest)


def seeded_numbers(ids: pl.Series, seed: int) -> np.ndarray:
    """A number per id that puts them into an order drawn by `seed`, uint64 of shape [N].

    The first 8 bytes of `splits.held_out.seeded_key`: the same on every machine, and the number
    of an id depends on no other id.
    """
    prefix = hashlib.sha256(f"{seed}/".encode())

    def key(name: str) -> bytes:
        state = prefix.copy()
        state.update(name.encode())
        return state.digest()[:8]

    return np.frombuffer(b"".join(key(name) for name in ids), dtype=">u8").astype(np.uint64)


def rank_within_cells(cells: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Rank of every row's key among the rows of its cell, from 0; ties by place; int32 [N].

    Works through the cells in groups, so that memory stays bounded for many rows.
    """
    ranks = np.empty(len(cells), dtype=np.int32)
    sizes = np.bincount(cells)
    groups = np.cumsum(sizes) // ROWS_AT_ONCE
    for group in np.unique(groups):
        low, high = np.flatnonzero(groups == group)[[0, -1]]
        rows = np.flatnonzero((cells >= low) & (cells <= high)).astype(np.uint32)
        order = rows[np.lexsort((keys[rows], cells[rows]))]
        starts = np.repeat(
            np.cumsum(sizes[low : high + 1]) - sizes[low : high + 1], sizes[low : high + 1]
        )
        ranks[order] = np.arange(len(order)) - starts
    return ranks


def copies_of(
    ranks: np.ndarray, cells: np.ndarray, counts_DC: np.ndarray, available_DC: np.ndarray
) -> np.ndarray:
    """How often every row is taken, int64 of shape [N]: 0 or 1 where nothing is repeated.

    Raises:
        ValueError: samples are wanted of a cell that has none.
    """
    if (counts_DC[available_DC == 0] > 0).any():
        raise ValueError("samples are wanted of an empty cell")
    whole, rest = np.divmod(counts_DC, np.maximum(available_DC, 1))
    return whole.ravel()[cells] + (ranks < rest.ravel()[cells])


def check_unique(ids: pl.Series) -> None:
    """Check sorted ids for repetitions.

    Raises:
        UserError: an id stands more than once.
    """
    if len(ids) > 1 and (twice := (ids.slice(1) == ids.slice(0, len(ids) - 1))).any():
        raise UserError(
            f"id `{ids.slice(1).filter(twice)[0]}` stands more than once",
            expected="one row per sample",
            where="the sample table",
        )
