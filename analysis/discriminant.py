"""Linear discriminants whose strength is not searched for but follows from the images fitted on.

Legend: N images, U units, K directions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from analysis.probe_images import shots_part
from analysis.probes import Activations

MOST_UNITS = 512
"""a layer with more is read in its first principal components"""
FEWEST_IMAGES = 2
"""of a cell: one has no spread"""


@dataclass(frozen=True)
class Discriminant:
    """A fitted discriminant.

    Attributes:
        centre_U: mean of the activations that it was fitted on.
        basis_KU: directions that it reads, orthonormal; None: all units.
        model: classifies activations minus the centre, along these.
    """

    centre_U: np.ndarray
    basis_KU: np.ndarray | None
    model: LinearDiscriminantAnalysis

    def predict(self, features_NU: np.ndarray) -> np.ndarray:
        """Labels, int [N], among those that it was fitted on."""
        return self.model.predict(_read(features_NU, self.centre_U, self.basis_KU))


def fit_discriminant(features_NU: np.ndarray, labels: np.ndarray) -> Discriminant:
    """Linear discriminant analysis with all classes equally likely beforehand.

    The covariance within classes is shrunk by the analytic strength of Ledoit & Wolf (2004), from
    these images alone: nothing is chosen on others.

    Args:
        features_NU: activations.
        labels: int [N], of two classes or more.
    """
    centre_U = features_NU.mean(axis=0, dtype=np.float64)
    basis_KU = _components(features_NU - centre_U) if len(centre_U) > MOST_UNITS else None
    count = len(np.unique(labels))
    model = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage="auto", priors=np.full(count, 1 / count)
    )
    model.fit(_read(features_NU, centre_U, basis_KU), labels)
    return Discriminant(centre_U, basis_KU, model)


def reduction(units: int) -> str:
    """What a table says of a site at which not all units are read; empty where they are."""
    if units <= MOST_UNITS:
        return ""
    return f"of {units} units the first {MOST_UNITS} principal components"


def smallest_cell(samples: pl.DataFrame, domains: int, classes: int) -> int:
    """Images of the smallest (domain, class) cell; 0 where one has none."""
    cells = samples.group_by("domain", "class_id").len()
    return int(cells["len"].to_numpy().min()) if cells.height == domains * classes else 0


def equal_cells(shown: Activations, images: int) -> Activations:
    """As many images of every (domain, class) cell, drawn by their ids."""
    chosen = shots_part(shown.samples, images, 0)
    sites = {site: values[chosen] for site, values in shown.sites.items()}
    return Activations(shown.samples.filter(chosen), sites)


def _components(centred_NU: np.ndarray) -> np.ndarray:
    """The MOST_UNITS directions of most variance, [K, U]."""
    _, vectors = np.linalg.eigh(centred_NU.T @ centred_NU)
    return vectors[:, ::-1][:, :MOST_UNITS].T


def _read(features_NU: np.ndarray, centre_U: np.ndarray, basis_KU: np.ndarray | None) -> np.ndarray:
    centred_NU = features_NU - centre_U
    return centred_NU if basis_KU is None else centred_NU @ basis_KU.T
