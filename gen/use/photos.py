"""The user's image files: found in folders, and read one by one; what cannot be read is listed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gen.datasets.images import BadImage, decode_first, square
from gen.machine import cores
from splits.errors import UserError

if TYPE_CHECKING:
    from tqdm import tqdm

MOST_READERS = 4
"""threads that decode: one image of the largest allowed size takes hundreds of megabytes"""
SHOWN = 20
"""files that were left out, of which the terminal tells"""
HEIC = (".heic", ".heif")


class Skipped(NamedTuple):
    """A file that was left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Batch:
    """Images that were read together.

    Attributes:
        places: positions of their files in the list, in increasing order.
        images: uint8 RGB, shape [b, S, S, 3]; as many as places.
        skipped: files between them that could not be read.
    """

    places: list[int]
    images: np.ndarray
    skipped: list[Skipped]


def find_files(
    places: Sequence[Path], *, without: Path | None = None
) -> tuple[list[Path], list[Skipped]]:
    """The files that are named, and those below the folders that are named, each once.

    Folders are gone through in the order of names, links to folders are followed, and a folder is
    looked into once. What is hidden (its name begins with a dot) is left out, unless it is named.

    Args:
        places: files and folders.
        without: a folder that is left out.

    Returns:
        The files; and what cannot be an image's file, or a folder that cannot be read.

    Raises:
        UserError: a place is not there.
    """
    found: dict[Path, Skipped | None] = {}
    for place in places:
        if not place.exists():
            raise UserError(
                f"there is no file or folder {shown(place)}",
                expected="image files, or folders of them",
            )
        if place.is_dir():
            for path, problem in _below(place, without):
                found.setdefault(path, problem)
        else:
            found.setdefault(place, _problem(place))
    files = [path for path, problem in found.items() if problem is None]
    return files, [problem for problem in found.values() if problem is not None]


def read_batches(
    paths: Sequence[Path], pixels: int, size: int, bar: tqdm | None = None
) -> Iterator[Batch]:
    """Read images as models see them: upright, RGB, the centre square at the model's size.

    Args:
        paths: files.
        pixels: height and width to which they are brought.
        size: files of a batch.
        bar: one step for every file.
    """
    pool = ThreadPoolExecutor(min(cores(), MOST_READERS))
    try:
        for start in range(0, len(paths), size):
            part = paths[start : start + size]
            images, places, skipped = [], [], []
            for place, read in enumerate(pool.map(lambda path: _try(path, pixels), part), start):
                if isinstance(read, Skipped):
                    skipped.append(read)
                else:
                    images.append(read)
                    places.append(place)
                if bar is not None:
                    bar.update()
            shape = (len(images), pixels, pixels, 3)
            yield Batch(places, np.asarray(images, np.uint8).reshape(shape), skipped)
    finally:
        pool.shutdown(cancel_futures=True)


def read_photo(path: Path) -> np.ndarray:
    """An image, upright, uint8 RGB [H, W, 3]; of an animated one the first frame.

    Raises:
        BadImage: it cannot be read, is no image, damaged, or has too many pixels (by its header).
    """
    try:
        with path.open("rb") as file:
            return decode_first(file)
    except OSError as error:
        raise BadImage(f"cannot be read: {error.strerror}") from None
    except BadImage as error:
        if path.suffix.lower() in HEIC:
            raise BadImage(f"{error}: HEIC, convert it to JPEG") from None
        raise


def tell_skipped(skipped: Sequence[Skipped], total: int) -> list[str]:
    """Lines that tell what was left out, of so many files; none where nothing was.

    Raises:
        UserError: no file could be read.
    """
    if not skipped and total:
        return []
    lines = [f"  {shown(path)}: {reason}" for path, reason in skipped[:SHOWN]]
    lines += [f"  … and {len(skipped) - SHOWN} more"] if len(skipped) > SHOWN else []
    if len(skipped) == total:
        raise UserError(
            "\n".join(["there is no image that could be read", *lines]),
            expected="JPEG, PNG, WebP, GIF, TIFF, BMP, JPEG 2000, AVIF or PPM files, or folders "
            "with them",
        )
    return [f"{len(skipped)} of {total} files could not be read:", *lines]


def shown(path: Path) -> str:
    """A file's name as a terminal may show it: what would move its cursor is written out."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _below(folder: Path, without: Path | None) -> Iterator[tuple[Path, Skipped | None]]:
    """The files below a folder, with what keeps each from being read, if anything does."""
    seen: set[tuple[int, int]] = set()
    closed: list[OSError] = []
    left_out = without.resolve() if without is not None else None
    for name, folders, names in os.walk(folder, followlinks=True, onerror=closed.append):
        place = Path(name)
        status = place.stat()
        if (status.st_dev, status.st_ino) in seen or place.resolve() == left_out:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (place / name for name in sorted(names) if not name.startswith(".")):
            yield path, _problem(path)
    for error in closed:
        path = Path(error.filename)
        yield path, Skipped(path, f"cannot be read: {error.strerror}")


def _problem(path: Path) -> Skipped | None:
    """What can be said against a file without opening it: a pipe would never end."""
    try:
        path.name.encode()
    except UnicodeEncodeError:
        return Skipped(path, "its name is not in UTF-8")
    return None if path.is_file() else Skipped(path, "no regular file, or a link to nothing")


def _try(path: Path, pixels: int) -> np.ndarray | Skipped:
    try:
        return square(read_photo(path), pixels)
    except BadImage as error:
        return Skipped(path, str(error))
