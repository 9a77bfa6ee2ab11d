"""What a drawing shows of a few classes: the strongest nodes and edges, by name."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.cells import CellMeans
from analysis.circuit_parts import CIRCUIT_PARTS, MOST_EDGES, SHARE, circuit_parts, drawn_classes
from analysis.class_sets import class_sets
from analysis.edge_graph import EdgeGraph

DOMAINS = ("real", "sketch")
CLASSES = tuple(f"class {number}" for number in range(9))
SETS = class_sets(CLASSES, {0: CLASSES[5:], 1: CLASSES[:2]})


def cells(sites, seed=0):
    rng = np.random.default_rng(seed)
    folds = {
        site: rng.normal(size=(2, len(DOMAINS), len(CLASSES), count))
        for site, count in sites.items()
    }
    return CellMeans(folds, np.full((2, 2, 9), 3), DOMAINS, CLASSES)


def test_some_seen_and_some_held_out_classes_of_the_first_draw_are_drawn():
    assert drawn_classes(SETS) == [0, 1, 2, 5, 6, 7]
    assert drawn_classes(class_sets(CLASSES, {})) == [0, 1, 2]


def test_of_all_sites_together_the_highest_scores_of_a_class_are_its_nodes():
    scores = cells({"block1.heads": 4, "block1.neurons": 96})
    table = circuit_parts(scores, SETS)
    assert dict(table.schema) == CIRCUIT_PARTS
    assert set(table["kind"]) == {"node"}
    rows = table.filter(class_name="class 6", domain="sketch").sort("value", descending=True)
    together = np.concatenate([scores.means(site)[1, 6] for site in scores.folds])
    most = int(SHARE * len(together))
    assert rows["value"].to_list() == pytest.approx(sorted(together, reverse=True)[:most])
    for site, node, value in rows.select("source", "node", "value").iter_rows():
        assert scores.means(site)[1, 6, node] == pytest.approx(value)


def test_the_strongest_edges_have_the_names_of_their_ends():
    sources = tuple(f"source {number}" for number in range(80))
    graph = EdgeGraph(sources, ("first", "last"), {"first": range(30), "last": range(80)})
    edges = cells({"first": 30, "last": 80}, seed=1)
    table = circuit_parts(cells({"layer1": 20}), SETS, (edges, graph)).filter(kind="edge")
    rows = table.filter(class_name="class 0", domain="real")
    assert rows.height == MOST_EDGES
    assert rows["value"].is_sorted(descending=True)
    for source, target, value in rows.select("source", "target", "value").iter_rows():
        place = graph.sources_of(target).index(source)
        assert edges.means(target)[0, 0, place] == pytest.approx(value)
