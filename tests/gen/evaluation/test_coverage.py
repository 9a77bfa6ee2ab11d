"""Intervals hold the true score as often as they say, and are not wider than they need to be."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from gen.evaluation.metrics import balanced_accuracy, macro_f1

Z = float(norm.ppf(0.975))
TIMES = 600
EQUAL = np.repeat(np.arange(15), 20)
SMALL = np.repeat(np.arange(15), 3)
LONE = np.arange(60)
MIXED = np.repeat(np.arange(20), [2] * 10 + [40] * 10)
SOME_LONE = np.repeat(np.arange(30), [1] * 15 + [10] * 15)

DESIGNS = {
    "equal classes": (EQUAL, np.full(15, 0.6)),
    "unequal difficulty": (EQUAL, np.linspace(0.02, 0.6, 15)),
    "easy and hopeless classes": (EQUAL, np.repeat([0.02, 0.98], [7, 8])),
    "nearly always right": (EQUAL, np.full(15, 0.98)),
    "nearly always wrong": (EQUAL, np.full(15, 0.01)),
    "three samples of a class": (SMALL, np.linspace(0.2, 0.9, 15)),
    "three samples, extreme": (SMALL, np.full(15, 0.95)),
    "three samples, easy and hopeless": (SMALL, np.repeat([0.05, 0.95], [7, 8])),
    "one sample of a class": (LONE, np.linspace(0.1, 0.9, 60)),
    "one sample, nearly always right": (LONE, np.full(60, 0.97)),
    "classes of unequal size": (MIXED, np.linspace(0.3, 0.8, 20)),
    "small classes are hard": (MIXED, np.repeat([0.5, 0.95], 10)),
    "unequal size, nearly always right": (MIXED, np.full(20, 0.98)),
    "some classes of one sample": (SOME_LONE, np.linspace(0.9, 0.4, 30)),
}


def ideal_width(labels, rates):
    """Width of the normal interval with the true variance, not below Wilson's with no miss."""
    counts = np.bincount(labels)
    deviation = np.sqrt((rates * (1 - rates) / counts).sum()) / len(counts)
    size = len(counts) ** 2 / (1 / counts).sum()
    return 2 * Z * np.sqrt(deviation**2 + Z**2 / (4 * size**2))


@pytest.mark.parametrize("name", DESIGNS)
def test_intervals_of_balanced_accuracy_cover_the_truth_and_are_as_narrow_as_can_be(name):
    labels, rates = DESIGNS[name]
    rng = np.random.default_rng(0)
    found = [
        balanced_accuracy(rng.random(len(labels)) < rates[labels], labels) for _ in range(TIMES)
    ]
    truth = rates.mean()
    covered = np.mean([e.lo <= truth <= e.hi for e in found])
    width = np.mean([e.hi - e.lo for e in found])
    assert covered >= 0.93
    assert width <= 1.5 * ideal_width(labels, rates)


def true_macro_f1(counts, chances):
    """Macro-F1 of expected counts: `chances` [C, C] of every answer to every class."""
    expected = counts[:, None] * chances
    return (2 * np.diag(expected) / (counts + expected.sum(axis=0))).mean()


@pytest.mark.parametrize(
    ("per_class", "lowest", "highest"),
    [(20, 0.3, 0.8), (20, 0.6, 0.6), (8, 0.3, 0.8), (20, 0.95, 0.99), (20, 0.0, 0.1)],
)
def test_intervals_of_macro_f1_cover_the_truth(per_class, lowest, highest):
    rng = np.random.default_rng(0)
    rates, counts = np.linspace(lowest, highest, 15), np.full(15, per_class)
    wrong = rng.dirichlet(np.ones(14), size=15) * (1 - rates)[:, None]
    chances = np.array(
        [np.insert(row, i, rate) for i, (row, rate) in enumerate(zip(wrong, rates, strict=True))]
    )
    labels = np.repeat(np.arange(15), per_class)
    truth, covered = true_macro_f1(counts, chances), 0
    bounds = chances.cumsum(axis=1)[labels]
    for _ in range(TIMES):
        answers = (rng.random(len(labels))[:, None] > bounds).sum(axis=1).clip(max=14)
        found = macro_f1(answers, labels)
        covered += found.lo <= truth <= found.hi
    assert covered / TIMES >= 0.92
