"""The domain is read where it is planted, on classes that the probe never saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from planted_activations import DOMAINS, planted, without_images

from analysis import discriminant
from analysis.decodability import DECODABILITY, QUANTITIES, _control, domain_decodability
from analysis.subspaces import NO_INTERVAL

D, C, U = 3, 12, 24
RNG = np.random.default_rng(3)
CLASSES, SHIFTS = RNG.normal(size=(C, U)), RNG.normal(size=(D, U))
ALIKE = np.stack([CLASSES] * D)
PRIVATE = RNG.normal(size=(D, C, U))
"""every cell has a place of its own: a probe that knew the classes would know the domain"""
LOW, HIGH = (np.arange(U) < U // 2), (np.arange(U) >= U // 2)
FEW = np.zeros((2, U))
FEW[[0, 1], [0, 1]] = 1
TRUE = {
    "alike": ALIKE,
    "shifted": ALIKE + 3 * SHIFTS[:, None],
    "private": PRIVATE,
    "apart": ALIKE * LOW + 3 * (SHIFTS * HIGH)[:, None],
    "same": (CLASSES[:, :2] @ FEW) + 3 * (SHIFTS[:, :2] @ FEW)[:, None],
}
POOL, TESTED = planted(TRUE, "train", 6, 0.2), planted(TRUE, "test", 8, 0.2)


@pytest.fixture(scope="module")
def table():
    return domain_decodability(POOL, TESTED, DOMAINS, 0)


def row(table, site, quantity):
    return table.filter(site=site, quantity=quantity).row(0, named=True)


def test_every_site_has_every_quantity_with_its_chance(table):
    assert dict(table.schema) == DECODABILITY
    assert table.select("site", "quantity").rows() == [(s, q) for s in TRUE for q in QUANTITIES]
    assert set(table["n"]) == {C}
    assert (table["chance_lo"] < table["chance"]).all()
    assert (table["chance"] < table["chance_hi"]).all()
    bounded = table.filter(pl.col("quantity") != "largest_subspace_cosine")
    assert ((bounded["lo"] <= bounded["value"]) & (bounded["value"] <= bounded["hi"])).all()
    alone = table.filter(quantity="largest_subspace_cosine")
    assert alone["lo"].null_count() == alone["hi"].null_count() == alone.height
    assert set(alone["note"]) == {NO_INTERVAL}


def test_a_shift_is_read_and_equal_domains_are_not(table):
    shifted, alike = (row(table, site, "domain_accuracy") for site in ("shifted", "alike"))
    assert shifted["value"] == 1
    assert shifted["lo"] > 0.9
    assert alike["chance"] == pytest.approx(1 / D)
    assert alike["chance_lo"] < alike["value"] < alike["chance_hi"]
    assert alike["lo"] < 1 / D < alike["hi"]


def test_what_a_probe_knows_of_its_own_classes_does_not_help_it(table):
    """Fitted and tested on the same classes it would be right about every private cell."""
    private = row(table, "private", "domain_accuracy")
    assert private["lo"] < 1 / D < private["hi"]


def test_the_control_task_is_at_chance_whatever_the_layer_says(table):
    for site in TRUE:
        assert row(table, site, "control_accuracy")["value"] == pytest.approx(1 / D, abs=0.08)


def test_a_control_label_is_that_of_an_instance_and_says_nothing_of_the_domain():
    of_all_domains = pl.col("id").str.replace(r"/\d+/", "/")
    pool, tested = (
        replace(x, samples=x.samples.with_columns(instance=of_all_domains)) for x in (POOL, TESTED)
    )
    shown, asked = _control(pool.samples, tested.samples, D, np.random.default_rng(0))
    for side, labels in ((pool, shown), (tested, asked)):
        table = side.samples.with_columns(label=pl.Series(labels))
        assert set(table.group_by("instance").agg(pl.col("label").n_unique())["label"]) == {1}
        shares = table.group_by("domain", "label").len()["len"] / (table.height / D)
        assert shares.to_numpy() == pytest.approx(1 / D, abs=0.2)


def test_subspaces_that_are_apart_and_subspaces_that_are_one_are_told_from_chance(table):
    for quantity in ("subspace_cosine", "largest_subspace_cosine"):
        apart, same = (row(table, site, quantity) for site in ("apart", "same"))
        assert apart["value"] < apart["chance_lo"]
        assert apart["value"] < 0.1
        assert same["value"] > same["chance_hi"]
        assert same["value"] > 0.98


def test_random_subspaces_are_those_of_the_layer():
    """Where noise has few directions, chance rises to what they share."""
    flat = {"x": ALIKE + 3 * SHIFTS[:, None]}
    pool, tested = planted(flat, "train", 6, 0.01), planted(flat, "test", 6, 0.01)
    rng = np.random.default_rng(0)
    noisy = [
        replace(x, sites={"x": x.sites["x"] + rng.normal(size=(len(x.labels), 3)) @ np.eye(3, U)})
        for x in (pool, tested)
    ]
    chances = [
        row(domain_decodability(*sides, DOMAINS, 0), "x", "subspace_cosine")["chance"]
        for sides in ((pool, tested), noisy)
    ]
    assert chances[0] < 0.4
    assert chances[1] > 0.6


def test_equal_seeds_give_equal_tables(table):
    assert domain_decodability(POOL, TESTED, DOMAINS, 0).equals(table)
    assert not domain_decodability(POOL, TESTED, DOMAINS, 1).equals(table)


def test_a_class_with_too_few_images_is_left_out_and_named():
    gone = (pl.col("domain") == "real") & (pl.col("class_id") == 4)
    rich = pl.col("id").str.ends_with("/0")
    table = domain_decodability(without_images(POOL, gone & ~rich), TESTED, DOMAINS, 0)
    assert set(table["n"]) == {C - 1}
    assert table["value"].null_count() == 0
    named = table.filter(pl.col("note").str.contains("class 4 (1 in real)", literal=True))
    assert named.height == table.height - len(TRUE)  # the largest cosine has another note
    without = [without_images(x, pl.col("class_id") == 4) for x in (POOL, TESTED)]
    again = domain_decodability(*without, DOMAINS, 0)
    assert again.drop("note").equals(table.drop("note"))


def test_too_few_images_leave_the_table_empty_and_say_so():
    pool = planted(TRUE, "train", 1, 0.2)
    table = domain_decodability(pool, TESTED, DOMAINS, 0)
    assert table["value"].null_count() == table.height == len(TRUE) * len(QUANTITIES)
    (note,) = set(table["note"])
    assert note.startswith("0 of 12 classes are left; fewer than 2 images to fit on in some domain")
    assert "class 3 (1 in clipart)" in note
    few = [without_images(x, pl.col("class_id") > 2) for x in (POOL, TESTED)]
    (note,) = set(domain_decodability(*few, DOMAINS, 0)["note"])
    assert note == "3 classes are too few for two halves of a probe's"


def test_components_are_made_once_per_half_and_site(monkeypatch):
    asked = []
    monkeypatch.setattr(discriminant, "MOST_UNITS", U // 2)
    true = discriminant._components
    monkeypatch.setattr(discriminant, "_components", lambda x: asked.append(len(x)) or true(x))
    table = domain_decodability(POOL, TESTED, DOMAINS, 0)
    assert len(asked) == 2 * len(TRUE)
    assert f"of {U} units" in row(table, "shifted", "domain_accuracy")["note"]


def test_layers_that_show_nothing_give_no_nan():
    still = {"x": np.ones((D, C, U))}
    table = domain_decodability(
        planted(still, "train", 4, 0), planted(still, "test", 4, 0), DOMAINS, 0
    )
    assert row(table, "x", "domain_accuracy")["value"] == pytest.approx(1 / D)
    empty = table.filter(pl.col("quantity").str.contains("subspace"))
    assert empty["value"].null_count() == 2
    assert (empty["note"] != "").all()
    floats = pl.col("value", "lo", "hi", "chance", "chance_lo", "chance_hi")
    assert not any(table.select(floats.is_nan().any()).row(0))
