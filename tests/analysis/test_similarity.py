"""Measures are what their papers say, known where they are known, and their jackknife is honest.

They are taken as `domain_similarity` takes them of every run.
"""

from __future__ import annotations

from functools import partial
from itertools import combinations

import numpy as np
import pytest
import torch
from cka import cka_from_features
from planted_networks import cells_of
from scipy.linalg import orthogonal_procrustes
from scipy.spatial import procrustes
from scipy.stats import ortho_group, t
from two_domains import cka_of_kernels, measured, scores

from analysis.domain_scores import CONSTANT, MEASURES, REMOVED, SiteClasses
from analysis.neighbours import neighbour_ranks, neighbours, shared_neighbours
from analysis.similarity import MIN_CLASSES, components, log_participation_ratio, without_first

C, U = 12, 7
CKAS = ("cka", "cka_rbf", "cka_minus_pcs")
UNTRIMMED = ("cka", "cka_rbf", "s_id", "s_rot", "knn")
PAIRS = (*UNTRIMMED, "cka_minus_pcs")


def means(seed, classes=C, units=U):
    return np.random.default_rng(seed).normal(size=(classes, units))


def related(seed, classes=C, units=U):
    """Two sets of class means that share half of their variance."""
    shared = means(seed, classes, units)
    return shared + means(seed + 1000, classes, units), shared + means(seed + 2000, classes, units)


def rotation(units=U):
    return ortho_group.rvs(units, random_state=0)


# --- CKA


def biased_cka(x, y):
    """CKA with HSIC₀, as it was first published."""
    x, y = x - x.mean(axis=0), y - y.mean(axis=0)
    return (np.linalg.norm(x.T @ y) ** 2) / (np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))


def test_cka_is_that_of_an_independent_library():
    sides = [np.stack(side) for side in zip(*(related(s, 40, 9) for s in range(5)), strict=True)]
    theirs = cka_from_features(*map(torch.from_numpy, sides)).numpy()
    ours = np.array([[measured("cka", x, y).value for y in sides[1]] for x in sides[0]])
    assert np.maximum(ours, 0) == pytest.approx(theirs, abs=1e-10)  # there below 0 is 0
    assert (np.diag(ours) > 0.05).all()


@pytest.mark.parametrize("measure", UNTRIMMED)
def test_equal_class_means_are_alike(measure):
    assert measured(measure, means(0), means(0)).value == pytest.approx(1)
    assert measured(measure, means(0), 3.7 * means(0)).value == pytest.approx(1)
    assert measured(measure, means(0), means(0) + means(5, 1)).value == pytest.approx(1)


@pytest.mark.parametrize("measure", ["cka", "cka_rbf", "s_rot", "knn"])
def test_these_measures_do_not_see_rotation_scale_shift_and_order_of_units(measure):
    x, y = related(0)
    value = measured(measure, x, y).value
    for same in (y @ rotation(), 3.7 * y, y + means(5, 1), y[:, ::-1], np.hstack([y, 0 * y])):
        assert measured(measure, x, same).value == pytest.approx(value)
    assert measured(measure, y, x).value == pytest.approx(value)


@pytest.mark.parametrize("measure", PAIRS)
def test_the_order_of_the_classes_must_be_the_same(measure):
    x, y = means(0, 30), means(0, 30) + 0.3 * means(1, 30)
    order = np.random.default_rng(0).permutation(30)
    assert measured(measure, x[order], y[order]).value == pytest.approx(
        measured(measure, x, y).value
    )
    assert measured(measure, x, y[order]).value < measured(measure, x, y).value - 0.1


@pytest.mark.parametrize("measure", [*CKAS, "s_id"])
def test_unrelated_class_means_are_at_zero_in_expectation(measure):
    found = [
        measured(measure, means(2 * i, C, 50), means(2 * i + 1, C, 50)).value for i in range(300)
    ]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(len(found))
    assert min(found) < 0


def test_biased_cka_takes_fifteen_unrelated_classes_for_equal_ones():
    x, y = means(0, 15, 2048), means(1, 15, 2048)
    assert biased_cka(x, y) > 0.95
    assert abs(measured("cka", x, y).value) < 3 * 0.1


def test_the_width_of_the_rbf_kernel_is_the_median_distance():
    x, y = related(0)

    def kernel(m):
        squares = ((m[:, None] - m[None]) ** 2).sum(axis=2)
        return np.exp(-squares / (2 * np.median(squares[np.triu_indices(C, 1)])))

    expected = cka_of_kernels(kernel(x), kernel(y))
    assert measured("cka_rbf", x, y).value == pytest.approx(expected)


