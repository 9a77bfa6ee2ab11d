"""Shards: webdataset tars that any webdataset user can read, and random access into them.

Equal content gives equal bytes (no times, no owners in the tar). The sample table holds the place
of every encoded image, so that reading needs no streaming and shuffling is exact.
"""

from __future__ import annotations

import os
import resource
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
from webdataset import TarWriter

from gen.datasets.decoding import decode
from gen.datasets.images import square
from gen.datasets.making import verifying_command
from gen.machine import available_memory
from splits.errors import UserError
from splits.files import replacing

MOST_SHARDS = 10_000
"""that are kept open at a time, where the system allows for as many"""


def write_shard(path: Path, samples: Iterable[Mapping[str, bytes | str]]) -> dict[str, tuple]:
    """Write samples (`__key__` and one entry per file extension) as a tar, whole or not at all.

    Returns:
        For every member's name its (offset, size) in bytes within the tar.
    """
    with replacing(path) as temporary:
        owner: dict[str, Any] = {"mtime": 0, "user": "clipgen", "group": "clipgen"}
        with temporary.open("wb") as file, TarWriter(file, encoder=False, **owner) as writer:
            for sample in samples:
                writer.write(dict(sample))
        with tarfile.open(temporary) as tar:
            return {member.name: (member.offset_data, member.size) for member in tar}


def encode_png(image: np.ndarray) -> bytes:
    """PNG bytes of a uint8 RGB image [H, W, 3]."""
    return cv2.imencode(".png", image[:, :, ::-1])[1].tobytes()


def empty_images(count: int, pixels: int) -> np.ndarray:
    """Room for `count` square images, uint8 [count, pixels, pixels, 3].

    Raises:
        UserError: there is not that much memory.
    """
    available = available_memory()
    if 3 * count * pixels**2 > available:
        raise no_room(count, pixels, available, "memory")
    return np.empty((count, pixels, pixels, 3), dtype=np.uint8)


def no_room(count: int, pixels: int, available: int, memory: str) -> UserError:
    """The error (not raised) for decoded images that do not fit into the `available` bytes."""
    return UserError(
        f"{count:,} images need {3 * count * pixels**2 / 2**30:.1f} GiB of {memory}, of which "
        f"{available / 2**30:.1f} are available",
        expected=f"room for all of them at {pixels} × {pixels} pixels",
        fix="import the dataset with fewer `pixels`, take fewer `--slots`, a smaller base, a "
        "larger machine, or (where training needs them) let them wait on disk: "
        "`training.images=disk`",
    )


class StoredImages:
    """Random access to the encoded images of one or several datasets; threads may share it.

    Files are read by position, not mapped: reading lets other threads go on meanwhile, and a shard
    that is cut off while it is read is an error instead of the end of the process.

    Args:
        parts: (dataset folder, rows of its sample table), one after another. Of the rows `id`,
            `shard`, `offset`, `size`, `height` and `width` are needed.
        pixels: P, height and width at which models see an image. Of an image of another size it is
            the centre square, resized; an image of that size stays as it is.
    """

    def __init__(self, parts: Sequence[tuple[Path, pl.DataFrame]], pixels: int) -> None:
        self.pixels = pixels
        self._paths: list[Path] = []
        self._ids = pl.concat([rows["id"] for _, rows in parts])
        places = [self._places(folder / "shards", rows) for folder, rows in parts]
        self._shards, self._offsets, self._sizes, self._heights, self._widths = (
            np.concatenate(columns) for columns in zip(*places, strict=True)
        )
        self._open = lru_cache(_files_at_once())(_Shard)

    def __len__(self) -> int:
        return len(self._ids)

    def in_stored_order(self) -> np.ndarray:
        """All positions, int64 of shape [N], so that each shard is read once, from its start."""
        return np.lexsort((self._offsets, self._shards))

    def read(self, position: int, out: np.ndarray) -> None:
        """Decode the image at `position` into `out`, uint8 RGB of shape [P, P, 3].

        Raises:
            UserError: its shard is missing or empty, or the image is damaged.
        """
        path = self._paths[self._shards[position]]
        data = self._open(path).read(int(self._offsets[position]), int(self._sizes[position]))
        try:
            image = decode(data)
        except ValueError:
            image = None
        shape = (self._heights[position], self._widths[position])
        if image is None or image.shape[:2] != shape:
            raise _damaged(f"image `{self._ids[int(position)]}` in {path} is damaged", path)
        out[...] = square(image, self.pixels)

    def _places(self, folder: Path, rows: pl.DataFrame) -> tuple[np.ndarray, ...]:
        """Number of the shard, and four columns, of every row; notes the shards' paths."""
        names = rows["shard"].unique(maintain_order=True)
        numbers = rows["shard"].cast(pl.Enum(names)).to_physical().to_numpy().astype(np.int64)
        first = len(self._paths)
        self._paths += [folder / name for name in names]
        columns = ("offset", "size", "height", "width")
        return numbers + first, *(rows[column].to_numpy() for column in columns)


class _Shard:
    """An open shard; it is closed when nobody reads it any more."""

    def __init__(self, path: Path) -> None:
        self._file = -1
        if not path.is_file() or not path.stat().st_size:
            raise _damaged(f"shard {path} is {'empty' if path.is_file() else 'missing'}", path)
        self._file = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if self._file >= 0:
            os.close(self._file)

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._file, size, offset)


def _files_at_once() -> int:
    """Shards that may be open at a time: half of the files that the process may have open."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST_SHARDS if allowed == resource.RLIM_INFINITY else min(MOST_SHARDS, allowed // 2)


def read_images(
    folder: Path, samples: pl.DataFrame, pixels: int, out: np.ndarray | None = None
) -> np.ndarray:
    """Decode the images of `samples`, in their order, as models see them.

    Args:
        folder: the dataset's folder.
        samples: rows of the sample table, as `StoredImages` needs them.
        pixels: P, as `StoredImages` takes it.
        out: where to write the images; new memory where it is None.

    Returns:
        uint8 RGB, shape [N, P, P, 3].

    Raises:
        UserError: a shard is missing or an image in it is damaged, or memory lacks.
    """
    images = empty_images(samples.height, pixels) if out is None else out
    stored = StoredImages([(folder, samples)], pixels)
    for position in stored.in_stored_order():
        stored.read(position, images[position])
    return images


def _damaged(found: str, shard: Path) -> UserError:
    command = verifying_command(shard.parent.parent)
    return UserError(
        found,
        expected="the shards that the dataset's manifest lists",
        fix=f"find out what else, and how to make the dataset again: {command}",
    )
