import numpy as np
import pytest
from scipy.stats import false_discovery_control

from analysis.statistics import (
    Refused,
    benjamini_hochberg,
    paired_difference_interval,
    paired_ratio_interval,
)

LABELS = np.repeat(np.arange(15), 20)
CHANCE = 1 / 75


def test_benjamini_and_hochbergs_correction_is_that_of_scipy():
    rng = np.random.default_rng(0)
    for size in (1, 2, 30):
        p = rng.random(size) ** 3
        assert benjamini_hochberg(list(p)) == pytest.approx(false_discovery_control(p))
    assert benjamini_hochberg([]) == []


def test_a_share_of_the_upper_bound_weighs_classes_equally():
    labels = np.array([0] * 8 + [1] * 2)
    part = np.array([1, 1, 0, 0, 0, 0, 0, 0, 1, 0])
    whole = np.array([1, 1, 1, 1, 1, 1, 0, 0, 1, 1])
    share = paired_ratio_interval(part, whole, labels, CHANCE)
    assert share.value == pytest.approx((0.25 + 0.5) / (0.75 + 1))
    assert share.lo < share.value < share.hi
    assert (share.n, share.n_classes) == (10, 2)


def test_paired_intervals_of_a_ratio_cover_the_true_one():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(15), 8)
    covered = []
    for _ in range(300):
        ease = rng.random(120)  # the same samples are hard for both
        part = (ease < 0.3) & (rng.random(120) < 0.8)
        share = paired_ratio_interval(part, ease < 0.6, labels, CHANCE, resamples=500)
        covered.append(share.lo <= 0.4 <= share.hi)
    assert 0.91 <= np.mean(covered) <= 0.985


def test_pairing_narrows_the_interval_of_a_ratio():
    rng = np.random.default_rng(0)
    ease = rng.random(300)
    part, whole = ease < 0.4, ease < 0.5
    paired = paired_ratio_interval(part, whole, LABELS, CHANCE)
    shuffled = np.concatenate([rng.permutation(part[c == LABELS]) for c in range(15)])
    unpaired = paired_ratio_interval(shuffled, whole, LABELS, CHANCE)
    assert paired.value == pytest.approx(unpaired.value)
    assert paired.hi - paired.lo < 0.7 * (unpaired.hi - unpaired.lo)


def test_an_upper_bound_at_chance_makes_no_share():
    rng = np.random.default_rng(0)
    guesses = rng.random(300) < CHANCE
    refused = paired_ratio_interval(guesses, guesses, LABELS, CHANCE)
    assert isinstance(refused, Refused)
    assert refused.reason.endswith("is not clearly above chance")
    assert isinstance(paired_ratio_interval(guesses, np.zeros(300), LABELS, CHANCE), Refused)


def test_equal_answers_are_one_without_certainty():
    share = paired_ratio_interval(np.ones(300), np.ones(300), LABELS, CHANCE)
    assert share.value == 1
    assert share.lo < 1 < share.hi
    zero = paired_ratio_interval(np.zeros(300), np.ones(300), LABELS, CHANCE)
    assert (zero.value, zero.lo) == (0, 0)
    assert zero.hi > 0


def test_a_ratio_and_a_difference_are_of_the_same_scores():
    rng = np.random.default_rng(2)
    part, whole = rng.random(300) < 0.3, rng.random(300) < 0.6
    share = paired_ratio_interval(part, whole, LABELS, CHANCE)
    gap = paired_difference_interval(whole, part, LABELS)
    assert gap.value == pytest.approx((share.value - 1) * np.mean(whole))
