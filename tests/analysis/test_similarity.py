"""CKA is what its paper says, known where it is known, and its jackknife is a recomputation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, ortho_group

from analysis.cells import CellMeans
from analysis.similarity import (
    MIN_CLASSES,
    chance,
    cka,
    domain_similarity,
    geometry,
    similarity,
)

C, U = 12, 7


def means(seed, classes=C, units=U):
    return np.random.default_rng(seed).normal(size=(classes, units))


def related(seed):
    """Two sets of class means that share half of their variance."""
    shared = means(seed)
    return shared + means(seed + 100), shared + means(seed + 200)


def hsic_of_song(x, y):
    """HSIC₁, written down letter by letter from Song et al. 2012, equation 5."""
    m = len(x)
    k, l = x @ x.T, y @ y.T  # noqa: E741
    for gram in (k, l):
        np.fill_diagonal(gram, 0)
    one = np.ones(m)
    return (
        np.trace(k @ l)
        + (one @ k @ one) * (one @ l @ one) / ((m - 1) * (m - 2))
        - 2 / (m - 2) * (one @ k @ l @ one)
    ) / (m * (m - 3))


def cka_of_song(x, y):
    return hsic_of_song(x, y) / np.sqrt(hsic_of_song(x, x) * hsic_of_song(y, y))


@pytest.mark.parametrize("classes", [5, 6, 15, 40])
def test_cka_is_the_estimator_of_song_et_al(classes):
    x, y = means(0, classes, 5), means(1, classes, 9)
    assert cka(x, y) == pytest.approx(cka_of_song(x, y), abs=1e-10)
    assert cka(x, x + y[:, :5]) == pytest.approx(cka_of_song(x, x + y[:, :5]), abs=1e-10)


def test_equal_geometry_has_cka_1():
    x = means(0)
    assert cka(x, x) == pytest.approx(1)


def test_rotation_scale_shift_and_the_order_of_units_do_not_matter():
    x, y = related(0)
    value = cka(x, y)
    assert 0.1 < value < 0.9
    rotation = ortho_group.rvs(U, random_state=0)
    for same in (y @ rotation, 3.7 * y, y + means(5, 1), y[:, ::-1], np.hstack([y, 0 * y])):
        assert cka(x, same) == pytest.approx(value)
    assert cka(y, x) == pytest.approx(value)


def test_the_order_of_the_classes_must_be_the_same():
    x, y = related(0)
    order = np.random.default_rng(0).permutation(C)
    assert cka(x[order], y[order]) == pytest.approx(cka(x, y))
    assert cka(x, y[order]) != pytest.approx(cka(x, y), abs=0.05)


def test_independent_geometries_have_cka_0_in_expectation():
    draws = [cka(means(2 * i, C, 50), means(2 * i + 1, C, 50)) for i in range(600)]
    assert abs(np.mean(draws)) < 4 * np.std(draws) / np.sqrt(len(draws))
    assert min(draws) < 0


def test_constant_input_has_no_cka():
    for constant in (np.full((C, U), 0.1), np.tile(means(3, 1), (C, 1)), np.zeros((C, U))):
        assert np.isnan(cka(constant, means(0)))
        assert np.isnan(cka(means(0), constant))


def test_a_small_difference_far_from_zero_is_not_taken_for_constant():
    assert cka(1 + 1e-3 * means(0), 1 + 1e-3 * means(0)) == pytest.approx(1)


@pytest.mark.parametrize("measure", [lambda x: cka(x, x), geometry])
def test_too_few_classes_are_an_error(measure):
    measure(means(0, MIN_CLASSES))
    with pytest.raises(ValueError, match="at least 5 classes, not 4"):
        measure(means(0, MIN_CLASSES - 1))


def test_the_interval_is_the_jackknife_over_classes():
    x, y = related(0)
    value, lo, hi = similarity(geometry(x), geometry(y))
    without = np.array([cka_of_song(np.delete(x, i, 0), np.delete(y, i, 0)) for i in range(C)])
    error = np.sqrt((C - 1) / C * ((without - without.mean()) ** 2).sum())
    assert value == pytest.approx(cka(x, y))
    assert (lo, hi) == pytest.approx((value - 1.959964 * error, value + 1.959964 * error))


def test_the_jackknife_is_about_as_wide_as_the_spread_over_draws_of_classes():
    found = [similarity(geometry(x), geometry(y)) for x, y in map(related, range(200))]
    values, lo, hi = np.array(found).T
    error = ((hi - lo) / (2 * norm.ppf(0.975))).mean()
    assert 0.8 < error / values.std() < 1.7


def test_chance_is_near_zero_where_the_classes_are_all_that_is_shared():
    rng = np.random.default_rng(0)
    x = geometry(means(0, 40, 30))
    assert abs(chance(x, x, rng)) < 0.05


def cells():
    """Three domains at two sites: b is a rotated, c is independent; halves differ by noise."""
    rotation = ortho_group.rvs(U, random_state=0)
    domains = np.stack([means(0), means(0) @ rotation, means(1)])
    noise = 0.1 * np.random.default_rng(2).normal(size=(2, 3, C, U))
    quiet = np.stack([domains, domains])
    names = tuple(f"class {number}" for number in range(C))
    return CellMeans({"stem": quiet, "embedding": quiet + noise}, ("a", "b", "c"), names)


def test_every_pair_of_domains_has_a_row_at_every_site():
    table = domain_similarity(cells())
    columns = "site depth domain_a domain_b measure value lo hi n chance ceiling"
    assert " ".join(table.columns) == columns
    assert table.select("site", "depth", "domain_a", "domain_b").rows() == [
        (site, depth, *pair)
        for depth, site in enumerate(("stem", "embedding"))
        for pair in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    assert set(table["measure"]) == {"cka"}
    assert set(table["n"]) == {C}


def test_planted_similarities_are_found():
    planted = cells()
    table = domain_similarity(planted)
    keys = table.select("site", "domain_b", "domain_a").rows()
    values = dict(zip(keys, table["value"], strict=True))
    assert values["stem", "b", "a"] == pytest.approx(1)
    assert 0.95 < values["embedding", "b", "a"] < 1
    assert values["stem", "c", "a"] == pytest.approx(cka(means(0), means(1)))
    assert (table["lo"] <= table["value"]).all()
    assert (table["value"] <= table["hi"]).all()


def test_the_ceiling_is_the_mean_agreement_of_halves():
    planted = cells()
    table = domain_similarity(planted)
    assert table.filter(site="stem")["ceiling"].to_list() == pytest.approx([1, 1, 1])
    halves = planted.halves["embedding"]
    expected = [cka(halves[0, d], halves[1, d]) for d in range(3)]
    found = table.filter(site="embedding", domain_a="a", domain_b="c")["ceiling"].item()
    assert found == pytest.approx((expected[0] + expected[2]) / 2)
    assert found < 1


def test_equal_seeds_give_equal_tables_and_the_seed_moves_chance_only():
    one, again, other = (domain_similarity(cells(), seed) for seed in (0, 0, 1))
    assert one.equals(again)
    assert one.drop("chance").equals(other.drop("chance"))
    assert not one.equals(other)
