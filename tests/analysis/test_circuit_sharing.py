"""What domains share of a class's nodes is found between a floor, a ceiling and chance."""

from __future__ import annotations

import numpy as np
import planted_circuits
import polars as pl
import pytest
import torch
from planted_circuits import planted_images, planted_learner, planted_readout
from planted_scores import NUMBERS, PLACES, C, D, F, every, noisy, of, planted, scores, sharing

from analysis.attribution import node_scores
from analysis.baselines import group_cells, stand_ins
from analysis.cells import CellMeans
from analysis.circuit_sharing import BASES, MEASURES, NORMALISED, SHIFT, circuit_sharing
from analysis.class_sets import ClassSet, class_sets
from analysis.domain_similarity import SIMILARITY
from analysis.sites import list_sites
from gen.schema import SiteLevel


@pytest.fixture(scope="module")
def cells():
    return scores()


@pytest.fixture(scope="module")
def table(cells):
    return circuit_sharing(cells, every(C), 0, PLACES)


# --- planted circuits


def test_domains_share_of_a_planted_network_what_is_planted():
    """Its true scores: of 18 nodes of a class and domain 0, 12 and 18 are those of any other."""
    learner, (samples, pixels) = planted_learner(), planted_images(4)
    sites, cpu = list_sites(learner.model, SiteLevel.neuron), torch.device("cpu")
    told = samples, planted_circuits.DOMAINS, planted_circuits.CLASSES
    means = group_cells(learner, pixels.split(48), *told, cpu, sites)
    base = stand_ins(means, "zero")
    scores = node_scores(
        learner, pixels.split(48), *told, planted_readout(), base, cpu, sites, "own_score"
    )
    places = {site.name: (site.level, site.depth) for site in sites}
    found = circuit_sharing(scores, every(4), 0, places)
    for site, index in zip(places, (0, 12 / 24, 1), strict=True):
        rows = found.filter(measure="jaccard", site=site)
        assert rows["value"].to_list() == [index] * 3
        assert rows.select("ceiling", "floor").unique().rows() == [(1, 0)]
    assert found.filter(measure="jaccard", site="nodes")["value"].to_list() == [30 / 78] * 3


def test_planted_scores_with_12_of_24_nodes_in_common_have_a_jaccard_index_of_a_half():
    found = sharing(np.stack([planted()] * F))
    row = of(found, "jaccard")
    assert row["value"] == 0.5
    assert row["ceiling"] == 1
    assert row["floor"] < 0.15
    assert row["note"].startswith("no interval: the same in all classes")
    expected = (0.5 - row["floor"]) / (1 - row["floor"])
    assert of(found, "jaccard_norm")["value"] == pytest.approx(expected)


def test_one_domain_shown_twice_shares_as_much_as_its_images_do():
    true = np.random.default_rng(1).normal(size=(1, 40, 60))
    found = sharing(noisy(np.concatenate([true, true]), 1.0))
    for base in BASES:
        row = of(found, NORMALISED[base])
        assert row["lo"] < 1 < row["hi"]
        assert row["value"] == pytest.approx(1, abs=0.1)
        assert row["lo"] > row["chance_hi"]
        raw = of(found, base)
        assert raw["floor"] < raw["lo"]
        assert raw["value"] == pytest.approx(raw["ceiling"], abs=0.06)


def test_domains_that_hold_each_others_other_classes_share_what_other_classes_do():
    rng = np.random.default_rng(2)
    common = 1.5 * rng.normal(size=60)
    true = common + rng.normal(size=(40, 60))
    found = sharing(noisy(np.stack([true, np.roll(true, 1, axis=0)]), 0.5))
    for base in BASES:
        row, raw = of(found, NORMALISED[base]), of(found, base)
        assert row["lo"] < 0 < row["hi"]
        assert raw["value"] == pytest.approx(raw["floor"], abs=0.04)
        assert raw["lo"] > raw["chance_hi"]  # all classes have nodes in common: no chance


def test_domains_with_other_nodes_share_what_chance_gives():
    inside = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        one, other = rng.gamma(0.5, size=60) + 0.3 * rng.normal(size=(2, 30, 60))
        other = other[:, rng.permutation(60)]
        found = sharing(noisy(np.stack([one, other]), 0.3, 5_000 + seed), seed=seed)
        rows = [of(found, measure) for measure in BASES]
        inside += [row["chance_lo"] <= row["value"] <= row["chance_hi"] for row in rows]
    assert np.mean(inside) > 0.85


