"""A difference of two scores of the same images: its value, and how often its interval holds."""

from __future__ import annotations

import numpy as np
import pytest

from gen.evaluation.paired import paired_difference

TIMES = 300
EQUAL = np.repeat(np.arange(15), 20)
SMALL = np.repeat(np.arange(15), 3)
LONE = np.arange(60)
MIXED = np.repeat(np.arange(20), [2] * 10 + [40] * 10)
DESIGNS = {
    "few are lost": (EQUAL, 0.0, 0.03),
    "hardly any differs": (EQUAL, 0.01, 0.01),
    "many are lost": (EQUAL, 0.05, 0.4),
    "nearly all are lost": (EQUAL, 0.0, 0.97),
    "as many are won as lost": (SMALL, 0.2, 0.2),
    "few are lost of few": (SMALL, 0.0, 0.03),
    "one sample of a class": (LONE, 0.05, 0.4),
    "classes of unequal size": (MIXED, 0.1, 0.3),
}


def test_the_difference_is_that_of_balanced_accuracies():
    before = np.array([1, 1, 1, 1, 0, 0])
    after = np.array([0, 1, 1, 1, 1, 1])
    found = paired_difference(before, after, np.array([0, 0, 0, 0, 1, 1]))
    assert found.value == pytest.approx(((1 - 0) - 1 / 4) / 2)
    assert (found.n, found.n_classes) == (6, 2)
    assert -1 <= found.lo < found.value < found.hi <= 1


def test_the_same_answers_leave_a_difference_possible_and_the_less_so_the_more_they_are():
    widths = []
    for count in (10, 1000):
        right = np.ones(count)
        found = paired_difference(right, right, np.zeros(count, dtype=int))
        assert found.value == 0
        widths.append(found.hi - found.lo)
    assert widths[0] > 0.3
    assert 0 < widths[1] < 0.01


def test_to_exchange_the_two_turns_the_difference_round():
    rng = np.random.default_rng(0)
    a, b = rng.random((2, len(MIXED))) < 0.4
    one, other = paired_difference(a, b, MIXED), paired_difference(b, a, MIXED)
    assert (one.value, one.lo, one.hi) == pytest.approx((-other.value, -other.hi, -other.lo))


def test_answers_that_agree_image_by_image_give_a_narrower_interval_than_others_do():
    rng = np.random.default_rng(0)
    before = rng.random(len(EQUAL)) < 0.5
    paired = paired_difference(before, before ^ (rng.random(len(EQUAL)) < 0.05), EQUAL)
    unpaired = paired_difference(before, rng.random(len(EQUAL)) < 0.5, EQUAL)
    assert paired.hi - paired.lo < 0.5 * (unpaired.hi - unpaired.lo)


@pytest.mark.parametrize("name", DESIGNS)
def test_the_interval_holds_the_true_difference_nearly_always(name):
    labels, won, lost = DESIGNS[name]
    rng, covered = np.random.default_rng(0), 0
    for _ in range(TIMES):
        lot = rng.random(len(labels))
        found = paired_difference((lot >= won) & (lot < won + lost), lot < won, labels)
        covered += found.lo <= won - lost <= found.hi
    assert covered / TIMES >= 0.92


def test_answers_to_other_samples_are_refused():
    with pytest.raises(ValueError, match="2 and 3 answers"):
        paired_difference(np.ones(2), np.ones(3), np.zeros(3))
