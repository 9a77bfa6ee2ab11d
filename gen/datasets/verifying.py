"""The check of a whole dataset: its manifest, every cell of its table, every byte of its shards."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator

import polars as pl
import pyarrow.parquet as pq

from gen.datasets.samples import ROWS_PER_BATCH, Dataset, content_sha256, table_sha256
from gen.datasets.wording import counted

PLACE = ["id", "shard", "offset", "size", "sha256"]


def verify_dataset(dataset: Dataset) -> list[str]:
    """Compare table and shards with the manifest, and every image with its row.

    Returns:
        What is wrong, a line each; nothing where all is well.
    """
    return [
        *_changed_table(dataset),
        *_changed_scenes(dataset),
        *_wrong_class_ids(dataset),
        *wrong_sizes(dataset),
        *_changed_shards(dataset),
        *_changed_images(dataset),
    ]


def wrong_sizes(dataset: Dataset) -> list[str]:
    """Shards that are missing, or not as long as the manifest says; they are not read."""
    problems = []
    for shard in dataset.manifest["shards"]:
        path = dataset.folder / "shards" / shard["name"]
        if not path.is_file():
            problems.append(f"{path} is missing")
        elif path.stat().st_size != shard["bytes"]:
            problems.append(f"{path} has {path.stat().st_size} bytes, not {shard['bytes']}")
    return problems


def _changed_table(dataset: Dataset) -> list[str]:
    path, manifest = dataset.folder / "samples.parquet", dataset.manifest
    if (content_sha256(path), table_sha256(path)) == (dataset.sha256, manifest.get("table_sha256")):
        return []
    return ["samples.parquet has changed: it is not the manifest's"]


def _changed_scenes(dataset: Dataset) -> list[str]:
    """Whether the table that scenes have beside their samples is there, and the manifest's."""
    if not dataset.is_scenes:
        return []
    path = dataset.folder / "scenes.parquet"
    if not path.is_file():
        return [f"{path} is missing"]
    if table_sha256(path) == dataset.manifest["scenes_sha256"]:
        return []
    return ["scenes.parquet has changed: it is not the manifest's"]


def _wrong_class_ids(dataset: Dataset) -> list[str]:
    ids = {name: number for number, name in enumerate(dataset.classes)} | {"": -1}
    name, found = pl.col("class_name"), pl.col("class_id")
    expected = name.replace_strict(ids, default=None, return_dtype=pl.Int64)
    wrong = dataset.scan().filter(expected.ne_missing(found) | expected.is_null())
    rows = wrong.select("id", "class_name", "class_id").collect()
    if rows.is_empty():
        return []
    first, class_name, class_id = rows.row(0)
    return [
        f"{counted(rows.height, 'sample')} with a class_id that is not the one of the class, "
        f"first `{first}`: {class_id} for class `{class_name}`"
    ]


def _changed_shards(dataset: Dataset) -> Iterator[str]:
    """Shards of the right length whose content is another."""
    for shard in dataset.manifest["shards"]:
        path = dataset.folder / "shards" / shard["name"]
        if path.is_file() and path.stat().st_size == shard["bytes"]:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != shard["sha256"]:
                    yield f"{path} has changed: its sha256 is not the manifest's"


def _changed_images(dataset: Dataset) -> Iterator[str]:
    """Images that are not at their place, or not as their hash says; the table is read in batches.

    Those of a missing shard are not listed one by one: the shard is.
    """
    listed = {shard["name"] for shard in dataset.manifest["shards"]}
    strange: dict[str, None] = {}
    table = pq.ParquetFile(dataset.folder / "samples.parquet")
    for batch in table.iter_batches(ROWS_PER_BATCH, columns=PLACE):
        rows = pl.DataFrame(batch).with_columns(pl.col("offset", "size").fill_null(-1))
        for (name,), part in rows.group_by("shard", maintain_order=True):
            if name in listed:
                yield from _changed_in(dataset, str(name), part.drop("shard"))
            else:
                strange[str(name)] = None
    yield from (f"shard {name} is in samples.parquet, not in the manifest" for name in strange)


def _changed_in(dataset: Dataset, shard: str, places: pl.DataFrame) -> Iterator[str]:
    path = dataset.folder / "shards" / shard
    if not path.is_file() or not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as tar:
        for name, offset, size, expected in places.iter_rows():
            if hashlib.sha256(tar[offset : offset + size]).hexdigest() != expected:
                yield f"image `{name}` in {shard} has changed, or is not at its place"
