"""A dataset on disk: its sample table, its manifest, and the check of both against the shards."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from splits.errors import UserError

SCHEMA_VERSION = 1
PARTS = ("manifest.json", "samples.parquet")

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
    "shard": pl.String,
    "offset": pl.Int64,
    "size": pl.Int64,
    "width": pl.Int64,
    "height": pl.Int64,
    "sha256": pl.String,
}


@dataclass(frozen=True)
class Dataset:
    """A dataset that is complete on disk.

    Attributes:
        folder: where it is.
        manifest: content of its manifest.json.
        samples: the sample table; docs/formats.md lists its columns.
    """

    folder: Path
    manifest: dict[str, Any]
    samples: pl.DataFrame

    @property
    def name(self) -> str:
        return str(self.manifest["config"]["name"])

    @property
    def domains(self) -> tuple[str, ...]:
        return tuple(self.manifest["config"]["domains"])

    @property
    def natural(self) -> str:
        return str(self.manifest["config"]["natural"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a class's id is its position."""
        return tuple(self.manifest["classes"])

    @property
    def super_categories(self) -> dict[str, str]:
        """Super-category of every class."""
        rows = self.samples.select("class_name", "super_category").unique()
        return dict(rows.sort("class_name").iter_rows())

    @property
    def pixels(self) -> int:
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

    Raises:
        UserError: it is not there, not complete, or its table does not fit its manifest.
    """
    folder = data / name
    if folder.is_dir() and not all((folder / part).is_file() for part in PARTS):
        raise _broken(
            folder, f"dataset `{name}` is not whole: {' or '.join(PARTS)} is missing", name
        )
    if not folder.is_dir():
        raise UserError(
            f"dataset `{name}` is not built",
            where=str(folder),
            fix=f"clipgen dataset build {name}"
            + ("" if str(data) == "data" else f" --data {data}"),
        )
    try:
        manifest = dict(json.loads((folder / PARTS[0]).read_text(encoding="utf-8")))
        samples = pl.read_parquet(folder / PARTS[1])
    except (ValueError, TypeError, pl.exceptions.PolarsError, OSError) as error:
        raise _broken(folder, f"the dataset's tables are not readable ({error})", name) from None
    if manifest.get("schema_version") != SCHEMA_VERSION or samples.schema != pl.Schema(COLUMNS):
        raise _broken(folder, "the dataset was written by another version of clipgen", name)
    if table_sha256(samples) != manifest.get("sha256"):
        raise _broken(folder, "samples.parquet does not fit manifest.json", name)
    return Dataset(folder, manifest, samples)


def table_sha256(samples: pl.DataFrame) -> str:
    """Hash of what a model can see of a dataset: ids, captions and image hashes, in order."""
    columns = ["id", "split", "domain", "class_name", "caption", "caption_aligned", "sha256"]
    lines = samples.select(pl.concat_str(columns, separator="\t")).to_series()
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def verify_dataset(dataset: Dataset) -> list[str]:
    """Compare every shard with the manifest and every image with the table; list what is wrong."""
    problems = []
    for shard in dataset.manifest["shards"]:
        path = dataset.folder / "shards" / shard["name"]
        if not path.is_file():
            problems.append(f"{path} is missing")
            continue
        content = path.read_bytes()
        if len(content) != shard["bytes"]:
            problems.append(f"{path} has {len(content)} bytes, not {shard['bytes']}")
        elif hashlib.sha256(content).hexdigest() != shard["sha256"]:
            problems.append(f"{path} has changed: its sha256 is not the manifest's")
            problems += _changed_images(dataset.samples, shard["name"], content)
    return problems


def _changed_images(samples: pl.DataFrame, shard: str, content: bytes) -> list[str]:
    rows = samples.filter(pl.col("shard") == shard).select("id", "offset", "size", "sha256")
    return [
        f"image `{name}` in {shard} has changed"
        for name, offset, size, expected in rows.iter_rows()
        if hashlib.sha256(content[offset : offset + size]).hexdigest() != expected
    ]


def _broken(folder: Path, found: str, name: str) -> UserError:
    return UserError(
        found,
        where=str(folder),
        fix=f"delete {folder} and run: clipgen dataset build {name}",
    )
