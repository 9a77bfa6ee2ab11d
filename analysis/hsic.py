"""HSIC₁: an unbiased estimate of how much two kernels over the same rows agree.

HSIC₁(K, L) = [tr K̃L̃ + 1ᵀK̃1 · 1ᵀL̃1 / ((C−1)(C−2)) − 2 · 1ᵀK̃L̃1 / (C−2)] / (C (C−3)),
K̃ and L̃ with zero diagonals (Song et al. 2012, eq. 5). Here it is computed in two other ways that
give the same number: from U-centred kernels, where all three terms become one product, and from
sums over rows, where no kernel is needed.

Legend: C rows of a kernel (classes, or images), B rows of a batch, P and Q units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MIN_ROWS = 4


def u_centred(kernels: np.ndarray) -> np.ndarray:
    """U-centre kernels (Székely & Rizzo 2014): ⟨K, L⟩ / (C (C − 3)) is then HSIC₁.

    Args:
        kernels: symmetric, [..., C, C]; their diagonals do not matter.

    Returns:
        Of the same shape: diagonals and sums of rows are 0. All 0 where a kernel is constant off
        its diagonal, so that no rounding is taken for geometry.

    Raises:
        ValueError: fewer than MIN_ROWS rows.
    """
    count = kernels.shape[-1]
    if count < MIN_ROWS:
        raise ValueError(f"HSIC₁ needs at least {MIN_ROWS} rows, not {count}")
    diagonal = np.eye(count, dtype=bool)
    hollow = np.where(diagonal, 0.0, kernels)
    rows = hollow.sum(axis=-1) / (count - 2)
    total = hollow.sum(axis=(-2, -1)) / ((count - 1) * (count - 2))
    centred = hollow - rows[..., :, None] - rows[..., None, :] + total[..., None, None]
    centred[..., diagonal] = 0.0
    rounding = count * np.finfo(float).eps * np.abs(kernels).max(axis=(-2, -1))
    centred[np.abs(centred).max(axis=(-2, -1)) <= rounding] = 0.0
    return centred


def row_products(k: np.ndarray, m: np.ndarray) -> np.ndarray:
    """Σⱼ Kᵢⱼ Lᵢⱼ of every row i; leading axes of [..., C, C] broadcast.

    Of U-centred kernels the sum T over rows is C (C − 3) · HSIC₁, and a row's product rᵢ tells what
    is left without the row: (C−1)(C−4) · HSIC₁ = T − rᵢ · 2 (C−2) / (C−3). For without row i both
    U-centred kernels have row sums −Kᵢⱼ and −Lᵢⱼ and sums of 0, which is all that Song's formula
    asks for.
    """
    return np.einsum("...ij,...ij->...i", k, m)


@dataclass(frozen=True)
class HsicSums:
    """All that HSIC₁ of two linear kernels needs to know of some rows x [P] and y [Q].

    With a = ‖x‖² and b = ‖y‖². Rows may come in batches, whose sums are added, and a part of them
    can be taken away.
    Rows should be centred roughly: large sums would cancel to small differences.

    Attributes:
        count: rows.
        xy: Σ x yᵀ, float64 [P, Q].
        x, y: Σ x [P] and Σ y [Q].
        bx, ay: Σ b x [P] and Σ a y [Q].
        a, b, ab: Σ a, Σ b and Σ a b.
    """

    count: int
    xy: np.ndarray
    x: np.ndarray
    y: np.ndarray
    bx: np.ndarray
    ay: np.ndarray
    a: float
    b: float
    ab: float

    @classmethod
    def of(cls, x_BP: np.ndarray, y_BQ: np.ndarray) -> HsicSums:
        """Sums of rows that belong together."""
        x, y = np.asarray(x_BP, dtype=np.float64), np.asarray(y_BQ, dtype=np.float64)
        if x.ndim != 2 or y.ndim != 2 or len(x) != len(y):
            raise ValueError(f"rows of shapes {x.shape} and {y.shape} do not belong together")
        a, b = (x * x).sum(axis=1), (y * y).sum(axis=1)
        return cls(
            len(x), x.T @ y, x.sum(axis=0), y.sum(axis=0), b @ x, a @ y,
            float(a.sum()), float(b.sum()), float(a @ b),
        )  # fmt: skip

    def __add__(self, more: HsicSums) -> HsicSums:
        return HsicSums(*(one + two for one, two in zip(self._all, more._all, strict=True)))

    def __sub__(self, part: HsicSums) -> HsicSums:
        return HsicSums(*(one - two for one, two in zip(self._all, part._all, strict=True)))

    @property
    def hsic(self) -> float:
        """HSIC₁ of the rows.

        Raises:
            ValueError: fewer than MIN_ROWS rows.
        """
        n = self.count
        if n < MIN_ROWS:
            raise ValueError(f"HSIC₁ needs at least {MIN_ROWS} rows, not {n}")
        trace = (self.xy * self.xy).sum() - self.ab  # tr K̃L̃
        sum_k = self.x @ self.x - self.a  # 1ᵀK̃1
        sum_m = self.y @ self.y - self.b  # 1ᵀL̃1
        cross = self.x @ self.xy @ self.y - self.bx @ self.x - self.ay @ self.y + self.ab  # 1ᵀK̃L̃1
        whole = trace + sum_k * sum_m / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)
        return float(whole / (n * (n - 3)))

    @property
    def _all(self) -> tuple:
        return (
            self.count, self.xy, self.x, self.y, self.bx, self.ay, self.a, self.b, self.ab,
        )  # fmt: skip
