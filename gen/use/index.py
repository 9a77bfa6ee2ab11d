"""The index of a folder of images: their embeddings by one model, kept on disk and kept current.

A file counts as the same while its name, size and time of change stay. The embeddings of the
others are computed, those of files that are gone are dropped.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from gen.device import describe_device
from gen.evaluation.embed import batch_size, embed_images
from gen.progress import progress
from gen.provenance import provenance
from gen.runs import sha256_of, utc_now
from gen.use.models import UsedModel
from gen.use.photos import Skipped, find_files, read_batches
from splits.errors import UserError
from splits.files import DISK_ERRORS, FULL_ERRORS, replacing, write_json

SCHEMA_VERSION = 1
FOLDER = ".clipgen-index"
"""in the folder of the images, unless another place is named"""
TABLE, FACTS = "index.parquet", "index.json"
PREPROCESSING = "upright, on white, centre square; area average where larger, bicubic where smaller"
NAME_LENGTH = 60
"""letters of a model's name in that of a folder"""
SAVE_SECONDS = 300.0
"""between states of a long indexing that are written"""
STAMPS = {"path": pl.String, "size": pl.Int64, "mtime_ns": pl.Int64}


@dataclass(frozen=True)
class Index:
    """Embeddings of the images of a folder. N images, E embedding channels.

    Attributes:
        place: the folder of the index.
        stamps: `path` (below the folder of the images, with `/`), `size` in bytes and `mtime_ns`,
            sorted by path.
        vectors: their normalised embeddings, float32 [N, E], in the same order.
    """

    place: Path
    stamps: pl.DataFrame
    vectors: np.ndarray


@dataclass(frozen=True)
class Changes:
    """What became of an index: files that were kept, were new, had changed, or were gone."""

    kept: int
    new: int
    changed: int
    gone: int
    skipped: list[Skipped]
    total: int
    """files that were looked at, those that were skipped among them"""


def index_place(model: UsedModel, photos: Path, named: Path | None) -> Path:
    """The folder of a model's index of a folder of images: every model has its own.

    Args:
        model: that embeds.
        photos: folder of the images.
        named: where the user wants it; there may be the indices of other folders, too.
    """
    owner = str(photos.resolve()) if named is not None else ""
    readable = re.sub(r"[^\w.-]+", "-", model.name)[-NAME_LENGTH:].strip("-.")
    digest = sha256_of([SCHEMA_VERSION, PREPROCESSING, model.image_key, owner])[:12]
    return (named if named is not None else photos / FOLDER) / f"{readable}-{digest}"


def current_index(
    model: UsedModel, photos: Path, named: Path | None, device: torch.device
) -> tuple[Index, Changes]:
    """The index of a folder as its files are now; written where anything changed.

    What was embedded before an interruption is kept.

    Args:
        model: that embeds.
        photos: folder of the images.
        named: folder of indices; None: `.clipgen-index` in `photos`.
        device: where to compute.

    Raises:
        UserError: there is no such folder, or the index is damaged or cannot be written.
    """
    before = _load(index_place(model, photos, named))
    paths, skipped = find_files([photos], without=named)
    total = len(paths) + len(skipped)
    now = _stamped(paths, photos, skipped)
    numbered = before.stamps.with_row_index("row")
    same = numbered.join(now, on=list(STAMPS), how="semi", maintain_order="left")
    fresh = now.join(before.stamps, on=list(STAMPS), how="anti", maintain_order="left")
    kept = _picked(before, same["row"])
    index = _extended(kept, fresh, model, device, photos, skipped) if fresh.height else kept
    added = index.stamps.join(before.stamps, on=list(STAMPS), how="anti")
    changed = added.join(before.stamps, on="path", how="semi").height
    gone = before.stamps.join(index.stamps, on="path", how="anti").height
    if added.height or gone:
        _save(index)
    changes = Changes(same.height, added.height - changed, changed, gone, skipped, total)
    return index, changes


