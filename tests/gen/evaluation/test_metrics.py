"""Balanced accuracy is the mean over classes, and its interval holds the truth as often as said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from gen.evaluation.metrics import balanced_accuracy, plain_accuracy

LABELS = np.repeat(np.arange(15), 20)
Z = 1.959964
MEASURES = (balanced_accuracy, plain_accuracy)


def wilson(p, n):
    centre = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * np.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    return pytest.approx((centre - half, centre + half), abs=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_both_accuracies_are_those_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(7, size=80)
    answers = np.where(rng.random(80) < 0.6, labels, (labels + 1) % 7)
    balanced, plain = (measure(answers == labels, labels) for measure in MEASURES)
    assert balanced.value == pytest.approx(balanced_accuracy_score(labels, answers))
    assert plain.value == pytest.approx(accuracy_score(labels, answers))
    assert (balanced.n, balanced.n_classes) == (plain.n, plain.n_classes) == (80, 7)


def test_a_class_counts_the_same_however_many_samples_it_has():
    labels = np.array([3] * 8 + [9] * 2)
    correct = np.array([1, 1, 0, 0, 0, 0, 0, 0, 1, 1], dtype=bool)
    assert balanced_accuracy(correct, labels).value == pytest.approx((0.25 + 1) / 2)
    assert plain_accuracy(correct, labels).value == pytest.approx(0.4)


def test_the_interval_of_shares_is_that_of_wilson():
    estimate = plain_accuracy(np.arange(10) < 3, np.arange(10) % 2)
    assert (estimate.lo, estimate.hi) == wilson(0.3, 10)
    assert (estimate.lo, estimate.hi) == pytest.approx((0.1078, 0.6032), abs=1e-4)  # published


def test_one_class_has_the_wilson_interval_of_one_sample_less():
    estimate = balanced_accuracy(np.arange(11) < 5, np.zeros(11, int))
    assert (estimate.lo, estimate.hi) == wilson(5 / 11, 10)  # unbiased variance: n - 1


def test_two_classes_have_the_effective_size_of_their_variances():
    correct = np.array([1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], dtype=bool)
    estimate = balanced_accuracy(correct, np.repeat([0, 1], [5, 10]))
    variance = (0.6 * 0.4 / 4 + 0.1 * 0.9 / 9) / 4
    assert (estimate.lo, estimate.hi) == wilson(0.35, 0.35 * 0.65 / variance)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("value", [0, 1])
def test_an_interval_at_0_or_1_has_width_and_holds_the_value(measure, value):
    estimate = measure(np.full(300, bool(value)), LABELS)
    assert estimate.lo <= value <= estimate.hi
    assert 0.005 < estimate.hi - estimate.lo < 0.05


def test_classes_with_one_sample_still_give_an_interval():
    estimate = balanced_accuracy(np.arange(10) < 5, np.arange(10))
    assert (estimate.lo, estimate.hi) == wilson(0.5, 10)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=30))
def test_a_score_lies_in_its_interval_and_that_in_0_to_1(answers):
    correct, labels = (np.array(column) for column in zip(*answers, strict=True))
    for measure in MEASURES:
        estimate = measure(correct, labels)
        assert 0 <= estimate.lo <= estimate.value <= estimate.hi <= 1
        assert estimate.lo < estimate.hi


@pytest.mark.parametrize(("lowest", "highest"), [(0.02, 0.6), (0.4, 0.6), (0.0, 1.0), (0.6, 0.98)])
def test_intervals_cover_the_truth_as_often_as_they_say(lowest, highest):
    rng = np.random.default_rng(0)
    rates = np.linspace(lowest, highest, 15)
    covered = [
        (e := balanced_accuracy(rng.random(300) < rates[LABELS], LABELS)).lo <= rates.mean() <= e.hi
        for _ in range(1000)
    ]
    assert 0.93 <= np.mean(covered) <= 0.975


def test_a_wider_confidence_is_a_wider_interval():
    correct = np.arange(300) % 3 == 0
    narrow, wide = (balanced_accuracy(correct, LABELS, confidence=c) for c in (0.5, 0.99))
    assert wide.lo < narrow.lo < narrow.hi < wide.hi


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(("answers", "labels"), [(0, 0), (2, 1), (1, 2)])
def test_no_samples_and_unequal_lengths_are_errors(measure, answers, labels):
    with pytest.raises(ValueError, match=f"{answers} predictions for {labels} labels"):
        measure(np.ones(answers, bool), np.zeros(labels, int))
