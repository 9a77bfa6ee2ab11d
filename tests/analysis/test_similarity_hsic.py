"""HSIC₁ is Song's estimator, from kernels, without a row of them, and from sums over rows."""

from __future__ import annotations

import numpy as np
import pytest
from two_domains import hsic_of_song

from analysis.hsic import HsicSums, row_products, u_centred


def rows(seed, count=12, units=7):
    return np.random.default_rng(seed).normal(size=(count, units))


def hsic(k, m):
    """HSIC₁ as products of U-centred kernels, which all measures are made of."""
    n = k.shape[-1]
    return row_products(u_centred(k), u_centred(m)).sum(axis=-1) / (n * (n - 3))


def grams(count):
    x, y = rows(0, count, 5), rows(1, count, 9)
    return x @ x.T, (y + 3) @ (y + 3).T


@pytest.mark.parametrize("count", [4, 5, 15, 40])
def test_u_centred_kernels_give_the_estimator_of_song_et_al(count):
    k, m = grams(count)
    assert hsic(k, m) == pytest.approx(hsic_of_song(k, m), rel=1e-10)


def test_rows_and_diagonal_of_a_u_centred_kernel_sum_to_zero():
    centred = u_centred(grams(12)[1])
    assert np.abs(centred.sum(axis=1)).max() < 1e-10
    assert not np.diag(centred).any()


def test_a_stack_of_kernels_is_centred_kernel_by_kernel():
    k, m = grams(12)
    stack = u_centred(np.stack([[k, m], [m, k]]))
    assert np.array_equal(stack[1, 0], u_centred(m))
    assert hsic(np.stack([k, m]), m) == pytest.approx([hsic(k, m), hsic(m, m)])


def test_the_diagonal_does_not_matter():
    k, m = grams(12)
    assert hsic(k + np.diag(np.arange(12)), m) == pytest.approx(hsic(k, m))


def test_a_kernel_that_is_constant_off_its_diagonal_is_zero():
    assert not u_centred(np.full((12, 12), 0.1)).any()
    assert u_centred(grams(12)[0] * 1e-30).any()  # small is not constant


def test_a_rows_product_tells_what_is_left_without_it():
    k, m = grams(9)
    products = row_products(u_centred(k), u_centred(m))
    for i in range(9):
        left = (products.sum() - products[i] * 2 * 7 / 6) / (8 * 5)
        smaller = [np.delete(np.delete(kernel, i, 0), i, 1) for kernel in (k, m)]
        assert left == pytest.approx(hsic_of_song(*smaller), rel=1e-10)


def test_sums_over_rows_give_what_their_kernels_give():
    x, y = rows(0, 100, 9), rows(1, 100, 4)
    y += x[:, :4]
    assert abs(HsicSums.of(x, y).hsic - hsic_of_song(x @ x.T, y @ y.T)) < 1e-10


def test_a_part_of_the_sums_can_be_taken_away():
    x, y = rows(0, 30), rows(1, 30, 3)
    whole, part = HsicSums.of(x, y), HsicSums.of(x[20:], y[20:])
    rest = HsicSums.of(x[:20], y[:20])
    assert (whole - part).hsic == pytest.approx(rest.hsic)
    assert abs((rest + part).hsic - whole.hsic) < 1e-10  # batch by batch


def test_too_few_rows_and_rows_that_do_not_belong_together_are_errors():
    with pytest.raises(ValueError, match="at least 4 rows, not 3"):
        u_centred(np.eye(3))
    with pytest.raises(ValueError, match="at least 4 rows, not 3"):
        HsicSums.of(rows(0, 3), rows(1, 3)).hsic  # noqa: B018
    with pytest.raises(ValueError, match="belong together"):
        HsicSums.of(rows(0, 3), rows(1, 4))