# --- bases


def test_a_rotated_copy_has_equal_geometry_in_another_subspace():
    x = means(0, 40, 200)
    copy = x @ rotation(200)
    assert measured("cka", x, copy).value == pytest.approx(1)
    assert measured("s_rot", x, copy).value == pytest.approx(1)
    assert abs(measured("s_id", x, copy).value) < 0.05
    assert measured("rot_minus_id", x, copy).value > 0.95


@pytest.mark.parametrize(("classes", "units"), [(12, 7), (12, 40)])
def test_s_rot_is_the_scale_of_procrustes(classes, units):
    x, y = related(0, classes, units)
    a, b = x - x.mean(axis=0), y - y.mean(axis=0)
    _, scale = orthogonal_procrustes(b, a)
    value = measured("s_rot", x, y).value
    assert value == pytest.approx(scale / np.linalg.norm(a) / np.linalg.norm(b))
    assert procrustes(x, y)[2] == pytest.approx(1 - value**2)


def test_s_id_is_the_cosine_of_centred_class_means():
    x, y = related(0)
    a, b = (x - x.mean(axis=0)).ravel(), (y - y.mean(axis=0)).ravel()
    assert measured("s_id", x, y).value == pytest.approx(
        a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    )


# --- dominant directions


def dominated(share, classes=200, units=768):
    """Unrelated class means and one shared direction, which holds this share of the variance."""
    size = np.sqrt(share / (1 - share) * units)
    shared = size * means(7, classes, 1)
    return [np.hstack([means(seed, classes, units), shared]) for seed in (0, 1)]


def test_one_shared_direction_makes_cka_high_and_the_robust_measures_tell():
    x, y = dominated(0.1)
    assert measured("cka", x, y).value > 0.7
    assert abs(measured("cka_minus_pcs", x, y).value) < 0.1
    chance = neighbours(200) / 199
    assert measured("knn", x, y).value < 0.5
    assert measured("knn", x, y).value > chance  # the one direction is there, after all
    assert np.exp(log_participation_ratio(x).value) < 100  # of the 199 that classes allow


def test_components_are_those_of_all_domains_together():
    x = np.stack(dominated(0.4, 40, 60))
    trimmed = without_first(x)
    assert (np.var(trimmed[..., -1], axis=1) < 0.05 * np.var(x[..., -1], axis=1)).all()
    assert without_first(x, x[:1]) == pytest.approx(trimmed[:1])
    louder = x * np.array([100, 1])[:, None, None]
    assert without_first(louder)[1] == pytest.approx(trimmed[1])  # no domain counts more
    left = without_first(np.stack(related(0, 40))).reshape(-1, U)
    assert np.linalg.matrix_rank(left) == U - components(40)


def test_few_classes_have_few_components_and_neighbours():
    assert [components(count) for count in (5, 15, 75, 345)] == [1, 2, 3, 3]
    assert [neighbours(count) for count in (5, 15, 75, 345)] == [1, 2, 10, 10]


def test_participation_is_one_direction_or_as_many_as_classes_allow():
    line = np.outer(np.arange(C), np.ones(U))
    assert log_participation_ratio(line).value == pytest.approx(0, abs=1e-12)
    assert np.exp(log_participation_ratio(np.eye(C)).value) == pytest.approx(C - 1)


def test_mutual_neighbours_are_counted():
    x = np.array([0.0, 1, 2.1, 10, 11, 12.1, 20, 21, 22.1])[:, None]
    y = np.array([0.0, 1, 2.1, 10, 11, 12.1, 20, 22, 21.1])[:, None]  # the last two change places
    k = 1
    found = shared_neighbours(neighbour_ranks(x), neighbour_ranks(y), k)
    nearest = np.array([1, 0, 1, 4, 3, 4, 7, 6, 7]), np.array([1, 0, 1, 4, 3, 4, 8, 8, 7])
    assert found.value == pytest.approx((nearest[0] == nearest[1]).mean())


# --- the jackknife


def recomputed(measure, x, y):
    """Values of `measure` without every class."""
    return np.array([measure(np.delete(x, i, 0), np.delete(y, i, 0)).value for i in range(len(x))])


@pytest.mark.parametrize("measure", ["cka", "s_id"])
@pytest.mark.parametrize("classes", [6, 12])
def test_leaving_a_class_out_is_a_recomputation(measure, classes):
    x, y = related(0, classes)
    assert measured(measure, x, y).left_out == pytest.approx(
        recomputed(partial(measured, measure), x, y), abs=1e-10
    )


