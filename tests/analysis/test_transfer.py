"""A boundary of one domain holds in its copies, and nowhere where classes have changed places."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from planted_activations import DOMAINS, planted, without_images

from analysis import discriminant
from analysis.class_sets import class_sets
from analysis.discriminant import equal_cells, fitted_classes, reading
from analysis.transfer import TRANSFER, class_transfer

C, U = 10, 12
NAMES = tuple(f"class {number}" for number in range(C))
SETS = class_sets(NAMES, {0: NAMES[:3], 1: NAMES[5:]})
CLASSES = np.random.default_rng(0).normal(size=(C, U))
COPIES = np.stack([CLASSES] * 3)
MOVED = np.stack([CLASSES, np.roll(CLASSES, 1, axis=0), CLASSES + 20 * CLASSES[:1]])
"""the second domain has every class in the place of the next, the third is shifted"""
TRUE = {"copies": COPIES, "moved": MOVED, "noise": 0 * COPIES}
POOL, TESTED = planted(TRUE, "train", 6, 0.05), planted(TRUE, "test", 8, 0.05)


@pytest.fixture(scope="module")
def table():
    return class_transfer(POOL, TESTED, DOMAINS, SETS)


def test_every_pair_of_domains_has_a_row_per_site_and_class_set(table):
    assert dict(table.schema) == TRANSFER
    keys = ["site", "trained_on", "domain", "draw", "classes"]
    assert not table.select(keys).is_duplicated().any()
    assert table.height == 3 * 9 * len(SETS)
    assert set(table["chance"]) == {1 / C}
    rows = table.filter(site="noise", trained_on="real", domain="sketch")
    assert rows.select("draw", "classes", "n", "n_classes").rows() == [
        *((None, "all", 80, 10), (0, "seen", 56, 7), (0, "held_out", 24, 3)),
        *((1, "seen", 40, 5), (1, "held_out", 40, 5)),
    ]


def test_a_boundary_holds_in_copies_of_its_domain(table):
    copies = table.filter(site="copies")
    assert set(copies["value"]) == {1.0}
    assert set(copies["within"]) == {1.0}
    assert (copies["lo"] < 1).all()


def test_a_boundary_fails_where_classes_have_changed_places(table):
    moved = table.filter(site="moved")
    there = moved.filter(trained_on="real", domain="sketch")
    assert there["value"].max() == 0
    assert there["within"].min() == 1
    own = moved.filter(pl.col("trained_on") == pl.col("domain"))
    assert set(own["value"]) == {1.0}


def test_classes_in_any_order_transfer_by_chance():
    orders = [np.random.default_rng(seed).permutation(C) for seed in range(20)]
    found = []
    for order in orders:
        true = {"x": np.stack([CLASSES, CLASSES[order]])}
        pool, tested = planted(true, "train", 4, 0.05), planted(true, "test", 4, 0.05)
        table = class_transfer(pool, tested, DOMAINS[:2], SETS[:1])
        found += table.filter(trained_on="real", domain="sketch")["value"].to_list()
    assert np.mean(found) == pytest.approx(1 / C, abs=0.06)


def test_noise_scores_chance_within_its_interval(table):
    noise = table.filter(site="noise", classes="all")
    inside = (noise["lo"] < 1 / C) & (noise["hi"] > 1 / C)
    assert inside.sum() >= 8
    assert noise["value"].mean() == pytest.approx(1 / C, abs=0.04)


def test_within_is_the_accuracy_of_the_domain_that_is_tested(table):
    keys = ["site", "domain", "draw", "classes"]
    own = table.filter(pl.col("trained_on") == pl.col("domain")).select(*keys, own="value")
    joined = table.join(own, on=keys, nulls_equal=True)
    assert joined.height == table.height
    assert (joined["within"] == joined["own"]).all()


def test_every_fit_sees_as_many_images_of_every_cell():
    pool = without_images(POOL, pl.col("id").is_in([f"train/1/4/{i}" for i in range(2)]))
    fitted = fitted_classes(pool.samples, DOMAINS, range(C))
    assert fitted == (tuple(range(C)), 4, "")
    chosen = equal_cells(pool.samples, fitted)
    assert set(pool.samples.filter(chosen).group_by("domain", "class_id").len()["len"]) == {4}
    equal = without_images(pool, ~pl.lit(pl.Series(chosen)))
    found = class_transfer(pool, TESTED, DOMAINS, SETS[:1])
    assert found.equals(class_transfer(equal, TESTED, DOMAINS, SETS[:1]))


def test_a_class_that_a_domain_lacks_is_left_out_named_and_never_answered():
    pool = without_images(POOL, (pl.col("domain") == "sketch") & (pl.col("class_id") == 1))
    table = class_transfer(pool, TESTED, DOMAINS, SETS)
    assert table["value"].null_count() == 0
    assert set(table["chance"]) == {1 / (C - 1)}
    rows = table.filter(site="copies", trained_on="real", domain="sketch")
    assert rows["n_classes"].to_list() == [9, 7, 2, 4, 5]
    assert set(rows["value"]) == {1.0}
    assert set(table["note"]) == {
        "without classes that have fewer than 2 images to fit on in some domain: "
        "class 1 (0 in sketch)"
    }
    without = [without_images(x, pl.col("class_id") == 1) for x in (pool, TESTED)]
    sets = [chosen._replace(members=tuple(set(chosen.members) - {1})) for chosen in SETS]
    assert table.drop("note").equals(class_transfer(*without, DOMAINS, sets).drop("note"))


def test_a_domain_without_images_leaves_the_table_empty_and_says_what_to_do():
    pool = without_images(POOL, (pl.col("domain") == "sketch") & (pl.col("class_id") > 0))
    table = class_transfer(pool, TESTED, DOMAINS, SETS)
    assert table.height == 3 * 9 * len(SETS)
    assert table["value"].null_count() == table["within"].null_count() == table.height
    (note,) = set(table["note"])
    assert note.startswith("1 of 10 classes are left; fewer than 2 images to fit on")
    assert "class 1 (0 in sketch)" in note
    assert note.endswith("1 more; raise `analysis.images`, or add training images of these cells")


def test_wide_layers_are_read_in_principal_components_and_the_table_says_so(monkeypatch):
    wide = {"x": np.pad(COPIES, [(0, 0), (0, 0), (0, 20)])}
    pool, tested = planted(wide, "train", 6, 0.05), planted(wide, "test", 6, 0.05)
    monkeypatch.setattr(discriminant, "MOST_UNITS", U)
    table = class_transfer(pool, tested, DOMAINS, SETS)
    assert table["value"].min() == 1
    assert set(table["note"]) == {f"of {U + 20} units the first {U} principal components"}
    basis_KU = reading(pool.sites["x"]).basis_KU
    assert basis_KU.shape == (U, U + 20)
    assert np.allclose(basis_KU @ basis_KU.T, np.eye(U))


def test_an_image_that_is_tested_is_never_fitted_on():
    with pytest.raises(ValueError, match="tested, too"):
        class_transfer(TESTED, TESTED, DOMAINS, SETS)
