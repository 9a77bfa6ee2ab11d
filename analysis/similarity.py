"""How alike two sets of class means are: measures with what is left of them without every class.

Every measure here is a cosine, T(x, y) / √(T(x, x) T(y, y)), of a product T that
is a sum over classes. What a class adds to it tells what is left without the class, so that one
pass over the classes gives a value and its whole jackknife. docs/similarity.md has the equations,
and what each measure does and does not tell; that of neighbours is in `analysis.neighbours`, and
`analysis.domain_scores` takes all measures of all pairs of domains.

All functions take stacks: leading axes broadcast against each other. A measure is NaN where all
class means of a side are equal.

Legend: D domains, C classes, U units, P pairings of halves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh
from scipy.stats import t

from analysis.hsic import row_products, u_centred

MIN_CLASSES = 5
"""U-centring needs four, the jackknife one more"""
CONFIDENCE = 0.95
MOST_PCS = 3
CLASSES_PER_CHOICE = 5
"""one component, and one neighbour, for so many other classes: few classes have few of both"""


@dataclass(frozen=True)
class Similarity:
    """A measure, and what it is without every single class.

    Attributes:
        value: [...].
        left_out: [..., C]; the i-th is the value without class i.
    """

    value: np.ndarray
    left_out: np.ndarray

    def __sub__(self, other: Similarity) -> Similarity:
        """The difference of two measures of the same classes, each left out in both."""
        return Similarity(self.value - other.value, self.left_out - other.left_out)

    @property
    def error(self) -> np.ndarray:
        """Standard error of the delete-one-class jackknife (Efron & Stein 1981), [...]."""
        count = self.left_out.shape[-1]
        spread = self.left_out - self.left_out.mean(axis=-1, keepdims=True)
        return np.sqrt((count - 1) / count * (spread**2).sum(axis=-1))

    def interval(self, confidence: float = CONFIDENCE) -> tuple[np.ndarray, np.ndarray]:
        """Student's interval (C − 1 degrees), [...] twice: over draws of classes with their images.

        Never a bootstrap: a class drawn twice is a pair of equal rows, which U-centring and
        neighbours take for structure.
        """
        degrees = self.left_out.shape[-1] - 1
        half = float(t.ppf(0.5 + confidence / 2, degrees)) * self.error
        return self.value - half, self.value + half


class Product(NamedTuple):
    """A product of two sets of class means that is a sum over classes.

    Attributes:
        describe: class means [..., C, U] → what enters the product, [..., C, any].
        rows: two descriptions → what every class adds to their product, [..., C].
        own: a description → what every class adds to its product with itself, [..., C].
        share: C → how much of what a class adds is lost without it: of the product of C − 1
            classes, up to a factor, T − share · (what it adds).
    """

    describe: Callable[[np.ndarray], np.ndarray]
    rows: Callable[[np.ndarray, np.ndarray], np.ndarray]
    own: Callable[[np.ndarray], np.ndarray]
    share: Callable[[int], float]


def cosine(ab: np.ndarray, aa: np.ndarray, bb: np.ndarray, share: float) -> Similarity:
    """T(a, b) / √(T(a, a) T(b, b)) from what every class adds to the three, [..., C].

    NaN where T(a, a) or T(b, b) is not above 0.
    """
    value = _ratio(ab.sum(axis=-1), aa.sum(axis=-1), bb.sum(axis=-1))
    left_out = [rows.sum(axis=-1, keepdims=True) - share * rows for rows in (ab, aa, bb)]
    return Similarity(value, _ratio(*left_out))


def _ratio(ab: np.ndarray, aa: np.ndarray, bb: np.ndarray) -> np.ndarray:
    return ab / np.sqrt(np.where((aa > 0) & (bb > 0), aa * bb, np.nan))


def products_of_halves(product: Product, halves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What classes add to products between halves, and of halves with themselves.

    Args:
        halves: class means, [P, 2, ..., C, U].

    Returns:
        [P, ..., C] and [P, 2, ..., C].
    """
    described = product.describe(halves)
    return product.rows(described[:, 0], described[:, 1]), product.own(described)


