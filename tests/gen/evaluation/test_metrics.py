"""Balanced accuracy is the mean over classes, and its interval holds the truth as often as said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

from gen.evaluation.metrics import balanced_accuracy, macro_f1, plain_accuracy, wilson

LABELS = np.repeat(np.arange(15), 20)
Z = 1.959964
MEASURES = (balanced_accuracy, plain_accuracy)


def by_formula(p, n):
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
    assert (estimate.lo, estimate.hi) == by_formula(0.3, 10)
    assert (estimate.lo, estimate.hi) == pytest.approx((0.1078, 0.6032), abs=1e-4)  # published


def blended(size, equal, rare):
    """Effective size of which four answers' weight is that of equally hard classes."""
    return (rare + 4) / (rare / size + 4 / equal)


def test_one_class_has_the_wilson_interval_of_nearly_one_sample_less():
    estimate = balanced_accuracy(np.arange(11) < 5, np.zeros(11, int))
    size = blended(11 * (1 - 11 / 11.5**2), 11, rare=5)
    assert (estimate.lo, estimate.hi) == by_formula(5 / 11, size)
    assert 10 < size < 11  # unbiased variance: n - 1


def test_two_classes_have_the_effective_size_of_their_variances():
    """3 of 5 and 1 of 10 right, half a sample with the accuracy of the whole added to each."""
    correct = np.array([1, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], dtype=bool)
    estimate = balanced_accuracy(correct, np.repeat([0, 1], [5, 10]))
    equal = 4 / (1 / 5 + 1 / 10)
    whole = (equal * 0.35 + 1) / (equal + 2)
    five, ten = (3 + whole / 2) / 5.5, (1 + whole / 2) / 10.5
    variance = five * (1 - five) / 5 / (1 - 5 / 5.5**2) + ten * (1 - ten) / 10 / (1 - 10 / 10.5**2)
    centre = (five + ten) / 2
    size = blended(centre * (1 - centre) / (variance / 4), equal, rare=4)
    assert (estimate.lo, estimate.hi) == by_formula(0.35, size)


@pytest.mark.parametrize("labels", [LABELS, np.repeat(np.arange(10), [2] * 5 + [40] * 5)])
def test_the_interval_hardly_changes_with_the_last_wrong_answer_of_a_large_class(labels):
    right = np.ones(len(labels), bool)
    one_wrong = right.copy()
    one_wrong[-1] = False
    all_right, nearly = (balanced_accuracy(correct, labels) for correct in (right, one_wrong))
    assert all_right.hi == 1
    assert nearly.lo < all_right.lo < nearly.lo + 0.02


def test_an_interval_at_the_end_is_as_wide_as_that_of_the_plain_share():
    everything = np.ones(300, bool)
    plain, balanced = (
        measure(everything, LABELS) for measure in (plain_accuracy, balanced_accuracy)
    )
    assert balanced.lo == pytest.approx(plain.lo, abs=0.002)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("value", [0, 1])
def test_an_interval_at_0_or_1_has_width_and_holds_the_value(measure, value):
    estimate = measure(np.full(300, bool(value)), LABELS)
    assert estimate.lo <= value <= estimate.hi
    assert 0.005 < estimate.hi - estimate.lo < 0.05


def test_classes_with_one_sample_still_give_an_interval():
    estimate = balanced_accuracy(np.arange(10) < 5, np.arange(10))
    assert (estimate.lo, estimate.hi) == by_formula(0.5, 10)


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4)), min_size=1, max_size=30))
def test_a_score_lies_in_its_interval_and_that_in_0_to_1(answers):
    correct, labels = (np.array(column) for column in zip(*answers, strict=True))
    for measure in MEASURES:
        estimate = measure(correct, labels)
        assert 0 <= estimate.lo <= estimate.value <= estimate.hi <= 1
        assert estimate.lo < estimate.hi


def test_a_wider_confidence_is_a_wider_interval():
    correct = np.arange(300) % 3 == 0
    narrow, wide = (balanced_accuracy(correct, LABELS, confidence=c) for c in (0.5, 0.99))
    assert wide.lo < narrow.lo < narrow.hi < wide.hi


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize(("answers", "labels"), [(0, 0), (2, 1), (1, 2)])
def test_no_samples_and_unequal_lengths_are_errors(measure, answers, labels):
    with pytest.raises(ValueError, match=f"{answers} predictions for {labels} labels"):
        measure(np.ones(answers, bool), np.zeros(labels, int))


# ---------------------------------------------------------------------------- macro-F1


def answers_of(seed, labels, classes, right=0.6):
    rng = np.random.default_rng(seed)
    return np.where(
        rng.random(len(labels)) < right, labels, rng.integers(classes, size=len(labels))
    )


@pytest.mark.parametrize("seed", range(5))
def test_macro_f1_is_that_of_scikit_learn_over_the_labels_present(seed):
    labels = np.random.default_rng(seed).choice([1, 2, 5, 6], size=50)  # of ten classes
    answers = answers_of(seed, labels, 10)
    found = macro_f1(answers, labels)
    present = np.unique(labels)
    expected = f1_score(labels, answers, labels=present, average="macro", zero_division=0)
    assert found.value == pytest.approx(expected)
    assert (found.n, found.n_classes) == (50, len(present))
    assert found.lo < found.value < found.hi


def test_macro_f1_counted_by_hand():
    """Class 0: 2 of 3 right, 3 answers: F1 4/6. Class 7: 1 of 2 right, 1 answer: F1 2/3."""
    found = macro_f1(np.array([0, 0, 9, 0, 7]), np.array([0, 0, 0, 7, 7]))
    assert found.value == pytest.approx((4 / 6 + 2 / 3) / 2)


def test_the_interval_of_macro_f1_is_that_of_a_bootstrap_within_class():
    labels = np.repeat(np.arange(8), 100)
    answers = answers_of(0, labels, 8)
    rng = np.random.default_rng(0)
    rows = np.arange(800).reshape(8, 100)
    drawn = []
    for _ in range(500):
        chosen = np.take_along_axis(rows, rng.integers(100, size=(8, 100)), axis=1).ravel()
        drawn.append(f1_score(labels[chosen], answers[chosen], average="macro"))
    found = macro_f1(answers, labels)
    assert found.hi - found.lo == pytest.approx(2 * Z * np.std(drawn), rel=0.1)


@pytest.mark.parametrize("value", [0, 1])
def test_macro_f1_at_0_or_1_is_not_certain(value):
    answers = LABELS if value else (LABELS + 1) % 15
    found = macro_f1(answers, LABELS)
    assert found.lo <= found.value == value <= found.hi
    assert 0.005 < found.hi - found.lo < 0.05


def test_macro_f1_of_no_samples_is_an_error():
    with pytest.raises(ValueError, match="0 predictions for 0 labels"):
        macro_f1(np.array([], int), np.array([], int))


def test_many_wilson_intervals_at_once_are_those_one_by_one():
    shares, sizes = np.array([0.0, 0.3, 1.0]), np.array([4, 10, 7])
    for share, size, lo, hi in zip(shares, sizes, *wilson(shares, sizes), strict=True):
        assert (lo, hi) == by_formula(share, size)
