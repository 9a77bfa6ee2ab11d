"""Linear discriminants whose strength is not searched for but follows from the images fitted on.

Legend: N images, U units, K directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from analysis.probe_images import shots_part
from analysis.statistics import Refused

MOST_UNITS = 512
"""a layer with more is read in its first principal components"""
FEWEST_IMAGES = 2
"""of a cell: one has no spread"""
MOST_NAMED = 8
"""classes that a note names"""
CURE = "raise `analysis.images`, or add training images of these cells"


@dataclass(frozen=True)
class Reading:
    """What of a layer a discriminant reads: all units, or the first principal components.

    Attributes:
        centre_U: mean of the activations that it was made of.
        basis_KU: directions, orthonormal; None: all units.
    """

    centre_U: np.ndarray
    basis_KU: np.ndarray | None

    def __call__(self, features_NU: np.ndarray) -> np.ndarray:
        """Activations minus the centre, along the directions: float64 [N, K] or [N, U]."""
        centred_NU = features_NU - self.centre_U
        return centred_NU if self.basis_KU is None else centred_NU @ self.basis_KU.T


def reading(features_NU: np.ndarray) -> Reading:
    """Of activations that discriminants are fitted on; labels have no part in it."""
    centre_U = features_NU.mean(axis=0, dtype=np.float64)
    if len(centre_U) <= MOST_UNITS:
        return Reading(centre_U, None)
    return Reading(centre_U, _components(features_NU - centre_U))


def fit_discriminant(read_NK: np.ndarray, labels: np.ndarray) -> LinearDiscriminantAnalysis:
    """Linear discriminant analysis with all classes equally likely beforehand.

    The covariance within classes is shrunk by the analytic strength of Ledoit & Wolf (2004), from
    these images alone: nothing is chosen on others.

    Args:
        read_NK: activations as a `Reading` has them.
        labels: int [N], of two classes or more.
    """
    count = len(np.unique(labels))
    model = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage="auto", priors=np.full(count, 1 / count)
    )
    return model.fit(read_NK, labels)


def reduction(units: int) -> str:
    """What a table says of a site at which not all units are read; empty where they are."""
    if units <= MOST_UNITS:
        return ""
    return f"of {units} units the first {MOST_UNITS} principal components"


class Fitted(NamedTuple):
    """Classes of which every domain has images enough, and how many of each cell are taken.

    Attributes:
        classes: their ids, ascending.
        images: of the smallest of their cells.
        note: which classes are left out and why; empty where none is.
    """

    classes: tuple[int, ...]
    images: int
    note: str


def fitted_classes(
    samples: pl.DataFrame, domains: Sequence[str], classes: Sequence[int]
) -> Fitted | Refused:
    """The classes with FEWEST_IMAGES or more in every domain; refused where they are not two.

    Args:
        samples: images to fit on (`domain`, `class_id`, `class_name`).
        domains: in which every class is needed.
        classes: ids of all classes.
    """
    counts = {
        (domain, number): images
        for domain, number, images in samples.group_by("domain", "class_id").len().iter_rows()
    }
    smallest = {
        number: min((counts.get((domain, number), 0), domain) for domain in domains)
        for number in classes
    }
    kept = tuple(number for number in sorted(classes) if smallest[number][0] >= FEWEST_IMAGES)
    gone = [number for number in sorted(classes) if number not in kept]
    names = dict(samples.select("class_id", "class_name").unique().iter_rows())
    told = [
        f"{names.get(number, f'class {number}')} ({smallest[number][0]} in {smallest[number][1]})"
        for number in gone[:MOST_NAMED]
    ]
    if len(gone) > MOST_NAMED:
        told.append(f"{len(gone) - MOST_NAMED} more")
    short = f"fewer than {FEWEST_IMAGES} images to fit on in some domain: {', '.join(told)}"
    if len(kept) < 2:
        return Refused(f"{len(kept)} of {len(classes)} classes are left; {short}; {CURE}")
    images = min(smallest[number][0] for number in kept)
    return Fitted(kept, images, f"without classes that have {short}" if gone else "")


def equal_cells(samples: pl.DataFrame, fitted: Fitted) -> np.ndarray:
    """Which images are those of equally many of every (domain, class) cell, bool [N].

    They are drawn by their ids.
    """
    counted = samples["class_id"].is_in(fitted.classes).to_numpy()
    return counted & shots_part(samples, fitted.images, 0)


def _components(centred_NU: np.ndarray) -> np.ndarray:
    """The MOST_UNITS directions of most variance, [K, U]."""
    _, vectors = np.linalg.eigh(centred_NU.T @ centred_NU)
    return vectors[:, ::-1][:, :MOST_UNITS].T
