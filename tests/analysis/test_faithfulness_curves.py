"""Faithfulness, the areas of MIB and the smallest size, on curves computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from analysis.faithfulness_curves import (
    QUANTITIES,
    SHARES,
    Curve,
    area,
    curve_rows,
    no_effect,
    smallest_share,
)

SIZES = (0.1, 0.2, 0.5, 1.0)
F = np.array([0.0, 0.4, 0.9, 1.0])


def curve(classes=12, shares=SIZES, f=F, noise=0.0, seed=0):
    """A curve with faithfulness f, of classes whose gains differ."""
    rng = np.random.default_rng(seed)
    empty, gain = rng.normal(size=classes), 1 + rng.random(classes)
    margins = empty + f[:, None] * gain + noise * rng.normal(size=(len(f), classes))
    margins[-1] = empty + gain
    return Curve(shares, margins, empty, empty + gain)


def rows_of(found):
    return {(row["quantity"], row["k"]): row for row in curve_rows(found)}


def values_of(found):
    return {key: row["value"] for key, row in rows_of(found).items()}


def test_areas_are_those_of_the_published_trapezoidal_rule():
    # linear: 0.1 · 0.2 + 0.3 · 0.65 + 0.5 · 0.95, and what is missing to 0.9
    found = values_of(curve())
    assert found["cpr", None] == pytest.approx(0.02 + 0.195 + 0.475)
    assert found["cmd", None] == pytest.approx(0.9 - 0.69)
    two, five_halves = np.log(2), np.log(2.5)
    assert found["cpr_log", None] == pytest.approx(two * 0.2 + five_halves * 0.65 + two * 0.95)
    assert found["cmd_log", None] == pytest.approx(two * 0.8 + five_halves * 0.35 + two * 0.05)


def test_a_part_that_is_as_good_as_the_whole_has_an_area_of_nearly_one_and_no_distance():
    ones = np.ones(len(SHARES))
    assert area(SHARES, ones, log=False) == pytest.approx(0.999)
    assert area(SHARES, ones, log=True) == pytest.approx(np.log(1000))
    found = values_of(curve(shares=SHARES, f=ones))
    assert (found["cmd", None], found["cmd_log", None]) == pytest.approx((0, 0))


def test_a_part_that_is_better_than_the_whole_is_at_a_distance_from_it():
    found = values_of(curve(f=np.array([1.0, 1.5, 1.0, 1.0])))
    assert found["cpr", None] == pytest.approx(0.9 + 0.5 * (0.1 + 0.3) / 2)
    assert found["cmd", None] == pytest.approx(0.5 * (0.1 + 0.3) / 2)


def test_the_whole_network_has_exactly_one_and_none_of_it_exactly_zero():
    for seed in range(20):
        found = curve(classes=7, noise=0.3, seed=seed)
        found = Curve(SIZES, np.vstack([found.empty_C, found.margins_KC[1:]]), *found_ends(found))
        rows = rows_of(found)
        assert rows["f", 0.1]["value"] == rows["f", 0.1]["lo"] == rows["f", 0.1]["hi"] == 0
        assert rows["f", 1.0]["value"] == rows["f", 1.0]["lo"] == rows["f", 1.0]["hi"] == 1


def found_ends(found):
    return found.empty_C, found.full_C


def test_an_interval_is_what_the_ratio_is_without_each_class():
    found = curve(noise=0.2)
    value, number = values_of(found)["f", 0.2], found.classes
    left_out = []
    for gone in range(number):
        kept = [c for c in range(number) if c != gone]
        gains = [found.margins_KC[1, c] - found.empty_C[c] for c in kept]
        whole = [found.full_C[c] - found.empty_C[c] for c in kept]
        left_out.append(sum(gains) / sum(whole))
    half = t.ppf(0.975, number - 1) * np.sqrt((number - 1) * np.var(left_out))
    row = rows_of(found)["f", 0.2]
    assert (row["lo"], row["hi"]) == pytest.approx((value - half, value + half))


def test_intervals_hold_the_true_ratio_nineteen_times_of_twenty():
    held = []
    for seed in range(200):
        row = rows_of(curve(classes=15, noise=0.5, seed=seed))["f", 0.2]
        held.append(row["lo"] <= 0.4 <= row["hi"])
    assert 0.90 <= np.mean(held) <= 0.99


def test_the_smallest_size_is_one_that_was_tried_and_the_first_that_is_enough():
    assert smallest_share(SIZES, np.array([0.79, 0.8, 0.1, 1.0])) == 0.2
    assert smallest_share(SIZES, np.array([0.9, 0.8, 0.1, 1.0])) == 0.1
    assert smallest_share(SIZES, np.array([0.0, 0.7, 0.79, 1.0])) is None


def test_the_interval_of_a_size_is_that_of_the_ends_of_its_faithfulness():
    ones = np.ones(12)
    f = np.array([0.5, 0.75, 0.85, 1.0])[:, None] + 0.1 * np.array([1, -1] * 6)  # ± 0.066
    row = rows_of(Curve(SIZES, f, 0 * ones, ones))["size_80", None]
    assert (row["lo"], row["value"], row["hi"]) == (0.2, 0.5, None)
    assert row["note"] == ("no upper end: f is not certainly 0.8 at any size but the whole network")
    row = rows_of(curve(f=np.array([0.0, 0.4, 0.9, 1.0]), noise=0.01))["size_80", None]
    assert (row["lo"], row["value"], row["hi"], row["note"]) == (0.5, 0.5, 0.5, "")


def test_where_only_the_whole_network_is_enough_there_is_no_size():
    row = rows_of(curve(f=np.array([0.0, 0.1, 0.2, 1.0])))["size_80", None]
    assert (row["lo"], row["value"], row["hi"]) == (None, None, None)
    assert row["note"] == "f is below 0.8 at all sizes but the whole network"


@pytest.mark.parametrize("gain", [0.3, 0.0, -1.0])
def test_a_network_that_is_not_clearly_better_than_its_baselines_has_no_faithfulness(gain):
    rng = np.random.default_rng(0)
    empty = rng.normal(size=12)
    full = empty + gain + np.array([0.5, -0.5] * 6)  # the mean of them ± 0.33
    found = Curve(SIZES, np.vstack([rng.normal(size=(3, 12)), full]), empty, full)
    better = Curve(SIZES, found.margins_KC, empty, full - gain + 0.4)
    assert no_effect(better) == ""
    rows = list(curve_rows(found))
    assert [row["quantity"] for row in rows] == ["f"] * 4 + list(QUANTITIES[1:])
    for row in rows:
        assert (row["value"], row["lo"], row["hi"]) == (None, None, None)
        assert "is not clearly above 0" in row["note"]


def test_two_classes_have_values_without_intervals_and_none_has_nothing():
    row = rows_of(curve(classes=2))["f", 0.2]
    assert row["value"] == pytest.approx(0.4)
    assert (row["lo"], row["hi"]) == (None, None)
    assert row["note"] == "no interval: 2 classes, fewer than 3"
    assert no_effect(curve(classes=12).of_classes(np.array([], int)))
    rows = list(curve_rows(curve().of_classes(np.array([], int))))
    assert {row["note"] for row in rows} == {"no test image of these classes"}
    assert {row["value"] for row in rows} == {None}


def test_a_curve_that_does_not_reach_the_whole_network_has_no_areas():
    rows = list(curve_rows(curve(shares=(0.01, 0.05, 0.1, 0.2))))
    assert [row["quantity"] for row in rows] == ["f"] * 4
