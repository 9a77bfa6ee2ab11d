"""Domains share the features that are planted as shared, between a floor and a ceiling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array
from scipy.stats import t as student

from analysis.autoencoders import (
    FEATURES,
    SHARING,
    SaePlan,
    early_middle_last,
    sae_tables,
)
from analysis.class_sets import ClassSet, class_sets
from analysis.probes import Activations
from analysis.sae_codes import Coded, Places
from analysis.sae_features import BOTH, DOMAIN, SHARED
from analysis.sae_sharing import (
    KS,
    chance,
    histogram_profiles,
    matched_cosine,
    random_features,
    sharing_rows,
    stability_rows,
    top_sets,
)

DOMAINS, C, PER_CELL, J = ("real", "sketch", "clipart"), 6, 8, 90
CLASSES = tuple(f"class {i}" for i in range(C))
N = len(DOMAINS) * C * PER_CELL
SETS = class_sets(CLASSES, {0: ("class 1", "class 4"), 1: ("class 2",)})


def places():
    cell = np.repeat(np.arange(len(DOMAINS) * C), PER_CELL)
    return Places(cell // C, cell % C, len(DOMAINS), C)


def planted():
    """Of ten features of a class, real and sketch share five, and clipart none with anyone."""
    where, codes = places(), np.zeros((N, J * len(DOMAINS)), dtype=np.float32)
    rng = np.random.default_rng(0)
    for i, (d, c) in enumerate(zip(where.domain_N, where.class_N, strict=True)):
        of_class = 15 * c + np.arange(15)
        own = {0: of_class[:10], 1: of_class[5:], 2: J + of_class[:10]}[d]
        codes[i, own] = rng.uniform(1, 2, size=10)
    return csr_array(codes)


def coded(codes):
    shape = len(DOMAINS), C
    return Coded(codes, np.full(shape, 0.5), np.ones(shape), np.zeros((*shape, 2)))


def table(codes=None, sets=SETS):
    rows = sharing_rows(coded(planted() if codes is None else codes), places(), DOMAINS, sets)
    return pl.DataFrame(list(rows), schema=SHARING)


def one(found, **values):
    return found.filter(*(pl.col(key).eq_missing(pl.lit(v)) for key, v in values.items())).row(
        0, named=True
    )


def test_half_shared_feature_sets_have_the_overlap_and_jaccard_of_half():
    found = table().filter(classes="all", k=10)
    pair = {"domain_a": "real", "domain_b": "sketch"}
    overlap, jaccard = (one(found, **pair, measure=name) for name in ("overlap", "jaccard"))
    assert overlap["value"] == pytest.approx(5 / 10)
    assert jaccard["value"] == pytest.approx(5 / 15)
    for row in (overlap, jaccard):
        assert row["ceiling"] == pytest.approx(1)
        assert row["floor"] == 0
        assert row["r2_a"] == row["r2_b"] == pytest.approx(0.5)
    apart = one(found, domain_a="real", domain_b="clipart", measure="jaccard")
    assert (apart["value"], apart["ceiling"]) == (0, pytest.approx(1))


def test_every_pair_measure_k_and_class_set_has_one_row():
    found = table()
    keys = ["domain_a", "domain_b", "draw", "classes", "measure", "k"]
    assert not found.select(keys).is_duplicated().any()
    assert found.height == 6 * 2 * (len(KS) + 1) * len(SETS)
    counts = found.select("draw", "classes", "n").unique().sort("draw", "classes").rows()
    assert counts == [
        (None, "all", 6),
        (0, "held_out", 2),
        (0, "seen", 4),
        (1, "held_out", 1),
        (1, "seen", 5),
    ]


def test_a_domain_with_itself_is_its_own_ceiling():
    rng = np.random.default_rng(5)
    noisy = csr_array((rng.random((N, J)) * (rng.random((N, J)) < 0.3)).astype(np.float32))
    found = table(noisy).filter(classes="all", k=10, measure="jaccard")
    itself = found.filter(pl.col("domain_a") == pl.col("domain_b"))
    assert itself["value"].to_list() == itself["ceiling"].to_list()
    ceilings = dict(itself.select("domain_a", "value").rows())
    pair = one(found, domain_a="real", domain_b="clipart")
    assert pair["ceiling"] == pytest.approx((ceilings["real"] + ceilings["clipart"]) / 2)


def test_without_k_stands_the_mean_over_all_k():
    rng = np.random.default_rng(1)
    noisy = csr_array((rng.random((N, J)) * (rng.random((N, J)) < 0.3)).astype(np.float32))
    pair = {"domain_a": "real", "domain_b": "sketch", "classes": "all", "measure": "jaccard"}
    found = table(noisy).filter(**pair)
    for column in ("value", "chance", "ceiling", "floor"):
        each = found.filter(pl.col("k").is_not_null())[column]
        assert one(found, k=None)[column] == pytest.approx(each.mean())


def test_overlap_is_the_published_formula():
    rng, where = np.random.default_rng(2), places()
    dense = (rng.random((N, J)) * (rng.random((N, J)) < 0.6)).astype(np.float32)
    histogram = np.zeros((len(DOMAINS), C, J))
    for i, row in enumerate(dense):  # h: images that have the feature positive and in their top 20
        for j in np.argsort(-row)[:20]:
            histogram[where.domain_N[i], where.class_N[i], j] += row[j] > 0
    found = histogram_profiles(csr_array(dense), where).whole
    assert (np.abs(found - histogram / PER_CELL) < 1 / PER_CELL).all()
    for d in range(len(DOMAINS)):
        for c in range(C):
            top = np.flatnonzero(top_sets(found[d], 10).toarray()[c])
            cut = np.sort(histogram[d, c])[-10]
            assert len(top) == 10
            assert (histogram[d, c, top] >= cut).all()
            assert set(np.flatnonzero(histogram[d, c] > cut)) <= set(top)


def test_jaccard_is_that_of_mean_codes_of_halves():
    rng = np.random.default_rng(6)
    dense = (rng.random((N, J)) * (rng.random((N, J)) < 0.3)).astype(np.float32)
    cells = dense.reshape(len(DOMAINS), C, PER_CELL, J)

    def best(d, c, half):
        return {*np.argsort(-cells[d, c, half::2].mean(axis=0))[:10]}

    pairs = [[best(0, c, h), best(1, c, g)] for c in range(C) for h in (0, 1) for g in (0, 1)]
    found = table(csr_array(dense)).filter(measure="jaccard", classes="all", k=10)
    row = one(found, domain_a="real", domain_b="sketch")
    assert row["value"] == pytest.approx(np.mean([len(a & b) / len(a | b) for a, b in pairs]))
    halves = [(best(d, c, 0), best(d, c, 1)) for c in range(C) for d in (0, 1)]
    assert row["ceiling"] == pytest.approx(np.mean([len(a & b) / len(a | b) for a, b in halves]))


def test_features_that_never_fire_are_in_no_set():
    profile = np.array([[0.0, 3.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    assert top_sets(profile, 3).toarray().tolist() == [[0, 1, 0, 1], [0, 0, 0, 0]]
    nothing = csr_array((N, J), dtype=np.float32)
    assert set(table(nothing)["value"]) == set(table(nothing)["chance"]) == {0.0}
    assert set(table(nothing)["ceiling"]) == {0.0}


@pytest.mark.parametrize("k", [5, 20])
def test_chance_is_what_random_sets_agree(k):
    rng, alive = np.random.default_rng(0), 40
    draws = [{*rng.choice(alive, k, replace=False)} for _ in range(4000)]
    pairs = list(zip(draws[::2], draws[1::2], strict=True))
    jaccard = np.mean([len(a & b) / len(a | b) for a, b in pairs])
    overlap = np.mean([len(a & b) / k for a, b in pairs])
    assert chance("jaccard", k, alive) == pytest.approx(jaccard, rel=0.03)
    assert chance("overlap", k, alive) == pytest.approx(overlap, rel=0.03)


def test_codes_without_any_structure_lie_on_their_floor_and_ceiling():
    rng = np.random.default_rng(3)
    noise = csr_array((rng.random((N, J)) * (rng.random((N, J)) < 0.2)).astype(np.float32))
    row = one(table(noise), domain_a="real", domain_b="sketch", measure="jaccard", classes="all")
    assert row["lo"] < row["floor"] < row["hi"]
    assert row["ceiling"] == pytest.approx(row["floor"], abs=0.05)
    assert row["chance"] == pytest.approx(row["floor"], abs=0.05)


def test_the_interval_is_that_of_a_mean_over_classes():
    rng = np.random.default_rng(4)
    noise = csr_array((rng.random((N, J)) * (rng.random((N, J)) < 0.2)).astype(np.float32))
    pair = {"domain_a": "real", "domain_b": "sketch", "measure": "overlap", "k": 20}
    row = one(table(noise), **pair, classes="all")
    alone = [one(table(noise, [ClassSet("all", None, (c,))]), **pair)["value"] for c in range(C)]
    half = student.ppf(0.975, C - 1) * np.std(alone, ddof=1) / np.sqrt(C)
    assert row["value"] == pytest.approx(np.mean(alone))
    assert (row["lo"], row["hi"]) == pytest.approx((row["value"] - half, row["value"] + half))


def test_what_cannot_be_estimated_is_null_with_its_reason():
    found = table(sets=[ClassSet("held_out", 0, ()), ClassSet("held_out", 1, (2,))])
    empty, single = found.filter(draw=0), found.filter(draw=1)
    assert empty["value"].null_count() == empty.height
    assert set(empty["note"]) == {"no class of this set is compared"}
    assert single["value"].null_count() == 0
    assert single["lo"].null_count() == single["floor"].null_count() == single.height
    assert not any(note == "" for note in single["note"])
    equal = one(table(), domain_a="real", domain_b="sketch", measure="jaccard", k=10, classes="all")
    assert equal["lo"] is None
    assert "spread" in equal["note"]


def test_features_in_another_order_are_matched():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(20, 8))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    assert matched_cosine(features, features[rng.permutation(20)]) == pytest.approx(1)
    found = list(stability_rows({0: features, 5: features[::-1], 7: features[:15]}, rng))
    assert [(row["seed"], row["n"]) for row in found] == [(0, 20), (5, 20), (7, 15)]
    assert [row["value"] for row in found] == pytest.approx([1, 1, 1])
    assert all(0.2 < row["chance"] < 0.9 for row in found)
    (single,) = stability_rows({0: features}, rng)
    assert (single["value"], single["note"]) == (None, "no other seed to match with")


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def test_decoders_that_share_only_the_directions_in_which_they_spread_lie_within_chance():
    rng, spread = np.random.default_rng(1), np.geomspace(1, 0.01, UNITS)
    decoders = {seed: unit(rng.normal(size=(200, UNITS)) * spread) for seed in range(4)}
    found = pl.DataFrame(list(stability_rows(decoders, rng)))
    assert (found["value"] - found["chance"]).abs().max() < 0.02
    isotropic = [unit(x) for x in rng.normal(size=(2, 200, UNITS))]
    assert found["value"].min() > matched_cosine(*isotropic) + 0.2
    same = pl.DataFrame(list(stability_rows({0: decoders[0], 1: decoders[0][::-1]}, rng)))
    assert (same["value"] > same["chance"] + 0.1).all()


@pytest.mark.parametrize("count", [1, 10, 300])
def test_random_features_have_the_second_moment_of_features(count):
    rng = np.random.default_rng(2)
    decoder = unit(rng.normal(size=(count, UNITS)) * np.geomspace(1, 0.05, UNITS))
    drawn = random_features(decoder, rng)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1)
    if count > UNITS:
        both = [x.T @ x / count for x in (drawn, decoder)]
        np.testing.assert_allclose(*both, atol=0.03)
    outside = drawn - drawn @ np.linalg.pinv(decoder) @ decoder  # of the features' span
    np.testing.assert_allclose(outside, 0, atol=1e-9)


# ---------------------------------------------------------------------------- the whole way

UNITS = 24
DIRECTIONS = np.linalg.qr(np.random.default_rng(7).normal(size=(UNITS, UNITS)))[0]


def samples(split, per_cell, domains=DOMAINS):
    rows = [
        (f"{split}/{domain}/{name}/{i}", split, domain, name, label)
        for domain in domains
        for label, name in enumerate(CLASSES)
        for i in range(per_cell)
    ]
    columns = ["id", "split", "domain", "class_name", "class_id"]
    return pl.DataFrame(rows, columns, orient="row")


def activations(rows, seed):
    """`private`: a direction per cell; `shared`: per class, and by lot the domain's or another."""
    rng, labels = np.random.default_rng(seed), rows["class_id"].to_numpy()
    domain = rows["domain"].replace_strict(DOMAINS, range(3)).to_numpy()
    of_none = rng.integers(C + len(DOMAINS), UNITS, size=rows.height)
    other = np.where(rng.random(rows.height) < 0.5, C + domain, of_none)
    size, noise = rng.uniform(1, 1.5, (rows.height, 2)), rng.normal(size=(rows.height, UNITS))
    shared = size[:, :1] * DIRECTIONS[labels] + size[:, 1:] * DIRECTIONS[other]
    private = size[:, :1] * DIRECTIONS[labels + C * domain]
    sites = {"private": private, "shared": shared, "noise": 0 * private, "embedding": shared}
    both = {site: (x + 0.02 * noise).astype(np.float32) for site, x in sites.items()}
    return Activations(rows, both)


