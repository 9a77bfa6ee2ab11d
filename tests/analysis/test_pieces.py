"""What an analysis has done is not done again, unless it depends on something else."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from analysis.cells import CellMeans
from analysis.pieces import Pieces


@pytest.fixture
def cells():
    rng = np.random.default_rng(0)
    folds = {site: rng.normal(size=(2, 3, 4, 5)) for site in ("block1.heads", "layer1.0.act1")}
    return CellMeans(folds, np.full((2, 3, 4), 7), ("real", "clipart", "sketch"), tuple("abcd"))


def never():
    raise AssertionError("it was there")


def test_what_is_there_is_read_and_not_made(tmp_path, cells):
    table = pl.DataFrame({"value": [0.5, None]})
    first = Pieces(tmp_path / "pieces", "key")
    assert first.table("quality", lambda: table).equals(table)
    first.cells("scores", lambda: cells)
    again = Pieces(tmp_path / "pieces", "key")
    assert again.table("quality", never).equals(table)
    found = again.cells("scores", never)
    assert (found.domains, found.classes) == (cells.domains, cells.classes)
    assert np.array_equal(found.counts, cells.counts)
    assert list(found.folds) == list(cells.folds)
    assert all(np.array_equal(found.folds[site], cells.folds[site]) for site in cells.folds)


def test_pieces_of_another_key_are_deleted(tmp_path):
    table = pl.DataFrame({"value": [1]})
    Pieces(tmp_path / "pieces", "old").table("quality", lambda: table)
    other = pl.DataFrame({"value": [2]})
    assert Pieces(tmp_path / "pieces", "new").table("quality", lambda: other).equals(other)
    assert [path.name for path in (tmp_path / "pieces").iterdir()] == ["new"]


@pytest.mark.parametrize("content", [b"", b"PAR1 and nothing more"])
def test_a_damaged_piece_is_made_again(tmp_path, cells, content):
    pieces = Pieces(tmp_path / "pieces", "key")
    table = pl.DataFrame({"value": [1]})
    pieces.table("quality", lambda: table)
    pieces.cells("scores", lambda: cells)
    for path in (tmp_path / "pieces" / "key").iterdir():
        path.write_bytes(content)
    assert pieces.table("quality", lambda: table).equals(table)
    assert pieces.cells("scores", lambda: cells) is cells


def test_a_piece_that_fails_leaves_no_file(tmp_path):
    pieces = Pieces(tmp_path / "pieces", "key")
    with pytest.raises(AssertionError):
        pieces.table("quality", never)
    assert not list((tmp_path / "pieces").rglob("*.parquet"))


def test_nothing_is_left_once_all_is_done(tmp_path):
    pieces = Pieces(tmp_path / "pieces", "key")
    pieces.table("quality", lambda: pl.DataFrame({"value": [1]}))
    pieces.clear()
    assert not (tmp_path / "pieces").exists()
