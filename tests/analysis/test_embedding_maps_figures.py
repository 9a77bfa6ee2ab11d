"""Figures of maps: every image is a point, and what is held out can be seen."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex

from analysis.report.domain_matrices import pair_matrix
from analysis.report.map_figures import (
    COLOURS,
    NATURAL,
    OTHER,
    TEST,
    domain_colours,
    map_figure,
)
from analysis.report.summary import percent

DOMAINS = ("real", "clipart", "quickdraw")
SITES = ("stem", "embedding")
HELD_OUT = ("axe", "bed")


def points(sites=SITES, explained=0.3):
    rows = [
        {"site": site, "domain": domain, "class_name": name, "x": i, "y": 2 * i, "id": f"{i}"}
        for site in sites
        for i, (domain, name) in enumerate((d, c) for d in DOMAINS for c in ("axe", "bed", "cat"))
    ]
    return pl.DataFrame(rows).with_columns(
        pl.col("x", "y").cast(pl.Float64), explained=pl.lit(explained, dtype=pl.Float64)
    )


def drawn(axes):
    """Places of all points, and those of every part in the order of drawing."""
    parts = [part for part in axes.collections if isinstance(part, PathCollection)]
    places = np.concatenate([np.asarray(part.get_offsets()) for part in parts])
    return places, [part.get_offsets() for part in parts]


def figure_of(panels, sites=SITES):
    return map_figure(panels, sites, DOMAINS, "quickdraw", "real", HELD_OUT)


def test_every_image_is_a_point_of_every_panel():
    figure = figure_of({"natural_only": points(), "leave_out_domain": points()})
    panels = [axes for axes in figure.axes if axes.collections]
    assert len(panels) == 4
    for axes in panels:
        places, _ = drawn(axes)
        assert sorted(places[:, 0]) == pytest.approx(range(9))
        assert places[:, 1].tolist() == pytest.approx((2 * places[:, 0]).tolist())
        assert axes.get_xlabel() == f"{percent(0.3)} of the variance"


def test_held_out_cells_of_the_test_domain_are_marked_and_on_top():
    figure = figure_of({"natural_only": points()})
    _, parts = drawn(figure.axes[0])
    assert parts[-1][:, 0].tolist() == [6, 7]  # quickdraw's axe and bed
    assert "quickdraw, held-out classes" in [t.get_text() for t in figure.legends[0].get_texts()]


def test_a_site_that_a_run_lacks_is_an_empty_panel():
    figure = figure_of({"vit": points(sites=("stem",), explained=None)})
    assert [text.get_text() for text in figure.axes[1].texts] == ["none"]
    assert figure.axes[0].get_xlabel() == ""


def test_the_test_domain_and_the_natural_one_have_their_colours():
    found = domain_colours(DOMAINS, "quickdraw", "real")
    assert found == {"real": NATURAL, "clipart": to_hex(COLOURS[0]).upper(), "quickdraw": TEST}
    assert domain_colours(DOMAINS, "real", "real")["real"] == TEST


def test_more_domains_than_colours_are_grey():
    many = [f"domain {i}" for i in range(len(COLOURS) + 3)]
    found = domain_colours(many, many[0], many[1])
    assert {found[name] for name in many[2:]} == {OTHER}


def test_distances_stand_on_both_sides_and_have_a_dot_where_they_reach_0():
    rows = pl.DataFrame(
        {
            "domain_a": ["real", "real", "real"],
            "domain_b": ["clipart", "quickdraw", None],
            "value": [0.2, 1.5, 98.0],
            "lo": [-0.1, 1.2, 90.0],
        }
    )
    values, by_noise = pair_matrix(DOMAINS)(rows)
    assert values[0].tolist()[1:] == [0.2, 1.5]
    assert np.array_equal(values, values.T, equal_nan=True)
    assert np.isnan(np.diag(values)).all()
    assert by_noise.tolist() == [[False, True, False], [True, False, False], [False] * 3]
