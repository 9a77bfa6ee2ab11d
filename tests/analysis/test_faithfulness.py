"""Circuits that are planted are found faithful, and in another domain as far as they are shared."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from planted_circuits import (
    CLASSES,
    DISTRACTORS,
    DOMAINS,
    SHARED,
    SITES,
    SIZE,
    circuits,
    planted_images,
    planted_learner,
    planted_readout,
)

from analysis.cells import CellMeans
from analysis.circuits import Nodes, rank_nodes
from analysis.class_sets import class_sets
from analysis.faithfulness import FAITHFULNESS, RANDOM_DRAWS, REMOVED, Tower, faithfulness, forwards
from analysis.faithfulness_curves import QUANTITIES, SHARES
from analysis.held_images import Images
from analysis.interventions import Baselines
from analysis.sites import list_sites
from gen.schema import SiteLevel

CPU = torch.device("cpu")
SETS = class_sets(CLASSES, {0: CLASSES[3:]})
COUNTS = {site: circuits(site).shape[-1] for site in SITES}


def planted_scores() -> CellMeans:
    """2 for what carries a cell, 1 for what nothing reads, 0 for what carries other cells."""
    folds = {}
    for site in SITES:
        values = 2.0 * circuits(site)
        values[:, :, -DISTRACTORS:] = 1
        folds[site] = np.stack([values, values])
    return CellMeans(folds, np.ones((2, len(DOMAINS), len(CLASSES)), int), DOMAINS, CLASSES)


def zero() -> Baselines:
    shape = (len(DOMAINS), len(CLASSES), 1)
    return Baselines("zero", {site: torch.zeros(*shape, count) for site, count in COUNTS.items()})


@pytest.fixture(scope="module")
def images() -> Images:
    return Images(*planted_images(per_cell=2, seed=5))


def nodes_of(learner, names):
    sites = list_sites(learner.model, SiteLevel.neuron)
    return Nodes([site for site in sites if site.name in names])


def table_of(images, sites=SITES, scores=None, base=None, seed=0, bar=None):
    learner = planted_learner()
    return faithfulness(
        *(learner, images, scores or planted_scores(), base or zero(), planted_readout()),
        *(DOMAINS, SETS, nodes_of(learner, sites), CPU, seed, bar),
    )


@pytest.fixture(scope="module")
def table(images) -> pl.DataFrame:
    return table_of(images)


def values_at(table, circuit, share, classes="all"):
    rows = table.filter(
        pl.col("circuit") == circuit, pl.col("classes") == classes, pl.col("k") == share
    )
    assert rows.height
    return rows["value"].to_numpy()


@pytest.mark.parametrize("sites", [SITES, *([site] for site in SITES)], ids=str)
def test_what_a_circuit_keeps_in_another_domain_is_what_it_has_of_that_domains_own(images, sites):
    """F[A → B] = the product over sites of the shares of B's neurons that A has, too."""
    learner = planted_learner()
    ranked = rank_nodes(planted_scores(), sites)
    tower = Tower(learner, planted_readout(), zero(), DOMAINS, nodes_of(learner, sites), CPU)
    learner.model.eval()
    share = len(sites) * SIZE / sum(ranked.nodes.values())
    expected = math.prod(SHARED[site] / SIZE for site in sites)
    everything = torch.ones_like(ranked.kept(0, share))
    for target in range(len(DOMAINS)):
        shown = images.of(images.domain_numbers(DOMAINS) == target)
        kept = [ranked.kept(source, share) for source in range(len(DOMAINS))]
        with torch.inference_mode():
            found = tower.margins(shown, [~everything, everything, *kept], ranked, None)
        empty, full = found[:2].mean(axis=1)
        f = (found[2:].mean(axis=1) - empty) / (full - empty)
        for source in range(len(DOMAINS)):
            assert f[source] == pytest.approx(1 if source == target else expected, abs=1e-5)


def test_the_planted_circuit_is_faithful_from_its_own_size_on(table):
    size = len(SITES) * SIZE / sum(COUNTS.values())
    assert 0.05 < size < 0.1
    for share in SHARES:
        expected = 1 if share > size else 0  # half a circuit has no last site
        assert values_at(table, "own", share) == pytest.approx(expected, abs=1e-5)


def test_the_table_says_of_every_source_what_it_has_of_the_target(images):
    found = table_of(images, sites=["block2.neurons"])
    assert values_at(found, "own", 0.1) == pytest.approx(1, abs=1e-5)
    other = values_at(found, "other", 0.1)
    assert other == pytest.approx([12 / 18] * 6, abs=1e-5)