POOL, TESTED = activations(samples("train", 40), 0), activations(samples("test", 20), 1)
TEXTS = (CLASSES, DIRECTIONS[:C] + 0.3 * DIRECTIONS[-1])
PLAN = SaePlan(seeds=(0, 1), k=2, factor=1, steps=400)


class Bar:
    count = 0

    def update(self):
        self.count += 1


BAR = Bar()


@pytest.fixture(scope="module")
def tables():
    return sae_tables(POOL, TESTED, DOMAINS, CLASSES, SETS, TEXTS, PLAN, bar=BAR)


def test_the_first_the_middle_and_the_last_site_have_tables(tables):
    features, sharing = tables
    assert dict(features.schema) == FEATURES
    assert dict(sharing.schema) == SHARING
    expected = [("private", 0), ("noise", 2), ("embedding", 3)]
    for found in tables:
        places = found.select("site", "depth").unique().sort("depth").rows()
        assert places == expected
        assert set(found["level"]) == {"residual"}
    assert features.height == 3 * len(PLAN.seeds) * PLAN.factor * UNITS
    assert BAR.count == 3 * len(PLAN.seeds)
    assert early_middle_last(["only"]) == ["only"]
    numbers = [c for c, kind in sharing.schema.items() if kind == pl.Float64]
    assert not sharing.select(pl.col(numbers).is_nan().any()).row(0).count(True)


