"""The search finds every pair of near hashes, once, and is not slowed by one that many share."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splits import near_duplicates
from splits.near_duplicates import (
    MAX_DISTANCE,
    HashIndex,
    band_masks,
    centred,
    find_near_duplicates,
    near_pairs,
    nearest,
    steps,
)

WORDS = st.integers(0, 2**64 - 1)
FLIPS = st.sets(st.integers(0, 63), max_size=7)


@st.composite
def clustered_hashes(draw):
    """Distinct hashes of which many are near: a few centres, each with a few bits flipped."""
    centres = draw(st.lists(WORDS, min_size=1, max_size=4))
    flips = draw(st.lists(st.tuples(st.sampled_from(centres), FLIPS), min_size=1, max_size=40))
    return np.array(
        sorted({centre ^ sum(1 << bit for bit in bits) for centre, bits in flips}), dtype=np.uint64
    )


def found(hashes, distance):
    """Pairs of positions and distance, and whether any was found twice."""
    parts = list(near_pairs(hashes, distance, lambda done: None))
    rows = [
        (min(a, b), max(a, b), int(bits))
        for part in parts
        for a, b, bits in zip(*part, strict=True)
    ]
    assert len(rows) == len(set(rows))
    return set(rows)


def brute_force(hashes, distance):
    numbered = enumerate(map(int, hashes))
    pairs = (((i, j), (a ^ b).bit_count()) for (i, a), (j, b) in combinations(numbered, 2))
    return {(i, j, bits) for (i, j), bits in pairs if bits <= distance}


@given(clustered_hashes(), st.integers(0, 6))
def test_every_pair_is_found_once(hashes, distance):
    assert found(hashes, distance) == brute_force(hashes, distance)


@given(clustered_hashes())
def test_pairs_do_not_depend_on_how_many_fit_in_memory_at_a_time(hashes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "PAIRS_AT_A_TIME", 3)
        assert found(hashes, 4) == brute_force(hashes, 4)


def looked_up(hashes, others, distance):
    """Triples (position in others, position in hashes, distance), each once."""
    parts = HashIndex(hashes, distance).near(others)
    rows = [tuple(map(int, row)) for part in parts for row in zip(*part, strict=True)]
    assert len(rows) == len(set(rows))
    return set(rows)


def brute_force_across(hashes, others, distance):
    return {
        (i, j, (int(a) ^ int(b)).bit_count())
        for i, a in enumerate(others)
        for j, b in enumerate(hashes)
        if (int(a) ^ int(b)).bit_count() <= distance
    }


@given(clustered_hashes(), st.integers(0, 6), st.data(), st.sampled_from([3, 1 << 20]))
def test_every_pair_of_two_sets_is_found_once_equal_ones_too(hashes, distance, data, at_a_time):
    mine = data.draw(st.lists(st.sampled_from([True, False]), min_size=len(hashes)))
    mine = np.array(mine[: len(hashes)])
    others = np.concatenate([hashes[~mine], hashes[:3]])  # some are in both
    others = np.unique(others)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "PAIRS_AT_A_TIME", at_a_time)
        expected = brute_force_across(hashes[mine], others, distance)
        assert looked_up(hashes[mine], others, distance) == expected


def test_a_look_up_gives_no_more_at_a_time_than_was_said(monkeypatch):
    monkeypatch.setattr(near_duplicates, "PAIRS_AT_A_TIME", 50)
    index = HashIndex(np.arange(1, 17, dtype=np.uint64) << np.uint64(7), 10)
    parts = list(index.near(np.arange(500, dtype=np.uint64)))
    assert sum(len(part[0]) for part in parts) > 1000
    assert max(len(part[0]) for part in parts) <= 50 + 16


def test_every_pair_of_a_dense_ball_is_found():
    flips = [bits for n in range(3) for bits in combinations(range(40, 64), n)]
    hashes = np.array([sum(1 << bit for bit in bits) for bits in flips], dtype=np.uint64)
    assert len(found(hashes, 4)) == len(hashes) * (len(hashes) - 1) // 2
    assert found(hashes, 3) == brute_force(hashes, 3)


@pytest.mark.parametrize("distance", [0, 4, MAX_DISTANCE])
def test_the_bands_cover_all_bits_and_two_of_them_make_a_key(distance):
    bands = distance + 2
    masks = [int(mask) for mask in band_masks(distance)]
    assert len(masks) == steps(distance) == bands * (bands - 1) // 2
    assert np.bitwise_or.reduce(np.array(masks, dtype=np.uint64)) == 2**64 - 1
    assert sum(mask.bit_count() for mask in masks) == 64 * (bands - 1)


@pytest.mark.parametrize("distance", [-1, MAX_DISTANCE + 1])
def test_a_distance_out_of_range_is_refused(distance):
    with pytest.raises(ValueError, match="distance"):
        band_masks(distance)


def table(*rows):
    """Samples from (id, split, domain, class, hash)."""
    columns = {name: pl.String for name in ("id", "split", "domain", "class_name")}
    return pl.DataFrame(rows, schema=columns | {"phash": pl.UInt64}, orient="row")


SAMPLES = table(
    ("a", "train", "real", "cat", 0b0000),
    ("b", "test", "real", "cat", 0b0011),  # near a: train and test
    ("c", "train", "sketch", "dog", 0b0000),  # as a: another domain
    ("d", "train", "real", "cat", 0b0001),  # near a, but of its split and domain
    ("e", "train", "sketch", "cat", 2**63 + 2**40 + 2**20 + 0b11111),  # near nobody
)


def test_pairs_across_splits_and_domains_are_listed_and_counted():
    near = find_near_duplicates(SAMPLES, 2)
    columns = ["kind", "id_a", "id_b", "distance"]
    assert set(near.rows.select(columns).iter_rows()) == {
        ("near_hash", "a", "b", 2),
        ("near_hash", "c", "b", 2),
        ("near_hash", "d", "b", 1),
        ("identical_hash", "a", "c", 0),
        ("near_hash", "d", "c", 1),
    }
    counts = {tuple(row[:-1]): row[-1] for row in near.counts.iter_rows()}
    assert counts == {
        ("near_hash", "train", "test", "real", "real"): 2,
        ("near_hash", "train", "test", "sketch", "real"): 1,
        ("identical_hash", "train", "train", "real", "sketch"): 1,
        ("near_hash", "train", "train", "real", "sketch"): 1,
    }
    assert near.without_hash == 0


def test_a_row_names_both_samples_with_their_classes_and_hashes():
    near = find_near_duplicates(SAMPLES, 2)
    row = near.rows.row(by_predicate=pl.col("kind") == "identical_hash", named=True)
    assert (row["class_a"], row["class_b"]) == ("cat", "dog")
    assert (row["phash_a"], row["phash_b"]) == (0, 0)


def test_samples_without_a_hash_are_counted_and_not_compared():
    near = find_near_duplicates(
        table(("a", "train", "real", "cat", None), ("b", "test", "real", "cat", None)), 4
    )
    assert near.rows.is_empty()
    assert near.without_hash == 2


def test_thousands_of_blank_images_are_one_row_per_pair_of_groups():
    many = 50_000
    blank = table(
        *((f"t{i}", "train", "real", "cat", 7) for i in range(many)),
        *((f"u{i}", "test", "real", "cat", 7) for i in range(many)),
    )
    near = find_near_duplicates(blank, 4)
    assert near.rows.select("samples_a", "samples_b").rows() == [(many, many)]
    assert near.counts["pairs"].to_list() == [many * many]


def test_rows_beyond_the_cap_are_counted_and_told():
    samples = table(
        *((f"t{i}", "train", "real", "cat", i << 8) for i in range(10)),
        *((f"u{i}", "test", "real", "cat", i << 8) for i in range(10)),
    )
    near = find_near_duplicates(samples, 0, most=4)
    assert near.rows.height == 4
    assert near.left_out == 6
    assert near.counts["pairs"].to_list() == [10]


def test_the_search_tells_of_every_step_that_it_said_it_would_make():
    told = []
    find_near_duplicates(SAMPLES, 4, advance=told.append)
    assert sum(told) == steps(4)


def test_the_nearest_vector_is_the_planted_one_whatever_the_blocks():
    rng = np.random.default_rng(0)
    keys = rng.normal(size=(70, 16)).astype(np.float32)
    keys /= np.linalg.norm(keys, axis=1, keepdims=True)
    planted = rng.permutation(70)[:33]
    queries = keys[planted] + 0.01 * rng.normal(size=(33, 16)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    place, cosine = nearest(queries, keys, rows=8, columns=11)
    np.testing.assert_array_equal(place, planted)
    np.testing.assert_allclose(cosine, (queries * keys[planted]).sum(axis=1), rtol=1e-5)
    assert cosine.min() > 0.99


def test_centring_opens_a_narrow_cone():
    rng = np.random.default_rng(0)
    cone = (20 + rng.normal(size=(50, 8))).astype(np.float32)
    cone /= np.linalg.norm(cone, axis=1, keepdims=True)
    assert nearest(cone[:20], cone[20:])[1].min() > 0.99
    queries, keys = centred(cone[:20], cone[20:])
    assert np.median(nearest(queries, keys)[1]) < 0.95
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(nearest(keys[:5], keys)[1], 1, rtol=1e-5)
