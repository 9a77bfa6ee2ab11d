"""The budget: counts per cell against hand-worked tables, and the seeded choice of samples."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from math import ceil

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splits.budget import choose, count_cells, published_size, realise, request, trim_order
from splits.errors import UserError
from splits.settings import World

WORLD = World(("clipart", "real", "sketch"), ("axe", "bed", "cat", "dog"), "real")
AVAILABLE = np.array([[3, 3, 3, 3], [6, 6, 6, 6], [5, 5, 2, 4]])

POOLS = hnp.arrays(
    np.int64,
    st.tuples(st.integers(1, 5), st.integers(1, 6)),
    elements=st.integers(0, 40),
)


def table(counts=AVAILABLE, world=WORLD):
    """A sample table with that many rows per cell."""
    rows = [
        (f"{domain}_{name}_{i:03}", domain, name)
        for domain, row in zip(world.domains, counts, strict=True)
        for name, count in zip(world.classes, row, strict=True)
        for i in range(count)
    ]
    return pl.DataFrame(rows, ["id", "domain", "class_name"], orient="row")


def shrunk_step_by_step(pool, budget, order):
    """The rule as one would do it with pencil and paper: an oracle for `realise`."""
    if pool.sum() <= budget:
        return pool
    factor = Fraction(budget, int(pool.sum()))
    counts = [[ceil(int(n) * factor) for n in row] for row in pool]
    overshoot = sum(map(sum, counts)) - budget
    while overshoot:
        for row in order:
            for column in range(len(counts[row])):
                if overshoot and counts[row][column]:
                    counts[row][column] -= 1
                    overshoot -= 1
    return np.array(counts)


def test_cells_are_counted_in_the_order_of_the_world():
    np.testing.assert_array_equal(count_cells(table(), WORLD), AVAILABLE)


@pytest.mark.parametrize(
    ("domain", "name", "message"),
    [("sketchy", "axe", "did you mean `sketch`"), ("real", "cta", "did you mean `cat`")],
)
def test_a_row_outside_the_world_is_a_user_error(domain, name, message):
    stray = pl.DataFrame({"id": ["x"], "domain": [domain], "class_name": [name]})
    with pytest.raises(UserError, match=message):
        count_cells(pl.concat([table(), stray]), WORLD)


def test_the_published_size_is_all_natural_samples_and_the_seen_ones_of_the_test_domain():
    assert published_size(AVAILABLE, WORLD, "sketch", ["dog"]) == 24 + 5 + 5 + 2
    assert published_size(AVAILABLE, WORLD, "clipart", ["axe", "dog"]) == 24 + 3 + 3


def test_a_part_of_a_cell_is_rounded_up():
    exposure = np.full((3, 4), 0.5)
    expected = [[2, 2, 2, 2], [3, 3, 3, 3], [3, 3, 1, 2]]
    np.testing.assert_array_equal(request(exposure, AVAILABLE, WORLD), expected)


def test_rounding_up_ignores_the_noise_of_floating_point():
    assert 0.07 * 100 > 7
    world = World(("real",), ("axe",), "real")
    assert request(np.array([[0.07]]), np.array([[100]]), world) == 7


def test_a_cell_that_is_asked_for_but_empty_is_a_user_error():
    available = AVAILABLE.copy()
    available[2, 1] = 0
    with pytest.raises(UserError, match=r"cell \(`sketch`, `bed`\) is asked for but has no"):
        request(np.ones((3, 4)), available, WORLD)
    exposure = np.ones((3, 4))
    exposure[2, 1] = 0
    assert request(exposure, available, WORLD).sum() == available.sum()


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


def test_a_pool_is_shrunk_and_trimmed_as_worked_out_by_hand():
    # pool 48, budget 36, factor 3/4: 12 ceilings of 2.25, 4.5, 3.75 and 1.5 sum to 42, and the
    # overshoot of 6 takes one from each class of the second domain, then two from the third
    pool = np.array([[3, 3, 3, 3], [6, 6, 6, 6], [5, 5, 2, 0]])
    expected = [[3, 3, 3, 3], [4, 4, 4, 4], [3, 3, 2, 0]]
    np.testing.assert_array_equal(realise(pool, 36, [1, 2, 0]), expected)


def test_trimming_passes_over_empty_cells():
    # factor 5/9: ceilings 2, 2, 2 and 0; the overshoot of 1 is taken from the first class there is
    np.testing.assert_array_equal(realise(np.array([[0, 3, 3, 3]]), 5, [0]), [[0, 1, 2, 2]])


def test_a_pool_within_the_budget_is_kept_whole():
    np.testing.assert_array_equal(realise(AVAILABLE, int(AVAILABLE.sum()), [0, 1, 2]), AVAILABLE)
    np.testing.assert_array_equal(realise(AVAILABLE, 10**6, [0, 1, 2]), AVAILABLE)


@given(POOLS, st.integers(0, 1500), st.randoms(use_true_random=False))
def test_the_budget_is_met_exactly_and_the_rule_is_that_of_pencil_and_paper(pool, budget, random):
    order = list(range(len(pool)))
    random.shuffle(order)
    before = pool.copy()
    counts = realise(pool, budget, order)
    assert counts.sum() == min(budget, pool.sum())
    assert np.all((counts >= 0) & (counts <= pool))
    np.testing.assert_array_equal(counts, shrunk_step_by_step(pool, budget, order))
    np.testing.assert_array_equal(pool, before)


@pytest.mark.parametrize(("budget", "order"), [(-1, [0, 1, 2]), (9, [0, 1]), (9, [0, 1, 1])])
def test_a_negative_budget_or_an_incomplete_trim_order_is_refused(budget, order):
    with pytest.raises(ValueError, match="fits no pool"):
        realise(AVAILABLE, budget, order)


def test_the_chosen_samples_are_those_with_the_smallest_hashes():
    counts = np.zeros((3, 4), dtype=int)
    counts[1, 2], counts[2, 0] = 2, 5
    real_cats = [f"real_cat_{i:03}" for i in range(6)]
    real_cats.sort(key=lambda name: hashlib.sha256(f"7/{name}".encode()).hexdigest())
    sketch_axes = [f"sketch_axe_{i:03}" for i in range(5)]
    assert choose(table(), counts, WORLD, 7) == sorted(real_cats[:2] + sketch_axes)


@given(st.data(), st.integers(0, 10**6))
def test_a_choice_meets_its_counts_ignores_row_order_and_nests(data, seed):
    big = data.draw(hnp.arrays(np.int64, (3, 4), elements=st.integers(0, 6)))
    big = np.minimum(big, AVAILABLE)
    small = np.maximum(big - data.draw(hnp.arrays(np.int64, (3, 4), elements=st.integers(0, 6))), 0)
    samples = table()
    shuffled = samples.sample(fraction=1, shuffle=True, seed=seed)
    chosen = choose(samples, big, WORLD, seed)
    assert chosen == sorted(set(chosen)) == choose(shuffled, big, WORLD, seed)
    rows = samples.filter(pl.col("id").is_in(chosen))
    np.testing.assert_array_equal(count_cells(rows, WORLD), big)
    assert set(choose(samples, small, WORLD, seed)) <= set(chosen)


def test_another_seed_chooses_other_samples():
    counts = np.full((3, 4), 1)
    assert len({tuple(choose(table(), counts, WORLD, seed)) for seed in range(5)}) == 5


def test_more_samples_than_there_are_cannot_be_chosen():
    with pytest.raises(ValueError, match="48 samples are wanted, of which 42 are there"):
        choose(table(), np.full((3, 4), 4), WORLD, 0)
