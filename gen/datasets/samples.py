"""A dataset on disk: its sample table and its manifest, and their hashes."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from gen.datasets.making import making_command, missing_dataset
from gen.schema import CaptionStyle, DatasetKind
from splits.errors import UserError
from splits.settings import World

SCHEMA_VERSION = 3
PARTS = ("manifest.json", "samples.parquet")
ROWS_PER_BATCH = 1 << 16
"""of a table that is hashed: so many are in memory at a time"""

COLUMNS: dict[str, Any] = {
    "id": pl.String,
    "domain": pl.String,
    "class_name": pl.String,
    "super_category": pl.String,
    "class_id": pl.Int64,
    "split": pl.String,
    "instance": pl.String,
    "drawing": pl.String,
    "family": pl.String,
    "caption": pl.String,
    "caption_aligned": pl.String,
    "position": pl.Int64,
    "shard": pl.String,
    "offset": pl.Int64,
    "size": pl.Int64,
    "width": pl.Int64,
    "height": pl.Int64,
    "sha256": pl.String,
    "phash": pl.UInt64,
}


@dataclass(frozen=True)
class Dataset:
    """A dataset that is complete on disk.

    Attributes:
        folder: where it is.
        manifest: content of its manifest.json.
    """

    folder: Path
    manifest: dict[str, Any]

    @cached_property
    def samples(self) -> pl.DataFrame:
        """The sample table, all of it in memory; docs/formats.md lists its columns."""
        return self.scan().collect()

    def scan(self) -> pl.LazyFrame:
        """The sample table unread, for tables that do not fit the memory."""
        return pl.scan_parquet(self.folder / "samples.parquet", glob=False)

    @property
    def name(self) -> str:
        return str(self.manifest["config"]["name"])

    @property
    def is_base(self) -> bool:
        """Whether it holds image-caption pairs without classes."""
        return not self.classes

    @property
    def is_scenes(self) -> bool:
        """Whether its images show several objects, listed in scenes.parquet."""
        return bool(self.manifest["config"].get("kind") == DatasetKind.scenes.name)

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(self.manifest["domains"])

    @property
    def natural(self) -> str:
        return str(self.manifest["natural"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a class's id is its position."""
        return tuple(self.manifest["classes"])

    @property
    def world(self) -> World:
        """Domains and classes, as settings need them (not of a base)."""
        named = self.manifest["config"].get("trim_order", ())
        trim_order = tuple(name for name in named if name in self.domains)
        return World(self.domains, self.classes, self.natural, trim_order)

    @property
    def super_categories(self) -> dict[str, str]:
        """Super-category of every class; "" where nobody gave any."""
        return dict(self.manifest["super_categories"])

    @property
    def comparable_classes(self) -> list[str]:
        """Classes with two or more test images in every domain, in the order of their ids."""
        test = self.samples.filter(pl.col("split") == "test")
        cells = test.group_by("domain", "class_name").len().filter(pl.col("len") >= 2)
        everywhere = cells.group_by("class_name").len().filter(pl.col("len") == len(self.domains))
        return sorted(everywhere["class_name"], key=self.classes.index)

    @property
    def caption_style(self) -> CaptionStyle:
        """The patterns of its captions; of scenes, whose captions are sentences of their own, those
        that name one object."""
        config = self.manifest["config"]
        of_kind = CaptionStyle.bare if self.is_scenes else CaptionStyle.short
        return CaptionStyle[config.get("captions", of_kind.name)]

    @property
    def pixels(self) -> int:
        """Height and width of an image as models see it."""
        return int(self.manifest["config"]["pixels"])

    @property
    def sha256(self) -> str:
        return str(self.manifest["sha256"])

    @property
    def build_seconds(self) -> float | None:
        """How long building took; None where nobody kept the time."""
        path = self.folder / "build.json"
        return json.loads(path.read_text())["seconds"] if path.is_file() else None


def load_dataset(name: str, data: Path) -> Dataset:
    """Load the dataset `data/name`.

    The table of a base is not read: only the number of its rows is compared with the manifest
    (`gen.datasets.verifying` checks all of it).

    Raises:
        UserError: it is not there, not complete, or its table does not fit its manifest.
    """
    folder = data / name
    if folder.is_dir() and not all((folder / part).is_file() for part in PARTS):
        raise _broken(folder, f"dataset `{name}` is not whole: {' or '.join(PARTS)} is missing")
    if not folder.is_dir():
        raise missing_dataset(name, data)
    try:
        manifest = dict(json.loads((folder / PARTS[0]).read_text(encoding="utf-8")))
        table = pq.ParquetFile(folder / PARTS[1])
        schema, rows = pl.read_parquet_schema(folder / PARTS[1]), table.metadata.num_rows
        if manifest.get("schema_version") != SCHEMA_VERSION or schema != COLUMNS:
            raise _broken(folder, "the dataset was written by another version of clipgen")
        dataset = Dataset(folder, manifest)
        if rows != manifest["samples"] or not (dataset.is_base or _fits(dataset)):
            raise _broken(folder, "samples.parquet does not fit manifest.json")
    except (ValueError, TypeError, KeyError, pl.exceptions.PolarsError, OSError) as error:
        raise _broken(folder, f"the dataset's tables are not readable ({error})") from None
    return dataset


def content_sha256(path: Path) -> str:
    """Hash of what a model can see of a dataset: ids, captions and image hashes, in order.

    Args:
        path: a sample table as Parquet; it is read in batches.
    """
    columns = ["id", "split", "domain", "class_name", "caption", "caption_aligned", "sha256"]
    digest, separator = hashlib.sha256(), ""
    for batch in pq.ParquetFile(path).iter_batches(ROWS_PER_BATCH, columns=columns):
        rows = pl.DataFrame(batch)
        lines = rows.select(pl.concat_str(columns, separator="\t")).to_series()
        digest.update((separator + "\n".join(lines)).encode())
        separator = "\n"
    return digest.hexdigest()


def table_sha256(path: Path) -> str:
    """Hash of every cell of a sample table: of its rows, in order, as lines of JSON.

    Args:
        path: the table as Parquet; it is read in batches.
    """
    digest = hashlib.sha256()
    for batch in pq.ParquetFile(path).iter_batches(ROWS_PER_BATCH):
        digest.update(pl.DataFrame(batch).write_ndjson().encode())
    return digest.hexdigest()


def _fits(dataset: Dataset) -> bool:
    return content_sha256(dataset.folder / PARTS[1]) == dataset.sha256


def _broken(folder: Path, found: str) -> UserError:
    command = making_command(folder.name, folder.parent)
    fix = f"delete {shlex.quote(str(folder))} and run: {command}"
    return UserError(found, where=str(folder), fix=fix)