def noiseless(between: np.ndarray, own: np.ndarray, share: float) -> np.ndarray:
    """What classes add to T(x₁, x₂), mean over pairings [..., C]; NaN where it is not estimable.

    That is where the halves do not clearly agree: where their cosine is not above 0 by more than
    its own jackknife's interval. A ratio to a denominator that may be 0 has no bounded interval
    (Fieller 1954).

    Args:
        between, own: of `products_of_halves`.
        share: `Product.share` of C.
    """
    rows, halves = between.mean(axis=0), own.mean(axis=(0, 1))
    lo, _ = cosine(rows, halves, halves, share).interval()
    return np.where((lo > 0)[..., None], rows, np.nan)


# --- what products are made of -------------------------------------------------------------------


def centred(x: np.ndarray) -> np.ndarray:
    """Class means [..., C, U] minus their mean over classes; exactly 0 where all are equal.

    Raises:
        ValueError: fewer than MIN_CLASSES classes.
    """
    if x.shape[-2] < MIN_CLASSES:
        raise ValueError(f"similarities need at least {MIN_CLASSES} classes, not {x.shape[-2]}")
    middle = x - x.mean(axis=-2, keepdims=True)
    rounding = x.shape[-2] * np.finfo(float).eps * np.abs(x).max(axis=(-2, -1), keepdims=True)
    return np.where(np.abs(middle).max(axis=(-2, -1), keepdims=True) <= rounding, 0.0, middle)


def gram(x: np.ndarray) -> np.ndarray:
    """Gram matrices [..., C, C] of centred class means."""
    middle = centred(x)
    return middle @ np.swapaxes(middle, -1, -2)