def test_noise_shares_nothing_and_its_ratios_are_refused():
    tables = [
        sharing(np.random.default_rng(seed).normal(size=(F, D, 30, 50)), seed=seed)
        for seed in range(4)
    ]
    found = pl.concat(tables).filter(site="one")
    raw = found.filter(
        pl.col("measure").is_in(["jaccard", "weighted_jaccard", "spearman", "cosine"])
    )
    assert raw["value"].null_count() == 0
    for other in ("floor", "ceiling", "chance"):
        apart = raw["value"] - raw[other]
        assert abs(apart.mean()) < 0.01
        assert apart.abs().max() < 0.06
    ratios = found.filter(pl.col("measure").str.contains("_n"))
    assert ratios["value"].null_count() > 0.9 * ratios.height
    refused = ratios.filter(pl.col("value").is_null())
    assert refused["note"].str.starts_with("not estimable").all()


def test_nodes_that_help_in_one_domain_and_hurt_in_the_other_are_not_shared():
    scores = np.random.default_rng(0).normal(size=(C, 40))
    found = sharing(np.stack([np.stack([scores, -3 * scores])] * F))
    assert of(found, "jaccard")["value"] == 1
    assert of(found, "weighted_jaccard")["value"] == pytest.approx(0, abs=1e-12)
    for measure in ("spearman", "cosine", "cosine_nc"):
        assert of(found, measure)["value"] == pytest.approx(-1)


def test_how_large_a_domains_scores_are_does_not_count(cells, table):
    larger = {
        site: values * np.array([1, 5, 0.1])[:, None, None] for site, values in cells.folds.items()
    }
    scaled = CellMeans(larger, cells.counts, cells.domains, cells.classes)
    found = circuit_sharing(scaled, every(C), 0, PLACES)
    assert found["value"].to_numpy() == pytest.approx(table["value"].to_numpy(), nan_ok=True)


def test_noise_is_taken_out_of_the_cosine():
    rng = np.random.default_rng(4)
    common, own = rng.normal(size=(1, 60, 80)), rng.normal(size=(2, 60, 80))
    found = sharing(noisy(np.sqrt(0.6) * common + np.sqrt(0.4) * own, 2.0))
    assert of(found, "cosine")["value"] < 0.3
    row = of(found, "cosine_nc")
    assert row["lo"] < 0.6 < row["hi"]
    assert row["value"] == pytest.approx(0.6, abs=0.06)


# --- the table


def test_every_measure_of_every_pair_has_a_row_at_every_site_and_at_all_together(table):
    assert dict(table.schema) == SIMILARITY
    counts = dict(table.group_by("measure").len().iter_rows())
    assert counts == {**dict.fromkeys(MEASURES, 3 * 3), SHIFT: 3}
    places = table.select("site", "level", "depth").unique(maintain_order=True).rows()
    assert places == [("one", "channel", 0), ("two", "channel", 1), ("nodes", "nodes", None)]
    assert table["n"].unique().to_list() == [C]
    assert not any(table[name].is_nan().any() for name in NUMBERS)


def test_edges_are_of_a_level_of_their_own(cells, table):
    places = {"one": ("edge", 4), "two": ("edge", 7)}
    found = circuit_sharing(cells, every(C), 0, places, level="edge")
    assert found.select("site", "level", "depth").unique(maintain_order=True).rows() == [
        *(("one", "edge", 4), ("two", "edge", 7), ("edges", "edges", None))
    ]
    same = [name for name in SIMILARITY if name not in ("site", "level", "depth")]
    assert found.select(same).equals(table.select(same))


def test_class_sets_are_measured_as_if_there_were_no_others(cells, table):
    sets = class_sets(cells.classes, {2: [f"class {i}" for i in (0, 1, 3, 4, 5, 7)]})
    found = circuit_sharing(cells, sets, 0, PLACES)
    assert found.filter(classes="all").equals(table)
    held_out = [ClassSet("held_out", 2, tuple(range(6)))]
    alone = circuit_sharing(cells.of_classes(sets[2].members), held_out, 0, PLACES)
    part = found.filter(classes="held_out")
    assert part.drop(NUMBERS, "left_out").equals(alone.drop(NUMBERS, "left_out"))
    for name in NUMBERS:
        expected = pytest.approx(alone[name].to_numpy(), abs=1e-6, nan_ok=True)
        assert part[name].to_numpy() == expected


def test_equal_seeds_give_equal_tables_and_the_seed_moves_chance_only(cells, table):
    chance = ["chance", "chance_lo", "chance_hi"]
    assert circuit_sharing(cells, every(C), 0, PLACES).equals(table)
    other = circuit_sharing(cells, every(C), 1, PLACES)
    assert other.drop(chance).equals(table.drop(chance))
    assert not other.equals(table)


