"""A mixture of a table that does not fit into memory: two passes over a Parquet file.

The first pass numbers the cell and the seeded key of every row (10 bytes a row stay in memory),
the second writes the chosen rows. The files are those of `splits.mixture`, and so is the selection,
of a table that knows no order of lists and is sorted by id already.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from splits.errors import UserError
from splits.files import replacing, write_json
from splits.mixture import MANIFEST, TABLE, Recipe, describe, hash_of, plan_cells
from splits.pool import Pool, cell_numbers, copies_of, rank_within_cells, seeded_numbers
from splits.settings import World

BATCH = 1 << 17
COLUMNS = ["id", "domain", "class_name"]


def stream_mixture(table: Path, folder: Path, world: World, recipe: Recipe) -> dict[str, Any]:
    """Build and save a mixture of a table of training samples, piece by piece.

    Args:
        table: a Parquet file with `id`, `domain`, `class_name`, one row per training sample,
            sorted by `id`.
        folder: of the mixture; is created if it is not there.
        world: holds every domain and class of the table.
        recipe: with a budget rule that chooses by a seed.

    Returns:
        The manifest.

    Raises:
        UserError: the table is not sorted by id, an id stands twice, or the recipe is impossible.
    """
    if recipe.choice_seed is None:
        raise UserError(
            "the published rule takes the first samples of lists, which a stream has not",
            expected="budget rule random, balanced, exposure_matched or fixed_total",
            where=str(table),
        )
    cells, keys = _numbers(table, world, recipe.choice_seed)
    pool = Pool(world, pl.Series(dtype=pl.String), cells, keys)  # without order: nothing is listed
    order_DC = np.tile(np.arange(len(world.classes)), (len(world.domains), 1))
    shown_DC, allocation = plan_cells(pool, recipe, order_DC)
    ranks = rank_within_cells(cells, keys)
    del keys
    copies = copies_of(ranks, cells, allocation.realised, pool.available).astype(np.int32)
    del ranks
    with replacing(folder / TABLE) as temporary:
        state = hash_of(recipe, _write(temporary, _chosen(table, copies)))
    manifest = describe(recipe, world, shown_DC, pool.available, allocation)
    manifest |= {"size": int(copies.sum()), "sha256": state.hexdigest()}
    write_json(folder / MANIFEST, manifest)
    return manifest


def _numbers(table: Path, world: World, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cell and seeded key of every row, [N] each."""
    file = pq.ParquetFile(table)
    smallest = np.min_scalar_type(-len(world.domains) * len(world.classes))
    cells = np.empty(file.metadata.num_rows, dtype=smallest)
    keys = np.empty(file.metadata.num_rows, dtype=np.uint64)
    row, last = 0, ""
    for batch in _batches(table):
        ids = batch["id"]
        _check_sorted(ids, last, table)
        last = ids[-1]
        cells[row : row + len(ids)] = cell_numbers(batch, world)
        keys[row : row + len(ids)] = seeded_numbers(ids, seed)
        row += len(ids)
    return cells, keys


def _batches(table: Path) -> Iterator[pl.DataFrame]:
    for batch in pq.ParquetFile(table).iter_batches(BATCH, columns=COLUMNS):
        yield pl.DataFrame(pl.from_arrow(batch))


def _chosen(table: Path, copies: np.ndarray) -> Iterator[pl.DataFrame]:
    """The rows of a mixture, in order, each as often as `copies` says."""
    row = 0
    for batch in _batches(table):
        times = copies[row : row + len(batch)]
        row += len(batch)
        if times.any():
            yield batch[np.repeat(np.arange(len(batch)), times)]


def _write(path: Path, pieces: Iterator[pl.DataFrame]) -> Iterator[pl.Series]:
    """Write the pieces to a Parquet file; hand their ids on."""
    schema = pa.schema([(name, pa.large_string()) for name in COLUMNS])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for piece in pieces:
            writer.write_table(piece.to_arrow().cast(schema))
            yield piece["id"]


def _check_sorted(ids: pl.Series, last: str, table: Path) -> None:
    before = ids.shift(1, fill_value=last)
    wrong = ids <= before
    if last == "":
        wrong[0] = False
    if wrong.any():
        raise UserError(
            f"id `{ids.filter(wrong)[0]}` stands after `{before.filter(wrong)[0]}`",
            expected="a table sorted by id, every id once",
            where=str(table),
            fix="sort it: polars.scan_parquet(TABLE).sort('id').sink_parquet(SORTED)",
        )
