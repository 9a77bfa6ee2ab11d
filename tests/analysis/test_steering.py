"""More of a direction changes answers more where something reads it, and none changes nothing."""

from __future__ import annotations

import polars as pl
import pytest
import torch
from planted_codes import DOMAINS, SETS, C, planted_pair

from analysis.effects import CAUSES
from analysis.steering import DOSES, class_steps, domain_shifts, steering

OTHER = pl.col("source") != pl.col("target")


@pytest.fixture(scope="module")
def learnt():
    return planted_pair()[1]


@pytest.fixture(scope="module")
def table():
    _, learnt, bench = planted_pair()
    return steering(bench, learnt, bench.sites[:2], seed=0)


def doses(table, quantity, site, control="", pair=None):
    rows = table.filter(quantity=quantity, site=site, control=control, classes="all")
    rows = rows if pair is None else rows.filter(pair)
    return rows.group_by("dose").agg(pl.col("value").mean()).sort("dose")["value"].to_list()


def test_every_direction_has_a_row_per_dose_and_class_set(table):
    assert dict(table.schema) == CAUSES
    rows = table.filter(quantity="steered_accuracy")
    assert rows.height == 2 * 3 * (3 + 1) * (1 + len(DOSES)) * len(SETS)
    assert set(rows.filter(control="random")["source"]) == {None}
    assert not table["value"].is_null().any()


def test_dose_0_changes_nothing(table):
    none = table.filter(dose=0)
    assert set(none.filter(quantity="steered_accuracy")["value"]) == {0.0}
    assert set(none.filter(quantity="shifted_accuracy")["value"]) == {1.0}
    for quantity in ("steered_norm_ratio", "shifted_knn_distance"):
        assert none.filter(quantity=quantity)["value"].to_numpy() == pytest.approx(1, abs=1e-6)


def test_answers_follow_the_dose_of_a_shared_direction(table):
    share = doses(table, "steered_accuracy", "block1", pair=OTHER)
    assert share == sorted(share)
    assert share[-1] == 1
    margin = doses(table, "steered_margin", "block1", pair=OTHER)
    assert margin == sorted(margin)


def test_nothing_follows_a_private_direction_of_another_domain(table):
    assert doses(table, "steered_accuracy", "stem", pair=OTHER) == [0.0] * 5
    assert doses(table, "steered_accuracy", "stem", pair=~OTHER)[-1] == 1


def test_random_directions_of_equal_length_are_at_chance(table):
    assert doses(table, "steered_accuracy", "block1", "random")[-1] < 0.4


def test_a_domain_that_is_not_read_can_be_shifted(table):
    assert doses(table, "shifted_accuracy", "block1", pair=OTHER) == [1.0] * 5
    assert doses(table, "shifted_accuracy", "stem", pair=OTHER)[2] < 0.5


def test_what_leaves_the_distribution_is_told(table):
    far = doses(table, "steered_knn_distance", "block1", "random")
    assert far == sorted(far)
    assert far[-1] > 1.2


def test_a_step_is_one_deviation_along_the_direction_of_its_class(learnt):
    steps = class_steps(learnt, "block1")
    assert steps.shape == (len(DOMAINS), C, 1, learnt.states["block1"].shape[-1])
    step, own = steps[1, 2, 0], learnt.states["block1"][learnt.places_N == 1][:, 0]
    unit = step / step.norm()
    assert step.norm().item() == pytest.approx((own @ unit).std().item(), rel=1e-5)
    means = learnt.means("block1")[1, :, 0]
    others = means[torch.arange(C) != 2].mean(dim=0)
    assert torch.allclose(unit, (means[2] - others) / (means[2] - others).norm(), atol=1e-5)


def test_a_shift_leads_from_one_domains_mean_to_another(learnt):
    shifts, means = domain_shifts(learnt, "stem"), learnt.means("stem").mean(dim=1)
    assert torch.allclose(means[0] + shifts[0, 2], means[2], atol=1e-6)