def squared_distances(x: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances between classes, [..., C, C]."""
    products = gram(x)
    size = np.diagonal(products, axis1=-2, axis2=-1)
    return np.maximum(size[..., :, None] + size[..., None, :] - 2 * products, 0.0)


def linear_kernel(x: np.ndarray) -> np.ndarray:
    """U-centred Gram matrices, [..., C, C]."""
    return u_centred(gram(x))


def rbf_kernel(x: np.ndarray) -> np.ndarray:
    """U-centred exp(−d² / (2σ²)), σ² the median of the squared distances d² between classes."""
    squares = squared_distances(x)
    above = np.triu_indices(squares.shape[-1], 1)
    width = np.median(squares[..., above[0], above[1]], axis=-1)[..., None, None]
    return u_centred(np.exp(-squares / np.where(width > 0, 2 * width, 1.0)))


def without_first(x_DCU: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """Class means without the first principal components that all domains have together.

    The components are directions among units: of the class means of all domains, each centred and
    scaled to the same size, as many as `components` says. Which class of one domain is which of
    another does not enter, so that shuffling classes leaves them alone.

    Args:
        x_DCU: class means of all domains.
        others: what to take the components from instead, [..., C, U]; None: from x itself.

    Returns:
        Of the same shape. All 0 where what is left of the classes is no more than the rounding of
        float32, in which activations come: class means with no more directions than are removed.
    """
    directions = _first_directions(centred(x_DCU), components(x_DCU.shape[1]))
    means = x_DCU if others is None else others
    left = means - (means @ directions) @ directions.T
    apart = np.abs(left - left.mean(axis=-2, keepdims=True)).max(axis=(-2, -1), keepdims=True)
    rounding = np.finfo(np.float32).eps * np.abs(means).max(axis=(-2, -1), keepdims=True)
    return np.where(apart <= rounding, 0.0, left)


def _first_directions(centred_DCU: np.ndarray, count: int) -> np.ndarray:
    """Orthonormal directions of the largest variance over all domains, [U, at most count]."""
    size = np.sqrt((centred_DCU**2).sum(axis=(1, 2), keepdims=True))
    rows = (centred_DCU / np.where(size > 0, size, 1.0)).reshape(-1, centred_DCU.shape[2])
    wide = rows.shape[1] > rows.shape[0]
    products = rows @ rows.T if wide else rows.T @ rows
    last = len(products) - 1
    _, vectors = eigh(products, subset_by_index=[max(0, last - count + 1), last])
    return np.linalg.qr(rows.T @ vectors)[0] if wide else vectors


def components(classes: int) -> int:
    """How many principal components `without_first` takes away, of so many classes."""
    return min(MOST_PCS, max(1, (classes - 1) // CLASSES_PER_CHOICE))


def coordinates(x: np.ndarray) -> np.ndarray:
    """Centred class means in coordinates of their own, with the same Gram: [..., C, at most C]."""
    middle = centred(x)
    if middle.shape[-1] <= middle.shape[-2]:
        return middle
    return np.swapaxes(np.linalg.qr(np.swapaxes(middle, -1, -2), mode="r"), -1, -2)


def rotated_products(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """pᵢ · (R q)ᵢ of every class, R the rotation that takes q to p best: [..., C], sum ‖PᵀQ‖_*.

    With PᵀQ = U S Vᵀ it is (P U)ᵢ · (Q V)ᵢ. To first order ‖PᵀQ‖_* changes without a class as
    if R were held fixed, because R is optimal.
    """
    left, _, right = np.linalg.svd(np.swapaxes(p, -1, -2) @ q, full_matrices=False)
    return row_products(p @ left, q @ np.swapaxes(right, -1, -2))


def own_products(description: np.ndarray) -> np.ndarray:
    """Σⱼ aᵢⱼ² of every row i, [..., C]."""
    return row_products(description, description)


def _kernel_share(classes: int) -> float:
    return 2 * (classes - 2) / (classes - 3)  # `analysis.hsic.row_products`


def _feature_share(classes: int) -> float:
    return classes / (classes - 1)  # the other classes are centred anew


LINEAR = Product(linear_kernel, row_products, own_products, _kernel_share)
"""of unbiased linear CKA (Kornblith et al. 2019), with HSIC₁ of Song et al. 2012, eq. 5: its cosine
is 1 for equal geometry up to rotation and scale; for unrelated ones 0 in expectation, or below"""
RBF = Product(rbf_kernel, row_products, own_products, _kernel_share)
"""of unbiased CKA with an RBF kernel, whose width the jackknife keeps"""
SAME_BASIS = Product(centred, row_products, own_products, _feature_share)
"""of S_id = ⟨A, B⟩ / (‖A‖ ‖B‖): do the same units say the same?"""
ANY_BASIS = Product(coordinates, rotated_products, own_products, _feature_share)
"""of S_rot = ‖AᵀB‖_* / (‖A‖ ‖B‖), S_id after the best rotation: the cosine of two shapes in
Procrustes analysis, alias normalised Bures similarity (Harvey et al. 2023). Reflections count as
rotations. Above 0 for unrelated class means, the more so the fewer classes there are"""


# --- of one set of class means -------------------------------------------------------------------


def log_participation_ratio(x: np.ndarray) -> Similarity:
    """ln of (Σλ)² / Σλ², λ the variances of class means along their principal components.

    From 0 (one direction) to ln(C − 1) (as many equal ones as classes allow). Noise in the means
    adds directions.
    """
    products = gram(x)
    share = _feature_share(products.shape[-1])
    size = np.diagonal(products, axis1=-2, axis2=-1)
    squares = own_products(products)
    trace, norm_ = size.sum(axis=-1, keepdims=True), squares.sum(axis=-1, keepdims=True)
    trace_left = trace - share * size
    norm_left = norm_ - 2 * share * squares + (share * size) ** 2  # of XᵀX − share · xᵢxᵢᵀ
    whole = _log_participation(trace, norm_)[..., 0]
    return Similarity(whole, _log_participation(trace_left, norm_left))


def _log_participation(trace: np.ndarray, squares: np.ndarray) -> np.ndarray:
    fine = (trace > 0) & (squares > 0)
    return np.log(np.where(fine, trace, np.nan) ** 2 / np.where(fine, squares, 1.0))
