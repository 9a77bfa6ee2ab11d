"""Without its shared nodes every domain loses a class; without private ones only their own does."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from planted_circuits import (
    CLASSES,
    DOMAINS,
    SHARED,
    SITES,
    SIZE,
    circuits,
    planted_images,
    planted_learner,
    planted_readout,
)

from analysis.bench import Bench
from analysis.cells import CellMeans
from analysis.class_sets import class_sets
from analysis.effects import CAUSES
from analysis.held_images import Images
from analysis.interventions import Baselines
from analysis.sites import list_sites
from analysis.unit_ablation import matched, top_share, unit_ablation
from gen.schema import SiteLevel

FOLDS = 4
OTHER = pl.col("source") != pl.col("target")


def cells_of(scores):
    """Scores that are the same in every fold, but for what halves of images differ by."""
    folds = {site: np.stack([values] * FOLDS).astype(float) for site, values in scores.items()}
    counts = np.full((FOLDS, len(DOMAINS), len(CLASSES)), 2)
    return CellMeans(folds, counts, DOMAINS, CLASSES)


@pytest.fixture(scope="module")
def table():
    learner = planted_learner()
    sites = list_sites(learner.model, SiteLevel.neuron)
    scores = {site: circuits(site) / SIZE for site in SITES}
    zero = {
        site: torch.zeros(*found.shape[:2], 1, found.shape[2]) for site, found in scores.items()
    }
    bench = Bench(
        learner,
        planted_readout(),
        Images(*planted_images(3, seed=5)),
        DOMAINS,
        class_sets(CLASSES, {0: CLASSES[:1]}),
        torch.device("cpu"),
    )
    return unit_ablation(bench, cells_of(scores), Baselines("zero", zero), sites, seed=0)


def loss(table, control, *where):
    rows = table.filter(*where, quantity="margin_loss", control=control, classes="all")
    return rows["value"]


def test_shared_nodes_hurt_all_domains_and_private_ones_only_their_own(table):
    assert dict(table.schema) == CAUSES
    assert loss(table, "", OTHER).min() > 0.1
    assert loss(table, "").to_numpy() == pytest.approx(loss(table, "").mean(), rel=0.2)
    assert loss(table, "private", ~OTHER).min() > 0.1
    assert loss(table, "private", OTHER).abs().max() < 1e-6
    assert loss(table, "random").max() < 0.05


def test_in_their_own_domain_matched_nodes_matter_alike(table):
    paired = table.filter(~OTHER, quantity="shared_minus_private", classes="all")
    assert paired["value"].abs().max() < 1e-6
    elsewhere = table.filter(OTHER, quantity="shared_minus_private", classes="all")
    assert elsewhere["lo"].min() > 0


def test_as_many_nodes_with_as_large_scores_are_taken_away(table):
    pairs = SIZE - SHARED["block2.neurons"]
    for control in ("", "private"):
        own = table.filter(control=control, classes="all")
        assert set(own.filter(quantity="nodes")["value"]) == {float(pairs)}
        score = own.filter(quantity="matched_score")["value"].to_numpy()
        assert score == pytest.approx(pairs / SIZE)


def test_accuracy_stands_beside_that_of_the_whole_model(table):
    accuracy = table.filter(quantity="accuracy", classes="all")
    assert set(accuracy.filter(dose=0)["value"]) == {1.0}
    assert set(accuracy["chance"]) == {1 / len(CLASSES)}


def test_nodes_are_shared_where_half_of_the_other_domains_have_them():
    scores = np.zeros((3, 4, 40))
    scores[0, 0, :4] = [1.0, 1.1, 1.2, 5.0]
    scores[1, 0, [0, 1]], scores[2, 0, [1]] = 1, 1
    found = matched(cells_of({"site": scores}), "site", np.random.default_rng(0))
    assert np.flatnonzero(found.masks[""][0, 0]).tolist() == [1]
    assert np.flatnonzero(found.masks["private"][0, 0]).tolist() == [2]  # 5.0 is like none
    assert found.masks["random"][0, 0].sum() == 1
    assert not found.masks["random"][0, 0, :4].any()
    assert found.scores["private"][0, 0] == pytest.approx(1.2)


def test_one_half_of_the_images_chooses_and_the_other_says_what_nodes_score():
    scores = np.zeros((3, 4, 40))
    scores[0, 0, :2], scores[1, 0, 0], scores[2, 0, 0] = 1, 1, 1
    cells = cells_of({"site": scores})
    choosing, saying = (list(half) for half in cells.pairings()[0])
    cells.folds["site"][choosing, 0, 0, 1] = 3
    cells.folds["site"][saying, 0, 0, 1] = -1  # its score was an accident of the other half
    found = matched(cells, "site", np.random.default_rng(0))
    assert not found.masks["private"][0, 0].any()


def test_the_largest_tenth_has_no_score_of_0():
    scores = np.zeros((1, 1, 30))
    scores[0, 0, 7] = 1
    assert np.flatnonzero(top_share(scores)[0, 0]).tolist() == [7]
