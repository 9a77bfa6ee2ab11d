"""A linear probe: logistic regression on frozen features, its strength chosen on validation images.

The search is the published one (Radford et al. 2021, Appendix A.3). Features are centred and
divided by one number, their root mean square, so that a strength means the same at every site. The
probe is still that of the raw features, as published: the intercept is free, and one number for all
units only changes the unit in which the strength is counted.

Legend: N images, U units.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from gen.evaluation.metrics import balanced_accuracy

STEPS = 96
"""steps of equal ratio from the weakest to the strongest penalty"""
WEAKEST, STRONGEST = 1e-6, 1e6
"""λ = 1 / C at the ends of the search"""
COARSE, FINER = 16, (8, 4, 2, 1)
"""steps between the first seven trials, and between the later ones and the best"""
MAX_ITERATIONS = 1000
TOLERANCE = 1e-5
"""of the largest gradient at which a fit ends; docs/probes.md tells how far from the optimum"""


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe.

    Attributes:
        centre: mean of the features that it was fitted on, float64 [U].
        size: their root mean square around it.
        model: classifies (features - centre) / size.
    """

    centre: np.ndarray
    size: float
    model: LogisticRegression

    @property
    def c(self) -> float:
        """Inverse of the penalty, for features of unit size."""
        return float(self.model.C)

    def predict(self, features_NU: np.ndarray) -> np.ndarray:
        """Labels, shape [N], among those that it was fitted on."""
        return self.model.predict(_scaled(features_NU, self.centre, self.size))


def fit_probe(features_NU: np.ndarray, labels: np.ndarray, c: float) -> LinearProbe:
    """Multinomial logistic regression with an L2 penalty of 1 / (2 C), by L-BFGS.

    Every fit begins from weights of 0: with a weak penalty it ends before the optimum, at a place
    that depends on where it began.

    Args:
        features_NU: of any scale.
        labels: class ids, int [N].
        c: C, for features of unit size.

    Raises:
        ValueError: fewer than two classes, or features that are no numbers.
    """
    centre = features_NU.mean(axis=0, dtype=np.float64)
    size = float(np.sqrt(np.mean((features_NU - centre) ** 2))) or 1.0  # 0: constant features
    model = LogisticRegression(C=c, max_iter=MAX_ITERATIONS, tol=TOLERANCE)
    with warnings.catch_warnings():
        # of one image per class: it would take labels for numbers to be predicted
        warnings.filterwarnings("ignore", message="The number of unique classes is greater")
        model.fit(_scaled(features_NU, centre, size), labels)
    return LinearProbe(centre, size, model)


def fit_searched(
    features_NU: np.ndarray, labels: np.ndarray, validation: np.ndarray
) -> LinearProbe:
    """A probe with the C that is best on the validation images, fitted again on all images.

    Args:
        features_NU: of any scale.
        labels: class ids, int [N].
        validation: which images choose C instead of fitting the trials, bool [N].

    Raises:
        ValueError: no validation image, or as `fit_probe`.
    """
    known, known_labels = features_NU[~validation], labels[~validation]
    asked, asked_labels = features_NU[validation], labels[validation]

    def accuracy(step: int) -> float:
        trial = fit_probe(known, known_labels, c_of(step))
        return balanced_accuracy(trial.predict(asked) == asked_labels, asked_labels).value

    return fit_probe(features_NU, labels, c_of(search(accuracy)))


def search(accuracy: Callable[[int], float]) -> int:
    """Step of the best penalty: seven trials over the whole range, then ever closer to the best.

    Between the ends 15 trials, at an end (which has one neighbour) fewer. Of equals the strongest
    penalty is best.

    Args:
        accuracy: on validation, of a step from 0 (weakest) to STEPS (strongest); never asked twice.
    """
    found: dict[int, float] = {}
    for step in range(STEPS, -1, -COARSE):
        found[step] = accuracy(step)
    for spacing in FINER:
        best = _best(found)
        for step in (best + spacing, best - spacing):
            if 0 <= step <= STEPS:
                found[step] = accuracy(step)
    return _best(found)


def c_of(step: int) -> float:
    """C of a step: 1 / λ, λ in equal ratios from WEAKEST to STRONGEST."""
    return 1 / (WEAKEST * (STRONGEST / WEAKEST) ** (step / STEPS))


def _best(found: dict[int, float]) -> int:
    return max(found, key=lambda step: (found[step], step))


def _scaled(features_NU: np.ndarray, centre: np.ndarray, size: float) -> np.ndarray:
    return (features_NU - centre) / size
