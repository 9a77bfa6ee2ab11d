"""Shards: webdataset tars that any webdataset user can read, and random access into them.

Equal content gives equal bytes (no times, no owners in the tar). The sample table holds the place
of every encoded image, so that reading needs no streaming and shuffling is exact.
"""

from __future__ import annotations

import mmap
import os
import re
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import polars as pl
from webdataset import TarWriter

from gen.datasets.images import square
from gen.datasets.making import verifying_command
from splits.errors import UserError
from splits.files import replacing


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
    needed, available = 3 * count * pixels**2, available_memory()
    if needed > available:
        raise UserError(
            f"{count:,} images need {needed / 2**30:.1f} GiB of memory, of which "
            f"{available / 2**30:.1f} are available",
            expected=f"room for all of them at {pixels} × {pixels} pixels",
            fix="import the dataset with fewer `pixels`, take fewer `--slots`, a smaller base, or "
            "a larger machine",
        )
    return np.empty((count, pixels, pixels, 3), dtype=np.uint8)


def available_memory() -> int:
    """Bytes that a process may still take, what the system would give back among them."""
    path = Path("/proc/meminfo")
    found = re.search(r"MemAvailable: *(\d+) kB", path.read_text()) if path.is_file() else None
    if found:
        return int(found[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def read_images(
    folder: Path, samples: pl.DataFrame, pixels: int, out: np.ndarray | None = None
) -> np.ndarray:
    """Decode the images of `samples`, in their order, as models see them.

    Args:
        folder: the dataset's folder.
        samples: rows of the sample table (`id`, `shard`, `offset`, `size`, `height`, `width`).
        pixels: P, height and width of the result. Of an image of another size it is the centre
            square, resized; an image of that size stays as it is.
        out: where to write the images; new memory where it is None.

    Returns:
        uint8 RGB, shape [N, P, P, 3].

    Raises:
        UserError: a shard is missing or an image in it is damaged, or memory lacks.
    """
    images = empty_images(samples.height, pixels) if out is None else out
    rows = samples.select("id", "shard", "offset", "size", "height", "width").with_row_index("row")
    for (shard,), part in rows.group_by("shard", maintain_order=True):
        path = folder / "shards" / str(shard)
        if not path.is_file() or not path.stat().st_size:
            raise _damaged(f"shard {path} is {'empty' if path.is_file() else 'missing'}", path)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as tar:
            for row, name, _, offset, size, *shape in part.iter_rows():
                image = _decode(tar[offset : offset + size], name, path, tuple(shape))
                images[row] = square(image, pixels)
    return images


def _decode(data: bytes, name: str, path: Path, shape: tuple[int, ...]) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if image is None or image.shape[:2] != shape:
        raise _damaged(f"image `{name}` in {path} is damaged", path)
    return image[:, :, ::-1]


def _damaged(found: str, shard: Path) -> UserError:
    command = verifying_command(shard.parent.parent)
    return UserError(
        found,
        expected="the shards that the dataset's manifest lists",
        fix=f"find out what else, and how to make the dataset again: {command}",
    )
