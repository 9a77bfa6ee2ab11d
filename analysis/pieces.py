"""Pieces of a long analysis, kept until all of it is done: one that is killed goes on from them."""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl

from analysis.cells import CellMeans
from splits.files import replacing

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    zipfile.BadZipFile,
    pl.exceptions.PolarsError,
)
NAMES = ("domains", "classes")


class Pieces:
    """Results by name, each in a file that is written once it is whole.

    Args:
        folder: of the files; those of another key below it are deleted.
        key: of what the results depend on.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._root, self._folder = folder, folder / key
        if folder.is_dir():
            for other in folder.iterdir():
                if other.name != key:
                    shutil.rmtree(other, ignore_errors=True)

    def table(self, name: str, make: Callable[[], pl.DataFrame]) -> pl.DataFrame:
        """The table of this name; made if it is not there, or cannot be read."""
        path = self._folder / f"{name}.parquet"
        try:
            return pl.read_parquet(path)
        except UNREADABLE:
            table = make()
            with replacing(path) as temporary:
                table.write_parquet(temporary)
            return table

    def cells(self, name: str, make: Callable[[], CellMeans]) -> CellMeans:
        """The cell means of this name; made if they are not there, or cannot be read."""
        path = self._folder / f"{name}.npz"
        try:
            with np.load(path) as arrays:
                return _cells(dict(arrays))
        except UNREADABLE:
            cells = make()
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.savez(file, **_arrays(cells))  # type: ignore[arg-type]
            return cells

    def clear(self) -> None:
        """Delete all pieces: what they were for is done."""
        shutil.rmtree(self._root, ignore_errors=True)


def _arrays(cells: CellMeans) -> dict[str, np.ndarray]:
    names = {key: np.array(getattr(cells, key)) for key in NAMES}
    return names | {"counts": cells.counts} | {f"site {k}": v for k, v in cells.folds.items()}


def _cells(arrays: dict[str, np.ndarray]) -> CellMeans:
    folds = {
        key.removeprefix("site "): values
        for key, values in arrays.items()
        if key.startswith("site ")
    }
    domains, classes = (tuple(arrays[key].tolist()) for key in NAMES)
    return CellMeans(folds, arrays["counts"], domains, classes)