def test_shared_directions_are_shared_features_and_private_ones_are_not(tables):
    features, sharing = tables
    measured = sharing.filter(seed=0, classes="all", measure="jaccard", k=5)
    pairs = measured.filter(pl.col("domain_a") != pl.col("domain_b"))
    private, shared = (pairs.filter(site=site) for site in ("private", "embedding"))
    assert (shared["lo"] > shared["floor"]).all()
    assert (shared["lo"] > shared["chance"]).all()
    assert private["value"].max() < 0.15 < private["ceiling"].min()
    found = features.filter(site="embedding", seed=0)
    assert set(found.filter(kind=SHARED)["top_class"]) == set(CLASSES)
    assert found.filter(kind=DOMAIN)["top_domain"].sort().to_list() == sorted(DOMAINS)
    of_cells = features.filter(site="private", seed=0)["kind"].to_list()
    assert of_cells.count(BOTH) > 2 * of_cells.count(SHARED)


def test_shared_features_of_the_embedding_are_named_by_their_class(tables):
    features = tables[0]
    shared = features.filter(pl.col("kind") == SHARED, site="embedding")
    sure = shared.filter(pl.col("name_cosine") > 0.8)
    assert set(sure["name"]) == set(CLASSES)
    assert sure["name"].to_list() == sure["top_class"].to_list()
    assert features.filter(site="private")["name"].null_count() == 2 * PLAN.factor * UNITS


