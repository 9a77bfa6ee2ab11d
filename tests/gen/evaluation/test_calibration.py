"""The calibration error is what the bins give, and its interval holds the truth."""

from __future__ import annotations

import numpy as np
import pytest

from gen.evaluation.calibration import calibration_error

LABELS = np.repeat(np.arange(15), 20)


def by_definition(confidences, correct):
    """Guo et al. 2017, equation 3, bin after bin."""
    found = 0.0
    for number in range(15):
        inside = (confidences > number / 15) & (confidences <= (number + 1) / 15)
        if inside.any():
            gap = abs(correct[inside].mean() - confidences[inside].mean())
            found += inside.mean() * gap
    return found


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_mean_gap_of_fifteen_bins(seed):
    rng = np.random.default_rng(seed)
    confidences = rng.random(300)
    correct = rng.random(300) < confidences**2
    found = calibration_error(confidences, correct, LABELS)
    assert found.value == pytest.approx(by_definition(confidences, correct))
    assert (found.n, found.n_classes) == (300, 15)
    assert found.lo <= found.value <= found.hi


def test_two_bins_counted_by_hand():
    confidences = np.array([0.9, 0.9, 0.9, 0.9, 0.3])
    correct = np.array([True, True, True, False, True])
    found = calibration_error(confidences, correct, np.array([0, 0, 1, 1, 1]))
    assert found.value == pytest.approx(4 / 5 * (0.9 - 0.75) + 1 / 5 * 0.7)


def test_a_confidence_on_an_edge_is_in_the_bin_below():
    edge = 9 / 15  # exactly between two bins; correct answers just above it would cancel it
    confidences = np.array([edge, edge + 1e-9])
    found = calibration_error(confidences, np.array([False, True]), np.array([0, 0]))
    assert found.value == pytest.approx(0.5 * edge + 0.5 * (1 - edge))


@pytest.mark.parametrize("confidences", [[0.0, 1.0], [0.0, 0.0]])
def test_confidences_of_0_and_1_are_in_the_outer_bins(confidences):
    found = calibration_error(np.array(confidences), np.array([True, False]), np.array([0, 1]))
    assert found.value == pytest.approx(np.mean(np.abs([1, 0] - np.array(confidences))))
    assert 0 <= found.lo <= found.value <= found.hi <= 1


def expected_error(confidences, rates):
    """ECE of the true rates in place of the answers."""
    return by_definition(confidences, rates)


@pytest.mark.parametrize(
    ("name", "rate"),
    [
        ("calibrated", lambda c: c),
        ("a little overconfident", lambda c: c - 0.05 * (c > 0.3)),
        ("overconfident", lambda c: c / 2),
        ("half of the bins wrong", lambda c: np.where(c > 0.5, c - 0.3, c)),
    ],
)
def test_intervals_cover_the_truth_as_often_as_they_say(name, rate):
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        confidences = np.clip(0.15 + 0.75 * rng.random(300) + LABELS / 150, 0, 1)
        rates = rate(confidences)
        found = calibration_error(confidences, rng.random(300) < rates, LABELS)
        covered += found.lo <= expected_error(confidences, rates) <= found.hi
    assert covered / 400 >= 0.925


def test_the_interval_of_a_clear_error_is_that_of_a_mean():
    """Every sample is overconfident: ECE is mean confidence less accuracy, closely normal."""
    rng = np.random.default_rng(1)
    confidences = 0.8 + 0.01 * rng.random(3000)
    correct = rng.random(3000) < 0.3
    labels = np.repeat(np.arange(15), 200)
    found = calibration_error(confidences, correct, labels)
    half = 1.96 * np.sqrt(0.3 * 0.7 / 3000)
    assert found.hi - found.lo == pytest.approx(2 * half, rel=0.1)


def test_a_calibrated_models_interval_begins_at_0():
    rng = np.random.default_rng(2)
    confidences = rng.random(3000)
    found = calibration_error(confidences, rng.random(3000) < confidences, np.arange(3000) % 30)
    assert found.lo == 0
    assert found.hi < 0.05


def test_the_same_numbers_come_again_and_classes_of_one_sample_are_no_certainty():
    rng = np.random.default_rng(3)
    confidences, labels = rng.random(40), np.arange(40)
    correct = rng.random(40) < confidences
    first, second = (calibration_error(confidences, correct, labels) for _ in range(2))
    assert first == second
    assert first.hi - first.lo > 0.05


def test_wrong_input_is_an_error():
    with pytest.raises(ValueError, match="0 confidences for 0 labels"):
        calibration_error(np.array([]), np.array([], bool), np.array([], int))
    with pytest.raises(ValueError, match="outside"):
        calibration_error(np.array([1.5]), np.array([True]), np.array([0]))
    with pytest.raises(ValueError, match="outside"):
        calibration_error(np.array([np.nan]), np.array([True]), np.array([0]))
