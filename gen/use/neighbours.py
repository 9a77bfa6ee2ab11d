"""The images of an index that are nearest to a query, exactly or, of very many, approximately.

Legend: N images, E embedding channels.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from gen.progress import progress
from gen.use.index import STAMPS, Index
from splits.errors import UserError
from splits.files import replacing

if TYPE_CHECKING:
    from usearch.index import Index as Graph

LARGE = 1_000_000
"""images from which on a graph is searched instead of all of them"""
GRAPH = "neighbours.usearch"
CANDIDATES = 4
"""times as many as are wanted: what the graph, which keeps half precision, proposes"""
EXPANSION = 256
"""nodes that a search in the graph keeps an eye on, at least"""
ADDED_AT_A_TIME = 10_000


def nearest(index: Index, query: np.ndarray, count: int) -> pl.DataFrame:
    """The images whose embeddings are most like a query's, best first.

    Of `LARGE` images and more a graph (HNSW, Malkov and Yashunin 2020) proposes candidates, which
    are then compared exactly: similarities are exact, but an image may be missed.

    Args:
        index: with one image or more.
        query: normalised embedding, float32 [E].
        count: images wanted.

    Returns:
        `rank` from 1, `path`, `similarity` (cosine).

    Raises:
        UserError: there are so many images that a library is needed which is not installed.
    """
    if len(index.vectors) < LARGE:
        rows, similarity = np.arange(len(index.vectors)), index.vectors @ query
    else:
        rows = np.sort(_proposed(index, query, count))
        similarity = index.vectors[rows] @ query
    order = np.argsort(-similarity, kind="stable")[:count]
    return pl.DataFrame(
        {
            "rank": np.arange(1, len(order) + 1),
            "path": index.stamps["path"].gather(rows[order]),
            "similarity": similarity[order].astype(np.float64),
        }
    )


def _proposed(index: Index, query: np.ndarray, count: int) -> np.ndarray:
    """Rows of candidates, by the graph that stands beside the index."""
    keys = _keys(index.stamps)
    graph = _current_graph(index, keys)
    wanted = min(CANDIDATES * count, len(keys))
    found = graph.search(query, wanted).keys
    order = np.argsort(keys)
    return order[np.searchsorted(keys[order], found)]


def _current_graph(index: Index, keys: np.ndarray) -> Graph:
    """The graph of just these images; written where it was not."""
    graph, path = _open_graph(index), index.place / GRAPH
    there = graph.keys[:]
    gone, new = np.setdiff1d(there, keys), np.flatnonzero(~np.isin(keys, there))
    if not len(gone) and not len(new):
        return graph
    if len(gone):
        graph.remove(gone)
    with progress(len(new), "graph", "images") as bar:
        for start in range(0, len(new), ADDED_AT_A_TIME):
            rows = new[start : start + ADDED_AT_A_TIME]
            graph.add(keys[rows], index.vectors[rows])
            bar.update(len(rows))
    with replacing(path) as temporary:
        graph.save(temporary)
    return graph


def _open_graph(index: Index) -> Graph:
    try:
        from usearch.index import Index as Graph
    except ImportError:
        raise UserError(
            f"{len(index.vectors)} images, and usearch, by which so many are searched, is not "
            "installed",
            expected=f"fewer than {LARGE} images, or the extra `ann`",
            fix="pip install 'clipgen[ann]'",
        ) from None
    path: Path = index.place / GRAPH
    graph = Graph(ndim=index.vectors.shape[1], metric="ip", dtype="f16", expansion_search=EXPANSION)
    if path.is_file():
        try:
            Graph.metadata(path)  # of a file that is no graph `load` would allocate any size
            graph.load(path)
        except (ValueError, RuntimeError):  # damaged: it is made again from the embeddings
            graph.clear()
    return graph


def _keys(stamps: pl.DataFrame) -> np.ndarray:
    """A number for every image, uint64 [N], which changes with the file: what is in a graph under
    a number is never another image's."""
    texts = ("\0".join(map(str, row)) for row in stamps.select(list(STAMPS)).iter_rows())
    digests = b"".join(hashlib.sha256(text.encode()).digest()[:8] for text in texts)
    return np.frombuffer(digests, np.uint64)