def test_what_is_left_without_the_circuit_is_worth_nothing(table):
    rows = table.filter(pl.col("circuit") == "complement", pl.col("classes") == "all")
    own = rows.filter(pl.col("source") == pl.col("target"))
    assert own.filter(pl.col("k") == 0.1)["value"].to_numpy() == pytest.approx(0, abs=1e-5)
    # without the circuit of another domain what that one has in common is missing, no more
    other = rows.filter(pl.col("source") != pl.col("target"), pl.col("k") == 0.1)
    assert other["value"].to_numpy() == pytest.approx(0, abs=1e-5)  # the last site is common


def test_a_domain_without_the_private_nodes_of_another_is_whole(images):
    found = table_of(images, sites=["block1.neurons"])
    rows = found.filter(
        pl.col("circuit") == "complement", pl.col("classes") == "all", pl.col("k") == 0.1
    )
    for row in rows.iter_rows(named=True):
        expected = 0 if row["source"] == row["target"] else 1
        assert row["value"] == pytest.approx(expected, abs=1e-5)


def test_random_nodes_and_those_of_another_class_are_worth_nothing(table):
    assert values_at(table, "random", 0.1) == pytest.approx(0, abs=0.05)
    assert values_at(table, "wrong_class", 0.1) == pytest.approx(0, abs=1e-5)
    for circuit in ("random", "wrong_class"):
        assert values_at(table, circuit, 1.0).tolist() == [1.0] * len(DOMAINS)


def test_the_table_has_every_pair_circuit_set_and_size_once(table):
    assert dict(table.schema) == FAITHFULNESS
    keys = ["source", "target", "circuit", "draw", "classes", "quantity", "k"]
    assert not table.select(keys).is_duplicated().any()
    pairs = len(DOMAINS) ** 2
    rows = len(SHARES) + len(QUANTITIES) - 1
    per_set = pairs * (rows + len(REMOVED)) + 2 * len(DOMAINS) * rows
    assert table.height == len(SETS) * per_set
    assert table["note"].null_count() == table["baseline"].null_count() == 0
    assert not table.select(pl.col(pl.Float64).is_nan().any()).row(0).count(True)
    same = pl.col("source") == pl.col("target")
    assert table.filter(pl.col("circuit") == "own").select(same.all()).item()
    assert not table.filter(pl.col("circuit") == "other").select(same.any()).item()
    assert set(table["baseline"]) == {"zero"}
    assert set(table["parts"]) == {"nodes"}


def test_n_and_images_are_those_of_the_target_and_the_class_set(table):
    counts = table.select("classes", "n", "n_images").unique().sort("classes").rows()
    assert counts == [("all", 4, 8), ("held_out", 1, 2), ("seen", 3, 6)]
    one = table.filter(pl.col("classes") == "held_out", pl.col("quantity") == "f")
    assert set(one["note"]) == {"no interval: 1 classes, fewer than 3"}
    assert one["value"].null_count() == 0


def test_one_class_set_does_not_change_what_another_says(images, table):
    part = images.of(images.labels != 3)
    learner = planted_learner()
    found = faithfulness(
        *(learner, part, planted_scores(), zero(), planted_readout(), DOMAINS),
        *(SETS, nodes_of(learner, SITES), CPU, 0),
    )
    seen = values_at(found, "own", 0.1, "seen")
    assert seen == pytest.approx(values_at(table, "own", 0.1, "seen"), abs=1e-5)
    nothing = found.filter(pl.col("classes") == "held_out")
    assert set(nothing["note"]) == {"no test image of these classes"}


def test_the_bar_counts_every_forward_of_every_image(images):
    told = []
    table_of(images, bar=SimpleNamespace(update=told.append))
    assert sum(told) == len(images) * forwards(len(DOMAINS))


def test_the_table_is_the_same_again_and_random_nodes_are_others_with_another_seed(images, table):
    assert table_of(images).equals(table)
    scattered = {
        s: np.random.default_rng(1).normal(size=v.shape) for s, v in planted_scores().folds.items()
    }
    scores = CellMeans(scattered, planted_scores().counts, DOMAINS, CLASSES)
    found = [
        values_at(table_of(images, scores=scores, seed=seed), "random", 0.5) for seed in (0, 1)
    ]
    assert not np.allclose(*found)
    assert RANDOM_DRAWS > 1


def test_scores_are_found_by_name(images, table):
    turned = planted_scores().of_classes(CLASSES[::-1]).of_domains(DOMAINS[::-1])
    assert table_of(images, scores=turned).equals(table)


def test_a_class_that_has_no_image_in_some_domain_is_an_error(images):
    is_gone = (images.labels == 1) & (images.domain_numbers(DOMAINS) == 2)
    with pytest.raises(ValueError, match=r"no image of the classes \[1\] in sketch"):
        table_of(images.of(~is_gone))
