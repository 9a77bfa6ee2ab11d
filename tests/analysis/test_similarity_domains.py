"""What is planted between domains is found, at its layer; what is not there is not."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from planted_networks import (
    DOMAINS,
    PAIRS,
    PLANTED,
    ROTATED,
    SITES,
    cells_of,
    noise_images,
    pattern_images,
    planted_cells,
    untrained_cells,
    with_shuffled_labels,
)
from two_domains import cka_of_kernels, hsic_of_song, measured

from analysis.class_sets import ClassSet, class_sets
from analysis.domain_similarity import (
    ALL_MEASURES,
    DIMENSIONS,
    SIMILARITY,
    domain_similarity,
)
from analysis.similarity import Similarity
from gen.schema import SiteLevel

EVERY = ClassSet("all", None, tuple(range(60)))


@pytest.fixture(scope="module")
def cells():
    return planted_cells()


@pytest.fixture(scope="module")
def table(cells):
    return domain_similarity(cells, [EVERY])


def of(table, measure, site, a, b):
    return table.row(
        by_predicate=(pl.col("measure") == measure)
        & (pl.col("site") == site)
        & (pl.col("domain_a") == a)
        & (pl.col("domain_b") == b),
        named=True,
    )


# --- what is planted


@pytest.mark.parametrize("measure", ["s_id_nc", "cka_nc"])
def test_planted_sharing_is_found_in_its_pair_at_its_layer_and_nowhere_else(table, measure):
    for site in SITES:
        for pair in PAIRS:
            row, share = of(table, measure, site, *pair), PLANTED.get((site, *pair), 0.0)
            truth = share if measure == "s_id_nc" else share**2
            if measure == "cka_nc" and (site, *pair) == ROTATED:
                truth = 1.0
            assert row["lo"] - 0.02 <= truth <= row["hi"] + 0.02
            if truth > 0.1:
                assert row["lo"] > row["chance_hi"]
            elif truth == 0:
                assert row["lo"] < row["chance_hi"]


def test_layers_and_pairs_stand_in_the_planted_order(table):
    def found(site, *pair):
        return of(table, "s_id_nc", site, *pair)["value"]

    for pair in (("real", "clipart"), ("sketch", "quickdraw"), ("real", "sketch")):
        planted = {site: PLANTED.get((site, *pair), 0.0) for site in SITES}
        best = max(planted, key=planted.get)
        assert max(SITES, key=lambda site: found(site, *pair)) == best
    layers = [found(site, "real", "clipart") for site in ("stem", "layer1", "layer2")]
    assert layers == sorted(layers)
    pairs = sorted(PAIRS, key=lambda pair: -found("layer2", *pair))
    assert pairs[:2] == [("real", "clipart"), ("sketch", "quickdraw")]


def test_geometry_in_another_subspace_shows_in_the_difference_of_both_bases(table):
    row = of(table, "rot_minus_id", *ROTATED)
    assert of(table, "s_rot", *ROTATED)["lo"] > of(table, "s_rot", *ROTATED)["chance_hi"]
    assert of(table, "s_id", *ROTATED)["lo"] < of(table, "s_id", *ROTATED)["chance_hi"]
    others = [of(table, "rot_minus_id", "embedding", *p) for p in PAIRS if p != ROTATED[1:]]
    assert row["lo"] > max(other["value"] for other in others)


def test_a_domain_shown_twice_is_as_alike_as_its_halves_and_one_when_corrected():
    rng = np.random.default_rng(0)
    true = rng.normal(size=(1, 1, 40, 32))
    twins = cells_of({"layer1": true + 0.8 * rng.normal(size=(4, 2, 40, 32))})
    found = domain_similarity(twins, [ClassSet("all", None, tuple(range(40)))])
    for row in found.filter(pl.col("measure").str.contains("nc")).iter_rows(named=True):
        assert row["lo"] <= 1 <= row["hi"]
        assert row["value"] == pytest.approx(1, abs=0.1)
    plain = found.filter(pl.col("measure").is_in(["cka", "cka_rbf", "s_id", "s_rot", "knn"]))
    for row in plain.iter_rows(named=True):
        assert row["chance_hi"] < row["lo"]
        assert row["ceiling"] < row["hi"]  # halves have half the images: their ceiling is lower


# --- what is not there


def inside(found):
    """Share of the values that lie in the band of chance, of those that can be estimated."""
    raw = found.filter(pl.col("measure") != DIMENSIONS, pl.col("value").is_not_null())
    return raw.select(pl.col("value").is_between("chance_lo", "chance_hi").mean()).item()


FEW = [ClassSet("all", None, tuple(range(24)))]


def test_an_untrained_network_shares_nothing_where_pixels_show_no_class():
    tables = [
        domain_similarity(untrained_cells(noise_images(24, 3, seed=seed)), FEW, seed)
        for seed in range(3)
    ]
    assert inside(pl.concat(tables)) > 0.9
    corrected = pl.concat(tables).filter(pl.col("measure").str.contains("_nc"))
    assert corrected["note"].str.starts_with("not estimable").mean() > 0.8


def test_shuffled_labels_share_nothing_and_the_right_ones_do():
    tables = {True: [], False: []}
    for seed in range(3):
        images = pattern_images(24, 3, seed=seed)
        for is_right, shown in ((True, images), (False, with_shuffled_labels(images, seed))):
            cells = untrained_cells(shown)
            tables[is_right].append(domain_similarity(cells, FEW, seed))
    assert inside(pl.concat(tables[True]).filter(measure="s_id")) == 0
    assert inside(pl.concat(tables[False])) > 0.9


# --- the table


def test_every_measure_of_every_pair_has_a_row_at_every_site(table):
    assert dict(table.schema) == SIMILARITY
    pairs = table.filter(measure="cka").select("site", "depth", "domain_a", "domain_b").rows()
    assert pairs == [(site, depth, *pair) for depth, site in enumerate(SITES) for pair in PAIRS]
    counts = dict(table.group_by("measure").len().iter_rows())
    assert set(counts) == set(ALL_MEASURES)
    assert counts.pop(DIMENSIONS) == len(SITES) * len(DOMAINS)
    assert set(counts.values()) == {len(SITES) * len(PAIRS)}
    assert table.select("level", "classes", "n", "note").unique().rows() == [
        ("residual", "all", 60, "")
    ]
    assert table["draw"].null_count() == table["floor"].null_count() == table.height
    assert not any(
        table[name].is_nan().any() for name in ("value", "lo", "hi", "chance", "ceiling")
    )


def cosine(x, y):
    return (x * y).sum() / np.linalg.norm(x) / np.linalg.norm(y)


WRITTEN_DOWN = {
    "cka": lambda x, y: cka_of_kernels(x @ x.T, y @ y.T),
    "s_id": cosine,
    "s_rot": lambda x, y: np.linalg.norm(x.T @ y, "nuc") / np.linalg.norm(x) / np.linalg.norm(y),
}
"""of centred class means"""


@pytest.mark.parametrize("name", WRITTEN_DOWN)
def test_rows_are_the_measures_of_both_domains_class_means_beside_those_of_halves(
    cells, table, name
):
    def value(x, y):
        return WRITTEN_DOWN[name](x - x.mean(axis=0), y - y.mean(axis=0))

    means, row = cells.means("layer2"), of(table, name, "layer2", "real", "clipart")
    assert row["value"] == pytest.approx(value(means[0], means[1]))
    found = measured(name, means[0], means[1])
    assert (row["lo"], row["hi"]) == pytest.approx([float(end) for end in found.interval()])
    pairings = cells.halves("layer2")
    halves = [value(first[d], second[d]) for first, second in pairings for d in (0, 1)]
    assert row["ceiling"] == pytest.approx(np.mean(halves))


def test_the_gap_of_both_bases_has_no_ceiling(table):
    without = table.filter(pl.col("ceiling").is_null())["measure"].unique()
    assert set(without) == {"rot_minus_id", DIMENSIONS}


@pytest.mark.parametrize("name", ["cka", "s_id"])
def test_corrected_rows_divide_by_what_halves_have_in_common(cells, table, name):
    product = {
        "cka": lambda x, y: hsic_of_song(x @ x.T, y @ y.T),
        "s_id": lambda x, y: (x * y).sum(),
    }

    def value(x, y):
        return product[name](x - x.mean(axis=0), y - y.mean(axis=0))

    means, pairings = cells.means("layer2"), cells.halves("layer2")
    own = [np.mean([value(first[d], second[d]) for first, second in pairings]) for d in (0, 1)]
    row = of(table, f"{name}_nc", "layer2", "real", "clipart")
    assert row["value"] == pytest.approx(value(means[0], means[1]) / np.sqrt(own[0] * own[1]))
    assert row["ceiling"] == 1


def test_trimmed_rows_are_of_class_means_without_the_directions_of_all_domains(cells, table):
    means = cells.means("layer2") - cells.means("layer2").mean(axis=1, keepdims=True)
    scaled = means / np.linalg.norm(means, axis=(1, 2), keepdims=True)
    directions = np.linalg.svd(scaled.reshape(-1, means.shape[2]))[2][:3]
    left = means - means @ directions.T @ directions
    row = of(table, "cka_minus_pcs", "layer2", "real", "clipart")
    expected = cka_of_kernels(left[0] @ left[0].T, left[1] @ left[1].T)
    assert row["value"] == pytest.approx(expected)
    halves = [
        [half[d] - half[d] @ directions.T @ directions for half in pairing]
        for pairing in cells.halves("layer2")
        for d in (0, 1)
    ]
    centred = [[half - half.mean(axis=0) for half in pair] for pair in halves]
    ceilings = [cka_of_kernels(a @ a.T, b @ b.T) for a, b in centred]
    assert row["ceiling"] == pytest.approx(np.mean(ceilings))


def test_values_without_single_classes_are_those_of_all_other_classes(cells, table):
    assert table.filter(measure=DIMENSIONS)["left_out"].null_count() == len(SITES) * len(DOMAINS)
    assert table.filter(pl.col("measure") != DIMENSIONS)["left_out"].list.len().unique()[0] == 60
    others = domain_similarity(cells, [ClassSet("all", None, (*range(7), *range(8, 60)))])
    for name in ("cka", "cka_nc", "s_id", "s_id_nc"):
        key = name, "layer2", "real", "clipart"
        left_out = of(table, *key)["left_out"]
        assert left_out[7] == pytest.approx(of(others, *key)["value"], abs=1e-6)
        without = Similarity(np.array(of(table, *key)["value"]), np.array(left_out))
        assert [of(table, *key)[end] for end in ("lo", "hi")] == pytest.approx(
            [float(end) for end in without.interval()], abs=1e-5
        )


def test_without_a_seed_only_chance_is_missing(cells, table):
    chance = ["chance", "chance_lo", "chance_hi"]
    values = domain_similarity(cells, [EVERY], None)
    assert values.drop(chance).equals(table.drop(chance))
    assert values.select(chance).null_count().row(0) == (values.height,) * 3


def test_class_sets_are_measured_as_if_there_were_no_others(cells, table):
    sets = class_sets(
        cells.classes, {3: ["class 1", "class 5", *(f"class {i}" for i in range(20, 40))]}
    )
    assert [(chosen.name, chosen.draw, len(chosen.members)) for chosen in sets] == [
        ("all", None, 60),
        ("seen", 3, 38),
        ("held_out", 3, 22),
    ]
    found = domain_similarity(cells, sets)
    assert found.filter(classes="all").equals(table)
    held_out = cells.of_classes(sets[2].members)
    alone = domain_similarity(held_out, [ClassSet("held_out", 3, tuple(range(22)))])
    assert found.filter(classes="held_out").equals(alone)
    assert found.filter(classes="held_out")["draw"].unique().to_list() == [3]


def test_too_few_classes_are_rows_without_numbers(cells):
    found = domain_similarity(cells, [ClassSet("held_out", 0, (1, 2, 3, 4))])
    assert found.height == len(SITES) * (9 * len(PAIRS) + len(DOMAINS))
    assert found["note"].unique().to_list() == ["4 classes, fewer than 5"]
    assert found["n"].unique().to_list() == [4]
    assert (
        found.select("value", "lo", "hi", "chance", "ceiling").null_count().row(0)
        == (found.height,) * 5
    )


def test_a_dead_site_has_rows_that_say_so(cells):
    folds = cells.folds["stem"].copy()
    folds[:, 1] = 0.25
    found = domain_similarity(cells_of({"stem": folds}), [EVERY])
    dead = found.filter((pl.col("domain_a") == "clipart") | (pl.col("domain_b") == "clipart"))
    assert dead["value"].null_count() == dead["chance"].null_count() == dead.height
    reasons = dict(
        dead.filter(~pl.col("measure").str.contains("_nc"))["measure", "note"].iter_rows()
    )
    trimmed = reasons.pop("cka_minus_pcs")
    assert trimmed == "the class means of clipart have no more directions than are removed"
    assert set(reasons.values()) == {"all class means of clipart are equal"}
    alive = found.filter(pl.col("domain_a") != "clipart", pl.col("domain_b") != "clipart")
    assert alive["value"].null_count() == 0


def test_fewer_measures_are_the_same_rows_and_levels_come_from_the_caller(cells, table):
    few = domain_similarity(
        cells,
        [EVERY],
        measures=["s_id_nc", "knn"],
        places={site: (SiteLevel.channel, 10 + depth) for depth, site in enumerate(SITES)},
    )
    assert set(few["measure"]) == {"s_id_nc", "knn"}
    assert few["depth"].unique().to_list() == [10, 11, 12, 13]
    assert set(few["level"]) == {"channel"}
    keys = ["site", "measure", "domain_a", "domain_b"]
    whole = table.filter(pl.col("measure").is_in(["s_id_nc", "knn"])).drop("level", "depth")
    assert few.drop("level", "depth").sort(keys).equals(whole.sort(keys))


def test_the_floor_is_the_value_in_the_untrained_network(cells, table):
    sets = class_sets(cells.classes, {0: [f"class {i}" for i in range(20)]})
    few = ["cka", "s_id_nc", DIMENSIONS]
    untrained = domain_similarity(planted_cells(seed=5), sets, measures=few)
    found = domain_similarity(cells, sets, measures=few, floor=untrained)
    assert found.drop("floor").equals(domain_similarity(cells, sets, measures=few).drop("floor"))
    assert found["floor"].to_list() == untrained["value"].to_list()
    partly = untrained.filter(pl.col("site") != "stem")
    missing = domain_similarity(cells, sets, measures=few, floor=partly)
    assert missing.filter(site="stem")["floor"].null_count() == missing.filter(site="stem").height


def test_a_floor_that_cannot_be_estimated_says_why(cells):
    sets = [ClassSet("all", None, tuple(range(24)))]
    untrained = domain_similarity(cells, sets, measures=["s_id_nc"]).with_columns(
        value=pl.lit(None, dtype=pl.Float64), note=pl.lit("not estimable: no signal")
    )
    found = domain_similarity(cells, sets, measures=["s_id_nc"], floor=untrained)
    assert found.drop_nulls("value")["note"].unique().to_list() == [
        "untrained network: not estimable: no signal"
    ]


def test_equal_seeds_give_equal_tables_and_the_seed_moves_chance_only(cells, table):
    chance = ["chance", "chance_lo", "chance_hi"]
    assert domain_similarity(cells, [EVERY], 0).equals(table)
    other = domain_similarity(cells, [EVERY], 1)
    assert other.drop(chance).equals(table.drop(chance))
    assert not other.equals(table)
