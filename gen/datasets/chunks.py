"""The images of a listing, decoded and packed a thousand at a time.

A chunk of the listing becomes one shard, with the list of what is bad in it. The listing lies in
the folder of the build, so that every process reads its own chunks of it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from gen.datasets.captions import captions, domain_nouns
from gen.datasets.images import BadImage, prepare
from gen.datasets.listing import LISTING, REJECTED
from gen.datasets.packing import OLDEST, SAMPLES_PER_SHARD, Sample, rows_of, write_part
from gen.schema import ImportConfig
from splits.files import replacing

CHUNKS_FILE = "listing.arrow"
CHANGED = "changed"
"""column beside a rejected sample: when its file was changed last, ns (0 where it is missing)"""


@dataclass(frozen=True)
class Chunk:
    """One unit of work: a run of rows of the listing, which becomes one shard."""

    number: int
    start: int
    samples: int

    @property
    def name(self) -> str:
        return f"{self.number:06d}"


@dataclass(frozen=True)
class Packing:
    """What a process must know to pack a chunk."""

    config: ImportConfig
    classes: tuple[str, ...]
    super_categories: Mapping[str, str]


def chunks_of(count: int) -> list[Chunk]:
    """The chunks of a listing of `count` rows."""
    starts = range(0, count, SAMPLES_PER_SHARD)
    return [
        Chunk(number, start, min(SAMPLES_PER_SHARD, count - start))
        for number, start in enumerate(starts)
    ]


def write_chunks(building: Path, listing: pl.DataFrame) -> None:
    """Write the listing, one Arrow batch per chunk."""
    schema = pl.DataFrame(schema=LISTING).to_arrow(compat_level=OLDEST).schema
    with (
        replacing(building / CHUNKS_FILE) as temporary,
        pa.OSFile(str(temporary), "wb") as file,
        pa.ipc.new_file(file, schema) as writer,
    ):
        for part in listing.iter_slices(SAMPLES_PER_SHARD):
            table = part.rechunk().to_arrow(compat_level=OLDEST)
            writer.write_batch(table.combine_chunks().to_batches()[0])


def pack_chunk(packing: Packing, chunk: Chunk, building: Path) -> None:
    """Decode and write one chunk: its shard, its rows, and the list of what is bad in it."""
    write_part(building, chunk.name, _samples(packing, chunk, building))


def rejected_of(building: Path, chunk: Chunk) -> pl.DataFrame:
    """What is bad in a chunk that is packed, columns REJECTED."""
    path = _rejected_file(building, chunk)
    table = pl.read_parquet(path) if path.is_file() else pl.DataFrame(schema=REJECTED)
    return table.select(list(REJECTED))


def forget_mended(building: Path, chunks: list[Chunk]) -> None:
    """Have those chunks packed again of which a bad file has been changed since."""
    for chunk in chunks:
        path = _rejected_file(building, chunk)
        if path.is_file():
            bad = pl.read_parquet(path).select("path", CHANGED)
            if any(_changed(file) != time for file, time in bad.iter_rows()):
                rows_of(building, chunk.name).unlink(missing_ok=True)


def _samples(packing: Packing, chunk: Chunk, building: Path) -> Iterator[Sample]:
    bad = []
    for place, row in enumerate(_rows(building, chunk)):
        try:
            key = f"{chunk.start + place:09d}"
            yield _sample(packing, row, key, f"{chunk.name}.tar")
        except BadImage as reason:
            bad.append((row["id"], row["path"], str(reason), _changed(row["path"])))
    path = _rejected_file(building, chunk)
    path.unlink(missing_ok=True)
    if bad:  # is written before the rows, which say that the chunk is done
        table = pl.DataFrame(bad, schema=REJECTED | {CHANGED: pl.Int64}, orient="row")
        with replacing(path) as temporary:
            table.write_parquet(temporary)


def _rows(building: Path, chunk: Chunk) -> list[dict[str, Any]]:
    with pa.memory_map(str(building / CHUNKS_FILE)) as file:
        return pa.ipc.open_file(file).get_batch(chunk.number).to_pylist()


def _sample(packing: Packing, listed: dict[str, Any], key: str, shard: str) -> Sample:
    """Read and prepare one image.

    Raises:
        BadImage: it cannot be taken.
    """
    image = prepare(_read(listed), packing.config.short_side)
    name = listed["class_name"]
    class_id = packing.classes.index(name) if name else -1
    words = _captions(packing.config, listed)
    members = {"txt": words["caption"].encode(), "json": _as_json(id=listed["id"])}
    if name:
        members["cls"] = str(class_id).encode()
    row = {column: listed[column] for column in ("id", "domain", "class_name", "split", "position")}
    row |= {
        "super_category": packing.super_categories.get(name, ""),
        "class_id": class_id,
        "instance": listed["id"],
        "drawing": "",
        "family": "",
        "shard": shard,
        "width": image.width,
        "height": image.height,
        "sha256": hashlib.sha256(image.data).hexdigest(),
        "phash": image.phash,
    }
    return Sample(row | words, key, image.extension, image.data, members)


def _captions(config: ImportConfig, listed: dict[str, Any]) -> dict[str, str]:
    """The captions of a sample; one that was given counts as aligned, too."""
    given = listed["caption"]
    if given is not None:
        return {"caption": given, "caption_aligned": given}
    own = domain_nouns(listed["domain"], config.captions, config.nouns)
    return captions(config.seed, listed["id"], listed["class_name"], own, config.captions)


def _read(listed: dict[str, Any]) -> bytes:
    """The encoded image."""
    try:
        with open(listed["path"], "rb") as file:
            if listed["size"] is None:
                return file.read()
            file.seek(listed["offset"])
            content = file.read(listed["size"])
    except FileNotFoundError:
        raise BadImage("there is no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise BadImage(f"cannot be read: {getattr(error, 'strerror', error)}") from None
    if len(content) < listed["size"]:
        raise BadImage(f"damaged: {listed['size']} bytes expected, {len(content)} found")
    return content


def _changed(path: str) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except (OSError, ValueError):
        return 0


def _as_json(**content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()


def _rejected_file(building: Path, chunk: Chunk) -> Path:
    return building / "rejected" / f"{chunk.name}.parquet"
