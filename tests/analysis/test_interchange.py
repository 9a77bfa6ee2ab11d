"""A class that is exchanged as another domain says changes the answer where the code is shared."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from planted_codes import CLASSES, DOMAINS, SETS, C, planted_pair

from analysis.bench import Shown, comparable
from analysis.class_sets import class_sets
from analysis.departure import MOST_REAL, surroundings
from analysis.effects import CAUSES, over_classes
from analysis.interchange import draw_targets, interchange
from analysis.jackknife import jackknife

OTHER = pl.col("source") != pl.col("target")


@pytest.fixture(scope="module")
def table():
    _, learnt, bench = planted_pair()
    return interchange(bench, learnt, bench.sites, seed=0)


def found(table, quantity, site, control="", classes="all"):
    return table.filter(quantity=quantity, site=site, control=control, classes=classes)


def test_every_site_and_pair_has_a_row_per_class_set_and_control(table):
    assert dict(table.schema) == CAUSES
    keys = ["site", "source", "target", "draw", "classes", "control", "quantity"]
    assert not table.select(keys).is_duplicated().any()
    assert set(table["site"]) == {"stem", "block1", "embedding"}
    accuracy = table.filter(quantity="interchange_accuracy")
    assert accuracy.height == 3 * len(SETS) * (9 * 3 + 6)
    assert set(accuracy["chance"]) == {1 / C}
    for column in ("value", "lo", "hi"):
        assert not table[column].is_null().any()
        assert table[column].is_finite().all()


def test_a_shared_code_answers_with_the_class_that_another_domain_gives(table):
    shared = found(table, "interchange_accuracy", "block1")
    assert shared["value"].min() == 1
    gained = found(table, "margin_change", "block1")
    assert gained["lo"].min() > 0


def test_a_private_code_answers_in_its_own_domain_only(table):
    private = found(table, "interchange_accuracy", "stem")
    assert private.filter(~OTHER)["value"].min() == 1
    assert private.filter(OTHER)["value"].max() <= 1 / C
    unread = found(table, "margin_change", "stem").filter(OTHER)
    assert unread["value"].abs().max() < 1e-6


@pytest.mark.parametrize("control", ["random", "other_class"])
def test_controls_are_at_chance(table, control):
    for site in ("stem", "block1"):
        assert found(table, "interchange_accuracy", site, control)["value"].max() <= 1 / C


def test_exchanging_the_domain_alone_keeps_the_class_where_the_code_is_shared(table):
    assert found(table, "interchange_accuracy", "block1", "same_class")["value"].min() == 1


def test_classes_are_exchanged_within_their_sets():
    labels = np.repeat(np.arange(C), 20)
    drawn = draw_targets(labels, SETS, np.random.default_rng(0))
    asked, other, other_asked = (part.numpy() for part in drawn)
    assert (asked != labels).all()
    assert ((asked < 3) == (labels < 3)).all()
    for part in (other, other_asked):
        assert ((part != asked) & (part != labels)).all()
    assert (other != other_asked).all()
    assert len(set(zip(labels, asked, strict=True))) == C * 2  # all that there are


def test_a_class_that_is_alone_in_its_sets_takes_any_other():
    sets = class_sets(CLASSES, {0: CLASSES[:1]})
    labels = np.repeat(np.arange(C), 20)
    asked = draw_targets(labels, sets, np.random.default_rng(0)).asked.numpy()
    assert set(asked[labels == 0]) == {1, 2, 3, 4, 5}
    assert 0 not in asked


def test_fewer_than_four_classes_cannot_be_exchanged():
    with pytest.raises(ValueError, match="3 classes"):
        draw_targets(np.arange(3), SETS, np.random.default_rng(0))


def test_classes_without_training_images_are_left_out_and_named():
    _, learnt, bench = planted_pair()
    kept = ~((learnt.labels_N == 0) & (learnt.places_N == 1))
    states = {site: values[kept] for site, values in learnt.states.items()}
    less = Shown(learnt.labels_N[kept], learnt.places_N[kept], states, len(DOMAINS), C)
    smaller, note = comparable(bench, less)
    assert note == "1 classes without training images in some domain are left out"
    assert 0 not in smaller.labels
    assert set(interchange(bench, less, bench.sites, seed=0)["note"]) >= {note}


def test_the_interval_of_a_mean_is_the_jackknifes():
    values = np.random.default_rng(0).normal(size=9)
    expected = jackknife(lambda kept: float(values[kept].mean()), len(values))
    assert list(over_classes(values).values()) == pytest.approx(list(expected))
    assert over_classes(values[:2])["lo"] is None


def test_a_state_that_is_not_changed_is_where_states_are():
    generator = torch.Generator().manual_seed(0)
    real, clean = (torch.randn(n, 1, 5, generator=generator) + 3 for n in (200, 40))
    near = surroundings(real, clean)
    assert near.norm_ratio(clean) == pytest.approx(1)
    assert near.knn_distance(clean).mean() == pytest.approx(1)
    assert near.norm_ratio(10 * clean) == pytest.approx(10)
    assert near.knn_distance(10 * clean).mean() > 5
    assert near.knn_distance(real[:3]) == pytest.approx(0, abs=1e-3)


def test_of_many_training_images_every_so_manieth_is_near_or_not():
    many = torch.arange(2 * MOST_REAL + 1.0)[:, None, None]
    kept = surroundings(many, many).real_MU
    assert len(kept) <= MOST_REAL
    assert torch.allclose(kept.diff(dim=0), torch.tensor(3.0))
