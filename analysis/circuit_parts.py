"""The strongest parts of a few classes in every domain: what a drawing of them shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from analysis.cells import CellMeans
from analysis.circuits import rank_nodes
from analysis.class_sets import ClassSet
from analysis.edge_graph import EdgeGraph

SHARE = 0.05
"""of all nodes: one of the sizes at which faithfulness is measured"""
MOST_EDGES = 60
"""edges of a class in a domain, the strongest"""
OF_A_SET = 3
"""classes that are drawn of the first draw's seen, and of its held-out classes"""
CIRCUIT_PARTS: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(["class_name", "domain", "kind", "source", "target"], pl.String),
    **{"node": pl.Int64, "value": pl.Float64},
}


def circuit_parts(
    scores: CellMeans,
    class_sets: Sequence[ClassSet],
    edges: tuple[CellMeans, EdgeGraph] | None = None,
) -> pl.DataFrame:
    """The highest-ranked SHARE of the nodes, and the strongest edges, of a few classes.

    Args:
        scores: what nodes add to the margin, per cell.
        class_sets: of positions along C.
        edges: the same of edges, and where they lead from and to; None where a tower has none.

    Returns:
        CIRCUIT_PARTS: of `node` rows `source` is the site and `node` the number there; of `edge`
        rows `source` and `target` are names of the graph.
    """
    names = [scores.classes[member] for member in drawn_classes(class_sets)]
    rows = list(_nodes(scores.of_classes(names)))
    if edges is not None:
        rows += _edges(edges[0].of_classes(names), edges[1])
    return pl.DataFrame(rows, schema=CIRCUIT_PARTS)


def drawn_classes(class_sets: Sequence[ClassSet]) -> list[int]:
    """The first OF_A_SET seen and held-out classes of the first draw; without draws, of all."""
    sets = class_sets[1:3] or class_sets[:1]
    return sorted(member for chosen in sets for member in chosen.members[:OF_A_SET])


def _nodes(scores: CellMeans) -> Iterator[dict]:
    ranked = rank_nodes(scores, list(scores.folds))
    means = {site: scores.means(site) for site in scores.folds}
    for d, domain in enumerate(scores.domains):
        kept = {
            site: found.numpy() for site, found in ranked.by_site(ranked.kept(d, SHARE)).items()
        }
        for c, name in enumerate(scores.classes):
            key = {"class_name": name, "domain": domain, "kind": "node"}
            for site, kept_CN in kept.items():
                for node in np.flatnonzero(kept_CN[c]):
                    value = float(means[site][d, c, node])
                    yield key | {"source": site, "node": int(node), "value": value}


def _edges(scores: CellMeans, graph: EdgeGraph) -> Iterator[dict]:
    places = [(target, source) for target in scores.folds for source in graph.sources_of(target)]
    together_DCS = np.concatenate([scores.means(target) for target in scores.folds], axis=-1)
    for d, domain in enumerate(scores.domains):
        for c, name in enumerate(scores.classes):
            values_S = together_DCS[d, c]
            for edge in np.argsort(-values_S, kind="stable")[:MOST_EDGES]:
                target, source = places[edge]
                key = {"class_name": name, "domain": domain, "kind": "edge"}
                yield key | {"source": source, "target": target, "value": float(values_S[edge])}
