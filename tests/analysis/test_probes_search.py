"""A probe is scikit-learn's logistic regression, its penalty found by the published search."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from analysis import linear_probe
from analysis.linear_probe import MAX_ITERATIONS, STEPS, c_of, fit_probe, fit_searched, search

CLASSES, UNITS = 5, 8


def planted(noise, per_class=30, seed=0, shift=0.0, scale=1.0):
    """Features around one random direction per class, labels, in random order."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).normal(size=(CLASSES, UNITS))
    labels = rng.permutation(np.repeat(np.arange(CLASSES), per_class))
    features = means[labels] + noise * rng.normal(size=(len(labels), UNITS))
    return (scale * features + shift).astype(np.float32), labels


def peak(at):
    """A score with one peak, and the list of steps it was asked for."""
    asked = []

    def accuracy(step):
        asked.append(step)
        return -abs(step - at)

    return accuracy, asked


def test_the_search_visits_the_published_points():
    accuracy, asked = peak(36.6)
    assert search(accuracy) == 37
    assert asked[:7] == [96, 80, 64, 48, 32, 16, 0]
    assert asked[7:] == [40, 24, 44, 36, 38, 34, 37, 35]  # 32 ± 8, 40 ± 4, 36 ± 2, 36 ± 1
    assert len(asked) == len(set(asked)) == 15


@pytest.mark.parametrize("at", range(STEPS + 1))
def test_the_search_finds_every_peak_that_it_can_reach(at):
    accuracy, asked = peak(at)
    assert search(accuracy) == at
    assert len(asked) == len(set(asked)) <= 15
    assert min(asked) >= 0
    assert max(asked) <= STEPS


def test_of_equals_the_strongest_penalty_is_best():
    assert search(lambda step: 1.0) == STEPS
    assert search(lambda step: float(step <= 40)) == 40


def test_penalties_are_96_equal_ratios_over_12_decades():
    penalties = np.array([1 / c_of(step) for step in range(STEPS + 1)])
    assert penalties == pytest.approx(np.logspace(-6, 6, 97), rel=1e-9)
    assert penalties[::16] == pytest.approx([1e-6, 1e-4, 1e-2, 1, 1e2, 1e4, 1e6], rel=1e-9)


@pytest.mark.parametrize("scale", [0.01, 1.0, 50.0])
def test_a_probe_is_the_logistic_regression_of_the_raw_features(scale):
    features, labels = planted(1.0, shift=3 * scale, scale=scale)
    tested, _ = planted(1.0, seed=1, shift=3 * scale, scale=scale)
    probe = fit_probe(features, labels, c=0.1)
    # the penalty counts per unit of size: w / size on raw features has the same loss
    raw = LogisticRegression(C=0.1 / probe.size**2, max_iter=20_000, tol=1e-9)
    raw.fit(features.astype(np.float64), labels)
    theirs = raw.predict_proba(tested.astype(np.float64))
    ours = probe.model.predict_proba((tested - probe.centre) / probe.size)
    assert ours == pytest.approx(theirs, abs=5e-3)
    sure = np.diff(np.sort(theirs)[:, -2:])[:, 0] > 0.02
    assert sure.mean() > 0.9
    assert (probe.predict(tested) == raw.predict(tested))[sure].all()


def test_a_step_scores_the_same_whatever_was_tried_before(monkeypatch):
    features, labels = planted(3.0, per_class=20)
    validation = np.arange(len(labels)) % 3 == 0
    scores = []

    def visit(steps):
        def tried(accuracy):
            found = {step: accuracy(step) for step in steps}
            scores.append([found[step] for step in sorted(found)])
            return 0

        return tried

    for steps in (range(0, STEPS + 1, 8), range(STEPS, -1, -8)):
        monkeypatch.setattr(linear_probe, "search", visit(steps))
        fit_searched(features, labels, validation)
    assert scores[0] == scores[1]


@pytest.mark.parametrize("c", [1e-4, 1e-2, 1.0, 30.0])
def test_a_probe_predicts_what_the_optimum_does(c):
    features, labels = planted(3.0, per_class=60)
    tested, _ = planted(3.0, per_class=400, seed=1)
    probe = fit_probe(features, labels, c)
    optimum = LogisticRegression(C=c, max_iter=20_000, tol=1e-10)
    optimum.fit((features - probe.centre) / probe.size, labels)
    theirs = optimum.predict((tested - probe.centre) / probe.size)
    assert (probe.predict(tested) == theirs).mean() > 0.99


def test_the_searched_penalty_is_as_good_on_validation_as_any():
    features, labels = planted(4.0, per_class=60)
    validation = np.arange(len(labels)) % 3 == 0
    found = fit_searched(features, labels, validation)
    accuracies = {}
    for step in range(0, STEPS + 1, 2):
        trial = fit_probe(features[~validation], labels[~validation], c_of(step))
        right = trial.predict(features[validation]) == labels[validation]
        accuracies[step] = np.mean([right[labels[validation] == c].mean() for c in range(CLASSES)])
    own = fit_probe(features[~validation], labels[~validation], found.c)
    right = own.predict(features[validation]) == labels[validation]
    reached = np.mean([right[labels[validation] == c].mean() for c in range(CLASSES)])
    assert reached >= max(accuracies.values()) - 0.03
    assert reached > min(accuracies.values()) + 0.05  # the penalty matters here


def test_the_searched_probe_is_fitted_again_on_all_images():
    features, labels = planted(2.0)
    validation = np.arange(len(labels)) % 3 == 0
    found = fit_searched(features, labels, validation)
    again = fit_probe(features, labels, found.c)
    assert found.centre == pytest.approx(features.mean(axis=0, dtype=np.float64))
    assert np.array_equal(found.model.coef_, again.model.coef_)


def test_separable_features_are_separated_and_two_classes_are_enough():
    features, labels = planted(0.01)
    two = labels < 2
    for part in (np.full(len(labels), True), two):
        probe = fit_searched(features[part], labels[part], np.arange(part.sum()) % 3 == 0)
        assert (probe.model.n_iter_ < MAX_ITERATIONS).all()
        assert (probe.predict(features[part]) == labels[part]).all()


def test_constant_features_say_nothing_and_do_no_harm():
    labels = np.repeat([0, 1, 2], [5, 9, 5])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        probe = fit_probe(np.full((19, 4), 7.0, dtype=np.float32), labels, c=1.0)
    assert set(probe.predict(np.full((6, 4), 7.0))) == {1}


def test_one_class_is_an_error():
    with pytest.raises(ValueError, match="2 classes"):
        fit_probe(np.ones((4, 2)), np.zeros(4, dtype=int), c=1.0)