def test_sets_may_be_larger_and_hold_no_node_without_a_score():
    true = np.stack([planted()] * F)
    assert of(sharing(true, top=1.0), "jaccard")["value"] == 0.5
    assert of(sharing(noisy(planted(), 1e-6), top=1.0), "jaccard")["value"] == 1


# --- what cannot be estimated


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_few_classes_have_no_ratios_fewer_no_interval_and_one_no_floor(cells, count):
    found = circuit_sharing(cells, [ClassSet("held_out", 0, tuple(range(count)))], 0, PLACES)
    assert found["n"].unique().to_list() == [count]
    assert not any(found[name].is_nan().any() for name in NUMBERS)
    is_ratio = pl.col("measure").str.contains("_n")
    ratios, raw = found.filter(is_ratio), found.filter(~is_ratio)
    assert ratios["value"].null_count() == ratios.height
    if count == 0:
        assert found["note"].unique().to_list() == ["no class of this set has scores"]
        return
    assert ratios["note"].unique().to_list() == [f"{count} classes, fewer than 5"]
    assert raw["value"].null_count() == 0
    assert raw.filter(pl.col("lo").is_null() & (pl.col("note") == "")).height == 0
    if count < 3:
        assert raw["lo"].null_count() == raw["left_out"].null_count() == raw.height
        assert raw["note"].str.starts_with(f"no interval: {count} classes").all()
    assert raw["note"].str.contains("no floor").any() == (count == 1)
    assert raw.filter(pl.col("measure") != SHIFT)["floor"].null_count() == (
        raw.height - 3 if count == 1 else 0
    )


def test_a_domain_alone_has_no_row(cells):
    alone = circuit_sharing(cells.of_domains(["clipart"]), every(C), 0, PLACES)
    assert alone.is_empty()
    assert dict(alone.schema) == SIMILARITY


def test_a_dead_site_has_rows_that_say_so(cells):
    folds = {site: values.copy() for site, values in cells.folds.items()}
    folds["one"][:, 1] = 0.0
    found = circuit_sharing(
        CellMeans(folds, cells.counts, cells.domains, cells.classes), every(C), 0, PLACES
    )
    dead = found.filter(
        pl.col("site") == "one",
        (pl.col("domain_a") == "clipart") | (pl.col("domain_b") == "clipart"),
    )
    for name in (*NUMBERS, "left_out"):
        assert dead[name].null_count() == dead.height
    notes = dict(dead["measure", "note"].iter_rows())
    assert notes["jaccard"] == "all scores of clipart are 0 in a class"
    assert notes["spearman_norm"] == "all scores of clipart are equal in a class"
    assert notes["cosine_nc"].startswith("not estimable: the scores of clipart are not clear")
    alive = found.join(dead, on=["site", "domain_a", "domain_b"], how="anti")
    assert alive.filter(~pl.col("measure").str.contains("_n"))["value"].null_count() == 0


def test_one_class_without_scores_leaves_the_sets_without_it_alone(cells, table):
    folds = {site: values.copy() for site, values in cells.folds.items()}
    folds["one"][:, 0, 7] = 0.25
    sets = [*every(C), ClassSet("seen", 0, tuple(range(7)))]
    some = CellMeans(folds, cells.counts, cells.domains, cells.classes)
    found = circuit_sharing(some, sets, 0, PLACES)
    assert (
        of(found.filter(classes="all"), "spearman")["note"]
        == "all scores of real are equal in a class"
    )
    seen = [ClassSet("seen", 0, tuple(range(7)))]
    alone = circuit_sharing(cells, seen, 0, PLACES).filter(site="one")
    assert found.filter(site="one", classes="seen").equals(alone)


# --- intervals


@pytest.mark.slow
@pytest.mark.parametrize("classes", [15, 60])
def test_intervals_hold_the_mean_over_draws_of_classes(classes):
    """Student's delete-one jackknife, of plantings with common, shared and own parts."""
    rows = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        fixed = np.random.default_rng(10_000).normal(size=40)
        shape = (classes, 40)
        true = 0.5 * fixed + rng.normal(size=shape) + 0.7 * rng.normal(size=(2, *shape))
        found = sharing(noisy(true, 1.0, 5_000 + seed), seed=seed).filter(site="one")
        rows.append(found.select("measure", "value", "lo", "hi"))
    whole = pl.concat(rows).with_columns(truth=pl.col("value").mean().over("measure"))
    held = whole.group_by("measure", maintain_order=True).agg(
        pl.col("truth").is_between("lo", "hi").mean().alias("share")
    )
    assert len(held) == len(MEASURES)
    assert held.filter(~pl.col("share").is_between(0.915, 0.985)).is_empty(), held
