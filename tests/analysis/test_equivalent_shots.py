"""Equivalent shots are where a few-shot curve meets the zero-shot score."""

from __future__ import annotations

import math

import pytest

from analysis.equivalent_shots import equivalent_shots

SHOTS = [1, 2, 4, 8, 16]
CURVE = [0.2, 0.3, 0.4, 0.5, 0.6]


@pytest.mark.parametrize(
    ("zero_shot", "value"),
    [(0.2, 1), (0.25, math.sqrt(2)), (0.4, 4), (0.425, 4 * 2**0.25), (0.6, 16)],
)
def test_accuracy_is_linear_in_the_logarithm_of_the_shots(zero_shot, value):
    found = equivalent_shots(SHOTS, CURVE, zero_shot)
    assert found.value == pytest.approx(value)
    assert found.bound == ""
    assert str(found) == f"{value:.1f}"


def test_nothing_is_extrapolated():
    below, above = (equivalent_shots(SHOTS, CURVE, score) for score in (0.19, 0.61))
    assert (below.value, below.bound, str(below)) == (None, "< 1", "< 1")
    assert (above.value, above.bound, str(above)) == (None, "> 16", "> 16")
    assert equivalent_shots([2, 8], [0.5, 0.6], 0.4).bound == "< 2"


def test_a_curve_that_crosses_several_times_counts_from_the_first():
    found = equivalent_shots([1, 2, 4, 8], [0.1, 0.5, 0.2, 0.6], 0.3)
    assert found.value == pytest.approx(math.sqrt(2))


def test_a_flat_stretch_at_the_score_counts_from_its_start():
    assert equivalent_shots([1, 2, 4], [0.1, 0.3, 0.3], 0.3).value == 2


def test_one_shot_alone_has_a_number_only_at_its_own_score():
    assert equivalent_shots([4], [0.5], 0.5).value == 4
    assert equivalent_shots([4], [0.5], 0.6).bound == "> 4"


@pytest.mark.parametrize(
    ("shots", "scores", "message"),
    [
        ([], [], "0 shots"),
        ([1, 2], [0.1], "2 shots, 1 accuracies"),
        ([2, 1], [0.1, 0.2], "do not rise"),
        ([0, 1], [0.1, 0.2], "do not rise"),
        ([1, 2], [0.1, math.nan], "no number"),
    ],
)
def test_a_curve_that_is_none_is_an_error(shots, scores, message):
    with pytest.raises(ValueError, match=message):
        equivalent_shots(shots, scores, 0.5)
