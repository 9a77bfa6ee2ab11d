"""The additive fit: every cell as the sum of a class and a domain.

    e(c, d) = μ + u_c + v_d,  Σ_c u_c = 0,  Σ_d v_d = 0

("ideal words", Trager et al. 2023; linear factors, Uselis et al. 2026).

Legend: D domains, C classes, U units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AdditiveFit:
    """A fitted sum of factors.

    Attributes:
        mean_U: μ.
        class_CU: u_c, which sum to 0.
        domain_DU: v_d, which sum to 0.
    """

    mean_U: np.ndarray
    class_CU: np.ndarray
    domain_DU: np.ndarray

    @property
    def cells_DCU(self) -> np.ndarray:
        """What it says of every cell, seen or not."""
        return self.mean_U + self.class_CU[None] + self.domain_DU[:, None]


def additive_fit(cells_DCU: np.ndarray, seen_DC: np.ndarray) -> AdditiveFit:
    """Least squares over the seen cells, which all count alike.

    Args:
        cells_DCU: mean activations; those of cells that are not seen do not matter.
        seen_DC: which cells are fitted, bool.

    Raises:
        ValueError: the seen cells do not tie every class and every domain to all others.
    """
    weights_DC = seen_DC.astype(float)
    domains_C = weights_DC.sum(axis=0)
    # with a mean of its own for every class, what is left of the normal equations is about v alone
    shares_DC = weights_DC / np.maximum(domains_C, 1)
    normal_DD = np.diag(weights_DC.sum(axis=1)) - shares_DC @ weights_DC.T
    rank = np.linalg.matrix_rank(normal_DD, hermitian=True)
    if domains_C.min() == 0 or rank < len(seen_DC) - 1:
        raise ValueError("the seen cells do not connect all classes and domains")
    kept_DCU = np.where(seen_DC[..., None], cells_DCU, 0.0)
    class_means_CU = kept_DCU.sum(axis=0) / domains_C[:, None]
    within_DU = kept_DCU.sum(axis=1) - weights_DC @ class_means_CU
    domain_DU = np.linalg.pinv(normal_DD, hermitian=True) @ within_DU
    domain_DU -= domain_DU.mean(axis=0)
    class_CU = class_means_CU - shares_DC.T @ domain_DU
    mean_U = class_CU.mean(axis=0)
    return AdditiveFit(mean_U, class_CU - mean_U, domain_DU)