def _extended(
    index: Index,
    fresh: pl.DataFrame,
    model: UsedModel,
    device: torch.device,
    photos: Path,
    skipped: list[Skipped],
) -> Index:
    """The index with these files, too; those that cannot be read are appended to `skipped`.

    It is written now and then, and where anything ends the work early.
    """
    learner, paths = model.learner, [photos / name for name in fresh["path"]]
    rows: list[int] = []
    parts: list[np.ndarray] = []
    saved = time.monotonic()
    _describe(index.place, model, photos, device)
    try:
        with progress(len(paths), "indexing", "images") as bar:
            for batch in read_batches(paths, learner.pixels, batch_size(learner.pixels), bar):
                skipped += batch.skipped
                if batch.places:
                    parts.append(embed_images(learner, batch.images, device).numpy())
                    rows += batch.places
                if time.monotonic() - saved > SAVE_SECONDS:
                    _save(_joined(index, fresh, rows, parts))
                    saved = time.monotonic()
    except BaseException:
        _save(_joined(index, fresh, rows, parts))
        raise
    return _joined(index, fresh, rows, parts)


def _joined(
    index: Index, fresh: pl.DataFrame, rows: Sequence[int], parts: Sequence[np.ndarray]
) -> Index:
    stamps = pl.concat([index.stamps, fresh.select(pl.all().gather(list(rows)))])
    old = [index.vectors] if len(index.vectors) else []
    vectors = np.concatenate([*old, *parts]) if old or parts else index.vectors
    order = stamps["path"].arg_sort()
    return Index(index.place, stamps[order], vectors[order.to_numpy()])


def _picked(index: Index, rows: pl.Series) -> Index:
    chosen = index.stamps.select(pl.all().gather(rows))
    return Index(index.place, chosen, index.vectors[rows.to_numpy()])


def _stamped(paths: Sequence[Path], photos: Path, skipped: list[Skipped]) -> pl.DataFrame:
    """The stamps of files, sorted by path; those that are gone by now are appended to `skipped`."""
    rows: list[tuple[str, int, int]] = []
    for path in paths:
        try:
            status = path.stat()
        except OSError as error:
            skipped.append(Skipped(path, f"cannot be read: {error.strerror}"))
            continue
        name = path.relative_to(photos).as_posix()
        rows.append((name, status.st_size, status.st_mtime_ns))
    return pl.DataFrame(rows, schema=STAMPS, orient="row").sort("path")


def _describe(place: Path, model: UsedModel, photos: Path, device: torch.device) -> None:
    """Write what an index is of, and what its newest images are embedded with."""
    facts = {
        "schema_version": SCHEMA_VERSION,
        "model": model.name,
        **model.image_key,
        "preprocessing": PREPROCESSING,
        "images": str(photos.resolve()),
        "device": describe_device(device),
        "embedded": utc_now(),
        **provenance(),
    }
    with _writable(place):
        write_json(place / FACTS, facts)


@contextmanager
def _writable(place: Path) -> Iterator[None]:
    """Explain what keeps an index from being written, but a full disk, which explains itself.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL_ERRORS or error.errno not in DISK_ERRORS:
            raise
        raise UserError(
            f"the index cannot be written: {error.strerror}",
            where=str(place),
            fix="--index DIR, a folder that can be written",
        ) from None


def _load(place: Path) -> Index:
    """The index that is there, or an empty one."""
    path = place / TABLE
    if not path.is_file():
        return Index(place, pl.DataFrame(schema=STAMPS), np.zeros((0, 0), np.float32))
    try:
        table = pl.read_parquet(path)
        stamps = table.select(pl.col(name).cast(kind) for name, kind in STAMPS.items())
        vectors = table["embedding"].to_numpy()
        if vectors.ndim != 2:
            raise ValueError("no vectors")
    except (pl.exceptions.PolarsError, OSError, ValueError) as error:
        raise UserError(
            f"the index is damaged: {str(error).splitlines()[0]}",
            where=str(path),
            fix=f"delete {place}; the next search makes it again",
        ) from None
    return Index(place, stamps, vectors)


def _save(index: Index) -> None:
    if not len(index.vectors):
        (index.place / TABLE).unlink(missing_ok=True)
        return
    kind = pl.Array(pl.Float32, index.vectors.shape[1])
    embedding = pl.Series("embedding", index.vectors, dtype=kind)
    with _writable(index.place), replacing(index.place / TABLE) as temporary:
        index.stamps.with_columns(embedding).write_parquet(temporary, compression="lz4")
