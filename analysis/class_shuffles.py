"""Chance: products of two domains when the classes of one of them are shuffled.

A shuffle keeps every domain's geometry and takes away which class is which. It changes no product
of a domain with itself, so that only the numerators of `analysis.similarity` are made anew.

Legend: S shuffles, D domains, N pairs, C classes, U and V units.
"""

from __future__ import annotations

import numpy as np

from analysis.similarity import CONFIDENCE

SHUFFLES = 200
ROTATIONS = 39
"""shuffles where every pair of domains needs a decomposition for each: the fewest that have a band,
which is their range: one more value lies in it 19 times of 20"""


def class_orders(classes: int, seed: int | None) -> np.ndarray:
    """Orders of the classes, int [SHUFFLES, C]: the same for all sites of all models.

    Args:
        classes: C.
        seed: of the shuffles; None: there are none, [0, C].
    """
    if seed is None:
        return np.empty((0, classes), dtype=int)
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(classes) for _ in range(SHUFFLES)])


def shuffled_kernels(kernels_DCC: np.ndarray, orders_SC: np.ndarray) -> np.ndarray:
    """Σᵢⱼ Kᵢⱼ Lπ(i)π(j) of every kernel K with every shuffled kernel L: [S, D, D]."""
    flat = kernels_DCC.reshape(len(kernels_DCC), -1)
    products = np.empty((len(orders_SC), len(flat), len(flat)))
    for number, order in enumerate(orders_SC):
        moved = kernels_DCC[:, order[:, None], order[None, :]].reshape(flat.shape)
        products[number] = flat @ moved.T
    return products


def shuffled_features(centred_DCU: np.ndarray, orders_SC: np.ndarray) -> np.ndarray:
    """Σᵢ aᵢ · bπ(i) of every domain's class means a with every one's shuffled ones b: [S, D, D]."""
    products = np.empty((len(orders_SC), len(centred_DCU), len(centred_DCU)))
    if not len(orders_SC):  # the products of all classes of all domains are the dear part
        return products
    crossed = np.einsum("acu,beu->abce", centred_DCU, centred_DCU, optimize=True)
    classes = np.arange(orders_SC.shape[1])
    for number, order in enumerate(orders_SC):
        products[number] = crossed[:, :, classes, order].sum(axis=-1)
    return products


def shuffled_rotations(coordinates_DCU: np.ndarray, orders_SC: np.ndarray) -> np.ndarray:
    """‖AᵀB‖_* of every domain with every later one, of shuffled classes: [ROTATIONS, D, D].

    0 for the other pairs.
    """
    first, second = np.triu_indices(len(coordinates_DCU), 1)
    orders_SC = orders_SC[:ROTATIONS]
    products = np.zeros((len(orders_SC), len(coordinates_DCU), len(coordinates_DCU)))
    for number, order in enumerate(orders_SC):
        moved = coordinates_DCU[:, order]
        products[number, first, second] = nuclear_norms(coordinates_DCU[first], moved[second])
    return products


def nuclear_norms(a_NCU: np.ndarray, b_NCV: np.ndarray) -> np.ndarray:
    """‖AᵀB‖_* of every pair, [N]: Σ √eigenvalues of MᵀM, faster than singular values of M = AᵀB.

    It rounds small ones to 10⁻⁸ of the largest, which is nothing beside the spread of chance.
    """
    crossed = np.swapaxes(a_NCU, -1, -2) @ b_NCV
    if crossed.shape[-2] < crossed.shape[-1]:  # its smaller side has them all
        crossed = np.swapaxes(crossed, -1, -2)
    squares = np.linalg.eigvalsh(np.swapaxes(crossed, -1, -2) @ crossed)
    return np.sqrt(np.maximum(squares, 0.0)).sum(axis=-1)


def band(chance_SN: np.ndarray) -> np.ndarray:
    """What CONFIDENCE of the values of chance lie between, [2, N].

    Between ranks p (S + 1), so that one more value does, whatever S (Weibull 1939).
    """
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    return np.quantile(chance_SN, tails, axis=0, method="weibull")