def test_leaving_a_class_out_gives_its_place_to_the_next_neighbour():
    for seed in range(20):
        x, y = related(seed, 15, 3)

        def three(x, y):
            return shared_neighbours(neighbour_ranks(x), neighbour_ranks(y), 3)

        assert three(x, y).left_out == pytest.approx(recomputed(three, x, y), abs=1e-12)


def test_participation_without_a_class_is_a_recomputation():
    found = log_participation_ratio(means(0))
    expected = recomputed(lambda x, _y: log_participation_ratio(x), means(0), means(0))
    assert found.left_out == pytest.approx(expected, abs=1e-10)


def test_with_the_rotation_held_fixed_the_error_is_nearly_that_of_a_recomputation():
    x, y = related(0, 60, 20)
    found, full = measured("s_rot", x, y), recomputed(partial(measured, "s_rot"), x, y)
    spread = np.sqrt(59 / 60 * ((full - full.mean()) ** 2).sum())
    assert found.error == pytest.approx(spread, rel=0.1)


def test_the_interval_is_students():
    x, y = related(0)
    lo, hi = measured("cka", x, y).interval()
    full = recomputed(partial(measured, "cka"), x, y)
    error = np.sqrt((C - 1) / C * ((full - full.mean()) ** 2).sum())
    assert hi - lo == pytest.approx(2 * t.ppf(0.975, C - 1) * error)
    assert (lo + hi) / 2 == pytest.approx(measured("cka", x, y).value)


# --- what cannot be measured


@pytest.mark.parametrize("measure", PAIRS)
def test_class_means_that_are_all_equal_have_no_similarity(measure):
    for constant in (np.full((C, U), 0.1), np.tile(means(3, 1), (C, 1)), np.zeros((C, U))):
        assert np.isnan(measured(measure, constant, means(0)).value)
        assert np.isnan(measured(measure, means(0), constant).value)


@pytest.mark.parametrize("measure", UNTRIMMED)
def test_a_small_difference_far_from_zero_is_not_taken_for_none(measure):
    assert measured(measure, 1 + 1e-3 * means(0), 1 + 1e-3 * means(0)).value == pytest.approx(1)


@pytest.mark.parametrize("measure", PAIRS)
def test_too_few_classes_are_an_error(measure):
    measured(measure, means(0, MIN_CLASSES), means(1, MIN_CLASSES))
    with pytest.raises(ValueError, match="at least 5 classes, not 4"):
        measured(measure, means(0, MIN_CLASSES - 1), means(1, MIN_CLASSES - 1))


@pytest.mark.parametrize(("classes", "units"), [(15, 1), (15, 2), (40, 3)])
def test_class_means_without_more_directions_than_are_removed_say_so(classes, units):
    for away in (0, 1000):
        x, y = away + means(0, classes, units), away + means(1, classes, units)
        wide = np.random.default_rng(2).normal(size=(units, 100))
        for pair in ((x, y), (x @ wide, y @ wide)):
            found = scores("cka_minus_pcs", *pair)
            assert np.isnan(found.found.value[0])
            assert found.unfit.all()
            assert found.reason == REMOVED
            assert scores("cka", *pair).reason == CONSTANT
    one_more = (
        means(0, classes, 1 + components(classes)),
        means(1, classes, 1 + components(classes)),
    )
    assert not np.isnan(measured("cka_minus_pcs", *one_more).value)


def test_the_gap_of_both_bases_has_no_ceiling_and_its_parts_have():
    x, y = (np.stack([side, side + 0.1 * means(9)]) for side in related(0))
    assert np.isnan(scores("rot_minus_id", x, y).ceiling).all()
    for part in ("s_rot", "s_id"):
        assert 0.9 < scores(part, x, y).ceiling[0] < 1


@pytest.mark.parametrize("measure", [*UNTRIMMED, "rot_minus_id", "cka_nc", "s_id_nc"])
def test_all_pairs_at_once_are_the_pairs(measure):
    common, noise = means(0), np.random.default_rng(1).normal(size=(4, 4, C, U))
    folds = common + np.stack([means(seed) for seed in range(2, 6)]) + 0.1 * noise
    table = MEASURES[measure](SiteClasses(cells_of({"site": folds}), "site", 0))
    assert table.found.left_out.shape == (6, C)
    for number, (a, b) in enumerate(combinations(range(4), 2)):
        alone = scores(measure, folds[:, a], folds[:, b])
        assert table.found.value[number] == pytest.approx(alone.found.value[0])
        assert table.found.left_out[number] == pytest.approx(alone.found.left_out[0])
        assert table.ceiling[number] == pytest.approx(alone.ceiling[0], nan_ok=True)
