"""Chance: products of two domains when the classes of one of them are shuffled.

A shuffle keeps every domain's geometry and takes away which class is which. It changes no product
of a domain with itself, so that only the numerators of `analysis.similarity` are made anew.

Legend: S shuffles, D domains, C classes, U units.
"""

from __future__ import annotations

import numpy as np

from analysis.similarity import CONFIDENCE

SHUFFLES = 200
ROTATIONS = 40
"""shuffles where every pair of domains needs a decomposition for each: the fewest whose range is a
band that a value of chance lies in 19 times of 20"""


def class_orders(classes: int, seed: int) -> np.ndarray:
    """Orders of the classes, int [SHUFFLES, C]: the same for all sites of all models."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(classes) for _ in range(SHUFFLES)])


def shuffled_kernels(kernels_DCC: np.ndarray, orders_SC: np.ndarray) -> np.ndarray:
    """Σᵢⱼ Kᵢⱼ Lπ(i)π(j) of every kernel K with every shuffled kernel L: [S, D, D]."""
    flat = kernels_DCC.reshape(len(kernels_DCC), -1)
    products = []
    for order in orders_SC:
        moved = kernels_DCC[:, order[:, None], order[None, :]].reshape(flat.shape)
        products.append(flat @ moved.T)
    return np.stack(products)


def shuffled_features(centred_DCU: np.ndarray, orders_SC: np.ndarray) -> np.ndarray:
    """Σᵢ aᵢ · bπ(i) of every domain's class means a with every one's shuffled ones b: [S, D, D]."""
    crossed = np.einsum("acu,beu->abce", centred_DCU, centred_DCU, optimize=True)
    classes = np.arange(orders_SC.shape[1])
    return np.stack([crossed[:, :, classes, order].sum(axis=-1) for order in orders_SC])


def shuffled_rotations(coordinates_DCU: np.ndarray, orders_SC: np.ndarray) -> np.ndarray:
    """‖AᵀB‖_* of every domain with every later one, of shuffled classes: [ROTATIONS, D, D].

    0 for the other pairs.
    """
    first, second = np.triu_indices(len(coordinates_DCU), 1)
    products = np.zeros((ROTATIONS, len(coordinates_DCU), len(coordinates_DCU)))
    for number, order in enumerate(orders_SC[:ROTATIONS]):
        moved = coordinates_DCU[:, order]
        products[number, first, second] = _nuclear(coordinates_DCU[first], moved[second])
    return products


def _nuclear(a_NCU: np.ndarray, b_NCU: np.ndarray) -> np.ndarray:
    """‖AᵀB‖_* of every pair, [N]: Σ √eigenvalues of MᵀM, faster than singular values of M = AᵀB.

    It rounds small ones to 10⁻⁸ of the largest, which is nothing beside the spread of chance.
    """
    crossed = np.swapaxes(a_NCU, -1, -2) @ b_NCU
    squares = np.linalg.eigvalsh(np.swapaxes(crossed, -1, -2) @ crossed)
    return np.sqrt(np.maximum(squares, 0.0)).sum(axis=-1)


def band(chance_SN: np.ndarray) -> np.ndarray:
    """What CONFIDENCE of the values of chance lie between, [2, N].

    Between ranks p (S + 1), so that one more value does, whatever S (Weibull 1939).
    """
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    return np.quantile(chance_SN, tails, axis=0, method="weibull")
