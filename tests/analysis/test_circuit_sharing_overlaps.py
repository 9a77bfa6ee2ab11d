"""Overlaps of two score vectors, and what shuffled nodes give."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.overlaps import OVERLAPS, SHUFFLES, Parts, node_orders, random_jaccard, top_sets
from analysis.site_overlaps import SiteOverlaps, mean_of_classes, mean_of_others


@pytest.mark.parametrize(("nodes", "size"), [(1, 1), (4, 1), (10, 1), (11, 2), (30, 3), (180, 18)])
def test_a_set_is_a_tenth_rounded_up_and_one_node_at_least(nodes, size):
    assert Parts((nodes,)).sizes == [size]
    scores = np.random.default_rng(0).normal(size=(5, nodes))
    assert top_sets(scores, Parts((nodes,))).sum(axis=-1).tolist() == [size] * 5


def test_sets_of_several_sites_are_the_sets_of_each():
    scores = np.concatenate([np.arange(1.0, 11), 100 + np.arange(20.0)])
    assert np.flatnonzero(top_sets(scores, Parts((10, 20)))).tolist() == [9, 28, 29]


def test_equal_scores_are_in_a_set_together_and_zeros_in_none():
    assert top_sets(np.array([0, 2, -2, 1, 0, 0, 0, 0, 0, 0]), Parts((10,))).tolist() == [
        *(0, 1, 1, 0, 0, 0, 0, 0, 0, 0)
    ]
    sparse = np.zeros(30)
    sparse[4] = -1e-9
    assert np.flatnonzero(top_sets(sparse, Parts((30,)))).tolist() == [4]
    assert np.isnan(top_sets(np.zeros(30), Parts((30,)))).all()


def test_random_sets_of_a_tenth_have_a_jaccard_index_of_one_in_nineteen():
    assert random_jaccard(Parts((5_000,))) == pytest.approx(1 / 19, abs=1e-3)
    assert random_jaccard(Parts((1,))) == 1
    assert random_jaccard(Parts((4,))) == pytest.approx(1 / 4)
    assert random_jaccard(Parts((3,), top=2 / 3)) == pytest.approx(1 / 3 + 2 / 3 / 3)


@pytest.mark.parametrize("nodes", [(30,), (12, 4, 25)])
def test_random_sets_of_several_sites_have_the_index_that_draws_have(nodes):
    rng, parts = np.random.default_rng(0), Parts(nodes, top=0.2)
    drawn = top_sets(rng.normal(size=(2, 10_000, sum(nodes))), parts)
    found = OVERLAPS["jaccard"].rows(drawn[0], drawn[1])
    error = found.std() / np.sqrt(len(found))
    assert random_jaccard(parts) == pytest.approx(found.mean(), abs=4 * error)


def test_shuffles_keep_nodes_at_their_site():
    orders = node_orders(Parts((5, 3)), seed=0)
    assert orders.shape == (SHUFFLES, 8)
    assert (np.sort(orders, axis=1) == np.arange(8)).all()
    assert (orders[:, :5] < 5).all()
    assert len(np.unique(orders, axis=0)) > 0.8 * SHUFFLES


def test_chance_of_sets_that_all_classes_have_in_common_is_as_wide_as_that_of_one_class():
    """Independent draws for every class would make a band √30 times as narrow."""
    rng = np.random.default_rng(0)
    fixed = np.broadcast_to(rng.normal(size=(1, 2, 2, 1, 50)), (1, 2, 2, 30, 50))
    own = rng.normal(size=(1, 2, 2, 30, 50))
    widths = {}
    for name, scores in (("fixed", fixed), ("own", own)):
        below, above = (
            SiteOverlaps(scores, Parts((50,)), 0).plain("spearman", range(30)).chance_band
        )
        widths[name] = float(above[0] - below[0])
    assert widths["fixed"] == pytest.approx(2 * 1.96 / np.sqrt(49), rel=0.25)
    assert widths["own"] < widths["fixed"] / 3


@pytest.mark.parametrize("measure", OVERLAPS)
def test_a_vector_is_its_own_equal_and_sides_do_not_matter(measure):
    overlap, scores = OVERLAPS[measure], np.random.default_rng(0).normal(size=(6, 25))
    described = overlap.describe(scores, Parts((25,)))
    assert overlap.rows(described, described) == pytest.approx(1)
    table = overlap.table(described, described)
    assert table == pytest.approx(table.T)
    assert table[:, 1] == pytest.approx(overlap.rows(described, described[1]))


def test_means_over_classes_and_over_other_classes_tell_what_is_left_without_each():
    table = np.random.default_rng(0).normal(size=(2, 6, 6))
    for function, reduced in (
        (mean_of_others, lambda x: x[:, ~np.eye(x.shape[-1], dtype=bool)].mean(axis=-1)),
        (
            lambda x: mean_of_classes(x.diagonal(axis1=1, axis2=2)),
            lambda x: x.trace(0, 1, 2) / x.shape[-1],
        ),
    ):
        found = function(table)
        assert found.value == pytest.approx(reduced(table))
        for i in range(6):
            kept = [j for j in range(6) if j != i]
            assert found.left_out[:, i] == pytest.approx(reduced(table[:, kept][:, :, kept]))
