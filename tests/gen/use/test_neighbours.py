"""The nearest images are found exactly, and of very many almost all of them."""

from __future__ import annotations

import sys

import numpy as np
import polars as pl
import pytest

from gen.use import neighbours
from gen.use.index import Index
from gen.use.neighbours import GRAPH, nearest
from splits.errors import UserError

UNITS = 32


def planted(place, count, seed=0):
    """An index of random directions."""
    vectors = np.random.default_rng(seed).normal(size=(count, UNITS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    names = [f"{number:05}.png" for number in range(count)]
    stamps = pl.DataFrame({"path": names, "size": [1] * count, "mtime_ns": [2] * count})
    return Index(place, stamps, vectors)


@pytest.fixture
def graphs(monkeypatch):
    """Every index counts as large."""
    monkeypatch.setattr(neighbours, "LARGE", 1)


def picked(index, rows):
    return Index(index.place, index.stamps[rows], index.vectors[rows])


def recall(index, count=10, queries=20):
    """Share of the true nearest images that are found."""
    hits = 0
    for query in planted(None, queries, seed=1).vectors:
        best = np.argsort(-(index.vectors @ query))[:count]
        true = set(index.stamps["path"].gather(best))
        hits += len(true & set(nearest(index, query, count)["path"]))
    return hits / (count * queries)


def test_the_best_come_first_with_their_cosines(tmp_path):
    index = planted(tmp_path, 20)
    found = nearest(index, index.vectors[7], 3)
    cosines = index.vectors @ index.vectors[7]
    assert found["path"][0] == "00007.png"
    assert found["rank"].to_list() == [1, 2, 3]
    assert np.allclose(found["similarity"], np.sort(cosines)[::-1][:3])


def test_equal_images_stand_in_the_order_of_their_names(tmp_path):
    index = Index(tmp_path, planted(tmp_path, 4).stamps, np.ones((4, 1), np.float32))
    found = nearest(index, np.ones(1, np.float32), 9)
    assert found["path"].to_list() == ["00000.png", "00001.png", "00002.png", "00003.png"]


def test_fewer_images_than_asked_for_are_all_of_them(tmp_path, graphs):
    assert nearest(planted(tmp_path, 3), planted(None, 1).vectors[0], 10).height == 3


def test_a_graph_finds_what_all_comparisons_find(tmp_path, graphs):
    index = planted(tmp_path, 1000)
    assert recall(index) >= 0.98
    query = planted(None, 1, seed=2).vectors[0]
    found = nearest(index, query, 5)
    rows = [index.stamps["path"].to_list().index(name) for name in found["path"]]
    assert np.allclose(found["similarity"], (index.vectors @ query)[rows], atol=1e-6)
    assert (tmp_path / GRAPH).is_file()


def test_a_graph_follows_its_index(tmp_path, graphs):
    whole = planted(tmp_path, 300)
    assert recall(picked(whole, slice(0, 200))) >= 0.98
    assert recall(picked(whole, slice(100, 300))) >= 0.98
    changed = Index(tmp_path, whole.stamps.with_columns(mtime_ns=3), whole.vectors[::-1].copy())
    assert recall(changed) >= 0.98


def test_a_graph_is_written_where_it_changed_only(tmp_path, graphs):
    index = planted(tmp_path, 50)
    recall(index, queries=1)
    before = (tmp_path / GRAPH).stat().st_mtime_ns
    recall(index, queries=1)
    assert (tmp_path / GRAPH).stat().st_mtime_ns == before


def test_a_damaged_graph_is_made_again(tmp_path, graphs):
    index = planted(tmp_path, 200)
    (tmp_path / GRAPH).write_bytes(b"no graph")
    assert recall(index) >= 0.98


def test_without_the_library_its_extra_is_named(tmp_path, graphs, monkeypatch):
    monkeypatch.setitem(sys.modules, "usearch.index", None)
    with pytest.raises(UserError, match="usearch") as told:
        nearest(planted(tmp_path, 3), planted(None, 1).vectors[0], 1)
    assert "clipgen[ann]" in told.value.fix
