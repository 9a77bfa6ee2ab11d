"""The pool: cells are counted, choices are seeded, nested, and blind to the order of rows."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from splits import pool as pool_module
from splits.errors import UserError
from splits.pool import build_pool, named_rows, rank_within_cells, seeded_numbers
from splits.settings import World

WORLD = World(("clipart", "real", "sketch"), ("axe", "bed", "cat", "dog"), "real")
AVAILABLE = np.array([[3, 3, 3, 3], [6, 6, 6, 6], [5, 5, 2, 4]])


def table(counts=AVAILABLE):
    """A sample table with that many rows per cell."""
    rows = [
        (f"{domain}_{name}_{i:03}", domain, name)
        for domain, row in zip(WORLD.domains, counts, strict=True)
        for name, count in zip(WORLD.classes, row, strict=True)
        for i in range(count)
    ]
    return pl.DataFrame(rows, ["id", "domain", "class_name"], orient="row")


def chosen(samples, counts, seed):
    ids, cells = build_pool(samples, WORLD).take(np.array(counts), seed)
    rows = named_rows(ids, cells, WORLD)
    assert rows.join(samples, on=["id", "domain", "class_name"], how="anti").is_empty()
    return rows["id"].to_list()


def test_cells_are_counted_in_the_order_of_the_world():
    np.testing.assert_array_equal(build_pool(table(), WORLD).available, AVAILABLE)


@pytest.mark.parametrize(
    ("domain", "name", "message"),
    [("sketchy", "axe", "did you mean `sketch`"), ("real", "cta", "did you mean `cat`")],
)
def test_a_row_outside_the_world_is_a_user_error(domain, name, message):
    stray = pl.DataFrame({"id": ["x"], "domain": [domain], "class_name": [name]})
    with pytest.raises(UserError, match=message):
        build_pool(pl.concat([table(), stray]), WORLD)


def test_an_id_that_stands_twice_is_a_user_error():
    with pytest.raises(UserError, match="id `real_cat_004` stands more than once"):
        build_pool(pl.concat([table(), table().filter(pl.col("id") == "real_cat_004")]), WORLD)


def test_the_chosen_samples_are_those_with_the_smallest_hashes():
    counts = np.zeros((3, 4), dtype=int)
    counts[1, 2], counts[2, 0] = 2, 5
    real_cats = [f"real_cat_{i:03}" for i in range(6)]
    real_cats.sort(key=lambda name: hashlib.sha256(f"7/{name}".encode()).hexdigest())
    sketch_axes = [f"sketch_axe_{i:03}" for i in range(5)]
    assert chosen(table(), counts, 7) == sorted(real_cats[:2] + sketch_axes)


def test_without_a_seed_the_first_of_the_official_list_are_chosen():
    samples = table().filter(pl.col("domain") == "real").head(6)  # the axes
    positions = [5, 1, 9, 0, 7, 3]
    listed = samples.with_columns(position=pl.Series(positions))
    counts = np.zeros((3, 4), dtype=int)
    counts[1, 0] = 3
    assert chosen(listed, counts, None) == ["real_axe_001", "real_axe_003", "real_axe_005"]
    assert chosen(samples, counts, None) == ["real_axe_000", "real_axe_001", "real_axe_002"]


def test_the_order_of_classes_is_that_of_their_first_place_in_the_list():
    samples = table().filter(pl.col("domain") == "real").with_columns(domain=pl.lit("real"))
    places = samples["class_name"].replace_strict({"axe": 20, "bed": 0, "cat": 30, "dog": 10})
    ordered = samples.with_columns(position=places + pl.int_range(pl.len()).over("class_name"))
    assert build_pool(ordered, WORLD).order[1].tolist() == [20, 0, 30, 10]
    assert np.argsort(build_pool(samples, WORLD).order[1]).tolist() == [0, 1, 2, 3]


@given(st.data(), st.integers(0, 10**6))
def test_a_choice_meets_its_counts_ignores_row_order_and_nests(data, seed):
    big = data.draw(hnp.arrays(np.int64, (3, 4), elements=st.integers(0, 6)))
    big = np.minimum(big, AVAILABLE)
    small = np.maximum(big - data.draw(hnp.arrays(np.int64, (3, 4), elements=st.integers(0, 6))), 0)
    shuffled = table().sample(fraction=1, shuffle=True, seed=seed)
    ids = chosen(table(), big, seed)
    assert ids == sorted(set(ids)) == chosen(shuffled, big, seed)
    rows = table().filter(pl.col("id").is_in(ids))
    np.testing.assert_array_equal(build_pool(rows, WORLD).available, big)
    assert set(chosen(table(), small, seed)) <= set(ids)


def test_another_seed_chooses_other_samples():
    counts = np.full((3, 4), 1)
    assert len({tuple(chosen(table(), counts, seed)) for seed in range(5)}) == 5


def test_a_count_above_the_samples_of_a_cell_repeats_them_in_turn():
    counts = np.zeros((3, 4), dtype=int)
    counts[2, 2] = 5  # of 2 cats
    ids = chosen(table(), counts, 0)
    assert sorted(ids.count(name) for name in set(ids)) == [2, 3]


def test_samples_of_an_empty_cell_cannot_be_taken():
    counts = np.zeros((3, 4), dtype=int)
    counts[0, 0] = 1
    samples = table().filter(~pl.col("id").str.starts_with("clipart_axe"))
    with pytest.raises(ValueError, match="empty cell"):
        chosen(samples, counts, 0)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=60),
    st.integers(1, 12),
)
def test_ranks_are_the_same_however_few_rows_are_sorted_at_once(rows, at_once):
    cells, keys = (np.array(column) for column in zip(*rows, strict=True))
    expected = [
        sum((other, b) < (key, a) for b, (c, other) in enumerate(rows) if c == cell)
        for a, (cell, key) in enumerate(rows)
    ]
    before = pool_module.ROWS_AT_ONCE
    try:
        pool_module.ROWS_AT_ONCE = at_once
        assert rank_within_cells(cells, keys).tolist() == expected
    finally:
        pool_module.ROWS_AT_ONCE = before


def test_the_number_of_an_id_is_the_head_of_its_hash():
    number = seeded_numbers(pl.Series(["a cat"]), 3)[0]
    assert f"{number:016x}" == hashlib.sha256(b"3/a cat").hexdigest()[:16]
