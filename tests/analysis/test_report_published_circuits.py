"""The published nodes and edges in a report: means over pairs, beside ours where there is one."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import ANY

import pytest
from planted_sharing import BLOCKS

from analysis.report.section import Table
from analysis.report.sharing_published import published_section
from analysis.report.summary import setting_label


def test_published_nodes_and_edges_stand_beside_ours_of_the_last_block(rich):
    *_, table = published_section(rich).parts
    assert table.name == "published_circuits"
    rows = table.frame.filter(setting="leave_out_domain", test_domain="quickdraw")
    numbers = rows.select("measure", "site", "pairs", "value", "ours").rows()
    node, edge = "circuit_node_jaccard", "circuit_edge_jaccard"
    assert {row[:3]: row[3:] for row in numbers if row[0] != "circuit_wl"} == {
        **{(node, s, "with_test_domain"): (pytest.approx(0.2), ANY) for s in BLOCKS},
        **{(node, s, "others"): (pytest.approx(0.4), ANY) for s in BLOCKS},
        (node, "layer4.0", "with_test_domain"): (pytest.approx(0.2), pytest.approx(0.3)),
        (node, "layer4.0", "others"): (pytest.approx(0.4), pytest.approx(0.5)),
        (edge, "edges", "with_test_domain"): (pytest.approx(0.1), None),
        (edge, "edges", "others"): (pytest.approx(0.2), None),
    }
    names = ["quickdraw", setting_label("leave_out_domain")]
    shown = [row for row in table.view.rows if row[:2] == names]
    cells = {row[table.view.columns.index("Measure")]: row[-4:] for row in shown}
    ours, none = ("0.30 (0.22 to 0.38)", "0.50 (0.42 to 0.58)"), "not estimable"
    assert cells == {
        "Jaccard index of kept channels": ["0.20", ours[0], "0.40", ours[1]],
        "Jaccard index of edges": ["0.10", none, "0.20", none],
        "Weisfeiler-Lehman kernel of the graphs": ["0.10", none, "0.20", none],
    }


def test_published_circuits_without_other_published_measures_have_the_section(rich):
    none = replace(rich, analyses=rich.analyses | {"published": rich.analyses["published"].clear()})
    assert [p.name for p in published_section(none).parts if isinstance(p, Table)] == [
        "published_circuits"
    ]
    nothing = none.analyses | {"published_circuits": none.analyses["published_circuits"].clear()}
    assert published_section(replace(none, analyses=nothing)) is None