def test_seeds_find_the_same_directions(tables):
    rows = tables[1].filter(measure="stability", site="private")
    assert rows["seed"].to_list() == [0, 1]
    assert (rows["value"] > rows["chance"] + 0.1).all()


def of_one_site(activations, site, mask=True):
    chosen = np.flatnonzero(np.broadcast_to(mask, activations.samples.height))
    return Activations(activations.samples[chosen], {site: activations.sites[site][chosen]})


def test_the_same_seeds_give_the_same_tables():
    both = of_one_site(POOL, "shared"), of_one_site(TESTED, "shared")
    plan = SaePlan(seeds=(4,), k=2, factor=1, steps=30)
    one, again = (sae_tables(*both, DOMAINS, CLASSES, SETS, TEXTS, plan) for _ in range(2))
    assert all(x.equals(y) for x, y in zip(one, again, strict=True))
    other = sae_tables(*both, DOMAINS, CLASSES, SETS, TEXTS, replace(plan, seeds=(5,)))
    assert not one[0].drop("seed").equals(other[0].drop("seed"))


def test_a_domain_that_was_never_learnt_is_reconstructed_worse_and_the_table_tells():
    pool = of_one_site(POOL, "private", (POOL.samples["domain"] != "clipart"))
    tested = of_one_site(TESTED, "private")
    plan = SaePlan(seeds=(0,), k=2, factor=1, steps=300)
    found = sae_tables(pool, tested, DOMAINS, CLASSES, SETS, None, plan)[1]
    row = one(found, domain_a="real", domain_b="clipart", classes="all", measure="jaccard", k=5)
    assert row["r2_a"] > 0.9
    assert row["r2_b"] < 0.5


def test_impossible_questions_are_errors():
    with pytest.raises(ValueError, match="tested, too"):
        sae_tables(TESTED, TESTED, DOMAINS, CLASSES, SETS)
    with pytest.raises(ValueError, match="embeddings of shape"):
        sae_tables(POOL, TESTED, DOMAINS, CLASSES, SETS, (CLASSES, np.ones((C, 3))))
    lone = of_one_site(TESTED, "shared", np.arange(TESTED.samples.height) % 20 == 0)
    with pytest.raises(ValueError, match="at least two test images"):
        sae_tables(POOL, lone, DOMAINS, CLASSES, SETS)
