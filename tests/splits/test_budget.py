"""The budget rules: counts per cell against hand-worked tables, and the laws they keep."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splits.budget import (
    Budget,
    allocate,
    balance,
    check_cells,
    published_size,
    request,
    trim_order,
)
from splits.errors import UserError
from splits.settings import World

WORLD = World(("clipart", "real", "sketch"), ("axe", "bed", "cat", "dog"), "real")
AVAILABLE = np.array([[3, 3, 3, 3], [6, 6, 6, 6], [5, 5, 2, 4]])

RANDOM = Budget()
POOLS = hnp.arrays(
    np.int64,
    st.tuples(st.integers(1, 5), st.integers(1, 6)),
    elements=st.integers(0, 40),
)


def test_the_published_size_is_all_natural_samples_and_the_seen_ones_of_the_test_domain():
    assert published_size(AVAILABLE, WORLD, "sketch", ["dog"]) == 24 + 5 + 5 + 2
    assert published_size(AVAILABLE, WORLD, "clipart", ["axe", "dog"]) == 24 + 3 + 3


def test_a_part_of_a_cell_is_rounded_up():
    exposure = np.full((3, 4), 0.5)
    expected = [[2, 2, 2, 2], [3, 3, 3, 3], [3, 3, 1, 2]]
    np.testing.assert_array_equal(request(exposure, AVAILABLE), expected)


def test_rounding_up_ignores_the_noise_of_floating_point():
    assert 0.07 * 100 > 7
    assert request(np.array([[0.07]]), np.array([[100]])) == 7


def test_a_cell_that_is_asked_for_but_empty_is_a_user_error():
    available = AVAILABLE.copy()
    available[2, 1] = 0
    with pytest.raises(UserError, match=r"cell \(`sketch`, `bed`\) is asked for but has no"):
        check_cells(np.ones((3, 4)), available, WORLD)
    exposure = np.ones((3, 4))
    exposure[2, 1] = 0
    check_cells(exposure, available, WORLD)


def test_the_trim_order_goes_from_the_largest_domain_to_the_smallest():
    assert trim_order(AVAILABLE, WORLD) == [1, 2, 0]


def test_of_equally_large_domains_the_natural_one_is_trimmed_first():
    assert trim_order(np.ones((3, 4)), WORLD) == [1, 0, 2]


def test_the_trim_order_on_domainnet_is_the_published_one():
    sizes = {
        "clipart": 33525,
        "infograph": 36023,
        "painting": 50416,
        "quickdraw": 120750,
        "real": 120906,
        "sketch": 48212,
    }
    world = World(tuple(sizes), ("all",), "real")
    order = trim_order(np.array(list(sizes.values()))[:, None], world)
    assert [world.domains[row] for row in order] == [
        "real",
        "quickdraw",
        "painting",
        "sketch",
        "infograph",
        "clipart",
    ]


def allocated(exposure_DC, available=AVAILABLE, budget=RANDOM, held_out=("dog",), order=None):
    order = np.tile(np.arange(available.shape[1]), (len(available), 1)) if order is None else order
    return allocate(
        np.array(exposure_DC, dtype=float),
        np.array(available),
        order,
        budget,
        world=WORLD,
        test_domain="sketch",
        held_out=held_out,
    )


CG_HIGH = [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]]


def test_a_pool_is_shrunk_and_trimmed_as_worked_out_by_hand():
    # pool 48, budget 36, factor 3/4: 12 ceilings of 2.25, 4.5, 3.75 and 1.5 sum to 42, and the
    # overshoot of 6 takes one from each class of the second domain, then two from the third
    allocation = allocated(CG_HIGH)
    np.testing.assert_array_equal(allocation.realised, [[3, 3, 3, 3], [4, 4, 4, 4], [3, 3, 2, 0]])
    np.testing.assert_array_equal(allocation.trimmed, [[0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 0, 0]])
    np.testing.assert_array_equal(allocation.requested, [[3, 3, 3, 3], [6, 6, 6, 6], [5, 5, 2, 0]])
    assert allocation.size == 36
    assert allocation.notes == (
        "pool of 48 shrunk to 36 (factor 0.7500), rounded up",
        "6 samples too many after rounding up: trimmed one per class, domains in the order real, "
        "sketch, clipart",
    )


def test_within_a_domain_the_classes_are_trimmed_in_the_order_of_its_list():
    order = np.tile([3, 2, 1, 0], (3, 1))
    trimmed = allocated(CG_HIGH, order=order).trimmed
    np.testing.assert_array_equal(trimmed, [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]])


def test_a_fraction_of_the_held_out_cells_is_kept_as_worked_out_by_hand():
    # whole pool 52, budget 36: factor 9/13; of the 4 held-out dogs ceil(0.5 x 9/13 x 4) = 2 stay,
    # never trimmed; the other 48 shrink to 34, factor 17/24: ceilings 3, 5 and 4, 4, 2 (42), and
    # the overshoot of 8 takes one from each class of real and sketch, and one from clipart
    exposure = np.array(CG_HIGH, dtype=float)
    exposure[2, 3] = 0.5
    allocation = allocated(exposure)
    np.testing.assert_array_equal(allocation.realised, [[2, 3, 3, 3], [4, 4, 4, 4], [3, 3, 1, 2]])


def test_a_pool_within_the_budget_is_kept_whole_and_told():
    natural = [[0] * 4, [1] * 4, [0] * 4]
    allocation = allocated(natural)
    np.testing.assert_array_equal(allocation.realised, [[0] * 4, [6] * 4, [0] * 4])
    assert allocation.notes == ("pool of 24 kept whole: smaller than the budget of 36",)


def test_a_small_pool_is_topped_up_by_showing_its_samples_several_times():
    natural = [[0] * 4, [1] * 4, [0] * 4]
    allocation = allocated(natural, budget=Budget(top_up=True))
    np.testing.assert_array_equal(allocation.realised, [[0] * 4, [9] * 4, [0] * 4])
    assert "1.50 times" in allocation.notes[0]


def test_every_shown_domain_gets_an_equal_part_smaller_ones_all_they_have():
    # budget 36 in three: clipart has 12 and gives all, sketch has 12 left to show and so on
    allocation = allocated(CG_HIGH, budget=Budget("balanced"))
    np.testing.assert_array_equal(allocation.realised.sum(axis=1), [12, 12, 12])
    np.testing.assert_array_equal(allocation.realised, [[3, 3, 3, 3], [3, 3, 3, 3], [5, 5, 2, 0]])


@given(POOLS, st.data())
def test_balanced_domains_differ_only_where_one_has_no_more(pool, data):
    size = data.draw(st.integers(0, int(pool.sum())))
    counts = balance(pool, size, list(range(len(pool))))
    assert counts.sum() == size
    assert np.all((counts >= 0) & (counts <= pool))
    totals, limits = counts.sum(axis=1), pool.sum(axis=1)
    most = totals.max()
    assert all(
        total >= most - 1 or total == limit for total, limit in zip(totals, limits, strict=True)
    )


def test_what_cannot_be_balanced_is_told():
    low = np.array([[0] * 4, [1] * 4, [1, 1, 1, 0]])
    notes = allocated(low, budget=Budget("balanced")).notes
    assert notes == ("pool of 36 kept whole: as large as the budget",)
    available = np.array([[1] * 4, [9] * 4, [5, 5, 2, 4]])
    notes = allocated(np.ones((3, 4)), available, Budget("balanced")).notes
    assert notes == (
        "equal parts for the domains that are shown: real 28",
        "smaller domains with all that they have: clipart 4, sketch 16",
    )


def test_an_empty_cell_that_was_let_pass_is_told():
    available = AVAILABLE.copy()
    available[0, 2] = 0
    assert allocated(CG_HIGH, available).notes[-1] == "shown, but without a sample: clipart/cat"


@given(
    hnp.arrays(np.int64, (3, 4), elements=st.integers(1, 60)),
    st.lists(st.floats(0.01, 1), min_size=2, max_size=5),
    st.sampled_from(["seen", "others", "held_out", "everything"]),
)
def test_more_exposure_never_shows_clearly_fewer_samples(counts, shares, block):
    rows = {"seen": (2, slice(0, 3)), "others": (0, slice(None)), "held_out": (2, 3)}
    varied = rows.get(block, (slice(0, 3, 2), slice(None)))
    shown = []
    for share in sorted(shares):
        exposure = np.ones((3, 4))
        exposure[varied] = share
        shown.append(int(allocated(exposure, counts).realised[varied].sum()))
    cells = np.ones((3, 4))[varied].size  # each may be rounded up, or trimmed by one
    assert all(more >= fewer - cells for fewer, more in pairwise(shown))


def test_exposure_matched_shows_equally_many_of_the_test_domain_at_low_and_high_diversity():
    low = np.array([[0] * 4, [1] * 4, [1, 1, 1, 0]])
    matched = Budget("exposure_matched")
    in_low, in_high = allocated(low, budget=matched), allocated(CG_HIGH, budget=matched)
    np.testing.assert_array_equal(in_low.realised[2], [5, 5, 2, 0])
    np.testing.assert_array_equal(in_high.realised[2], [5, 5, 2, 0])
    assert in_low.realised.sum() == in_high.realised.sum() == 36
    assert allocated(CG_HIGH).realised[2].sum() < 12  # the published rule does not


def test_exposure_matched_refuses_a_test_domain_larger_than_the_mixture():
    available = np.array([[3] * 4, [1] * 4, [5, 5, 2, 40]])
    with pytest.raises(UserError, match="alone has 52 samples to show"):
        allocated(np.ones((3, 4)), available, Budget("exposure_matched"))


def test_a_fixed_total_is_met_or_refused():
    assert allocated(CG_HIGH, budget=Budget("fixed_total", total=30)).realised.sum() == 30
    natural = [[0] * 4, [1] * 4, [0] * 4]
    with pytest.raises(UserError, match="30 samples is asked for, of a pool of 24"):
        allocated(natural, budget=Budget("fixed_total", total=30))
    topped_up = Budget("fixed_total", total=30, top_up=True)
    assert allocated(natural, budget=topped_up).realised.sum() == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rule": "publishd"}, "did you mean `published`"),
        ({"rule": "fixed_total"}, "budget.total is 0"),
        ({"rule": "random", "total": 7}, "budget.total is 7"),
        ({"rule": "fixed_total", "total": -7}, "budget.total is -7"),
    ],
)
def test_a_budget_that_says_nothing_or_too_much_is_a_user_error(arguments, message):
    with pytest.raises(UserError, match=message):
        Budget(**arguments)


EXPOSURES = hnp.arrays(
    np.float64, (3, 4), elements=st.sampled_from([0.0, 0.05, 0.3, 0.5, 0.95, 1.0, 1.0])
)


@given(
    EXPOSURES,
    hnp.arrays(np.int64, (3, 4), elements=st.integers(0, 60)),
    st.sampled_from(["published", "random", "balanced", "exposure_matched", "fixed_total"]),
    st.integers(1, 400),
)
def test_budgets_are_met_exactly_and_no_cell_gets_more_than_was_asked(
    exposure, counts, rule, total
):
    budget = Budget(rule, total=total if rule == "fixed_total" else 0)
    requested = request(exposure, counts)
    size = total if rule == "fixed_total" else published_size(counts, WORLD, "sketch", ("dog",))
    impossible = {
        "fixed_total": requested.sum() < size,
        "exposure_matched": requested[2].sum() > size and requested.sum() >= size,
    }
    if impossible.get(rule):
        with pytest.raises(UserError):
            allocated(exposure, counts, budget)
        return
    allocation = allocated(exposure, counts, budget)
    assert allocation.size == size
    pool = int(allocation.requested.sum())
    assert allocation.realised.sum() == min(allocation.size, pool)
    assert np.all(allocation.realised[exposure == 0] == 0)
    assert np.all((allocation.realised >= 0) & (allocation.realised <= allocation.requested))
    assert np.all(allocation.trimmed <= 1)


@given(hnp.arrays(np.int64, (3, 4), elements=st.integers(1, 60)))
def test_larger_fractions_of_the_held_out_classes_show_no_fewer_of_them(counts):
    shown = []
    for fraction in (0, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8):
        exposure = np.array(CG_HIGH, dtype=float)
        exposure[2, 3] = fraction
        shown.append(allocated(exposure, counts).realised[2, 3])
    assert shown == sorted(shown)
