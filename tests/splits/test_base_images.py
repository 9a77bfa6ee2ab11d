"""Test images that a base holds are found byte for byte and nearly, in whatever batches."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from splits.base_images import COLUMNS, audit_base_images, find_in_base
from splits.findings import CHECKS

SCHEMA = dict.fromkeys(COLUMNS, pl.String) | {"phash": pl.UInt64}
HELD_OUT = pl.DataFrame({"domain": ["sketch"], "class_name": ["dog"]})
FAR = [int(x) for x in np.random.default_rng(0).integers(0, 2**64, 12, dtype=np.uint64)]


def table(*rows):
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


TESTS = [
    ("dog 0", "test", "sketch", "dog", "d0", FAR[0]),
    ("dog 1", "test_unseen_drawing", "sketch", "dog", "d1", FAR[1]),
    ("cat 0", "test", "sketch", "cat", "c0", FAR[2]),
    ("real dog", "test", "real", "dog", "r0", FAR[3]),
]
SAMPLES = table(*TESTS, ("dog train", "train", "sketch", "dog", "t0", FAR[4]))


def base(*images):
    """A base of (sha256, phash)."""
    return table(
        *((f"web/{i}", "train", "web", "", sha, phash) for i, (sha, phash) in enumerate(images))
    )


STRANGERS = [("s0", FAR[5]), ("s1", FAR[6])]


def audited(images, samples=SAMPLES, distance=4):
    found = find_in_base(samples, [base(*images)], distance)
    rows = audit_base_images(found, HELD_OUT, distance)
    return {row["check"]: row for row in rows if row["count"]}


def test_a_base_of_other_images_has_no_finding():
    assert audited(STRANGERS) == {}


def test_a_test_image_of_a_held_out_class_in_the_base_is_an_error_that_names_both():
    found = audited([*STRANGERS, ("d1", None), ("d0", None)])
    row = found["held_out_image_in_base"]
    assert (row["severity"], row["count"], row["subjects"]) == ("error", 2, ["dog 0", "dog 1"])
    assert row["example"] == "dog 0 = web/3; dog 1 = web/2"
    assert row["detail"].startswith("of 2 test images of held-out classes")
    assert "identical_image_in_base" not in found


@pytest.mark.parametrize(("sha", "name"), [("c0", "cat 0"), ("r0", "real dog")])
def test_another_test_image_in_the_base_is_a_warning(sha, name):
    found = audited([*STRANGERS, (sha, FAR[7])])
    assert set(found) == {"identical_image_in_base"}
    assert found["identical_image_in_base"]["subjects"] == [name]
    assert CHECKS["identical_image_in_base"].severity == "warning"


def test_a_training_image_in_the_base_is_no_leak():
    assert audited([("t0", FAR[4])]) == {}


def test_a_near_image_in_the_base_is_a_warning_that_counts_test_images():
    near = FAR[0] ^ 0b1011
    found = audited([*STRANGERS, ("x", near), ("y", near), ("z", FAR[2] ^ 1)])
    assert set(found) == {"near_duplicate_in_base"}
    row = found["near_duplicate_in_base"]
    assert (row["severity"], row["subjects"]) == ("warning", ["cat 0", "dog 0"])
    assert "(3 pairs), 1 of them of held-out classes" in row["detail"]
    assert row["example"] == "cat 0 ~ web/4 (1 bits); dog 0 ~ web/2 (3 bits)"


def test_a_hash_just_too_far_is_no_finding():
    assert audited([("x", FAR[0] ^ 0b11111)]) == {}


def test_near_images_within_the_base_are_not_compared():
    assert audited([("x", FAR[8]), ("y", FAR[8] ^ 1)]) == {}


def test_images_without_a_hash_are_counted_and_told():
    flat = table(*TESTS[:3], ("flat", "test", "real", "dog", "f", None))
    row = audited([*STRANGERS, ("x", None), ("y", None)], flat)["near_duplicate_in_base"]
    assert (row["severity"], row["count"]) == ("not_checked", 3)
    assert "(1 test images, 2 of the base)" in row["detail"]


def test_the_result_does_not_depend_on_the_batches():
    rng = np.random.default_rng(1)
    images = [
        (f"x{i % 7}" if i % 3 else "d0", FAR[i % 4] ^ (1 << int(rng.integers(0, 3))))
        for i in range(60)
    ]
    whole = base(*images)
    one = find_in_base(SAMPLES, [whole], 4)
    many = find_in_base(SAMPLES, list(whole.iter_slices(7)), 4)
    assert one.images == many.images == 60
    assert many.identical.rows() == one.identical.rows()
    assert many.close.rows() == one.close.rows()
    assert many.near.pairs == one.near.pairs == 60
    assert sorted(many.rows.rows(), key=str) == sorted(one.rows.rows(), key=str)


def test_the_table_has_a_row_per_group_of_the_base_and_of_the_tests():
    found = find_in_base(SAMPLES, [base(("d0", FAR[0]), ("x", FAR[0])), base(("y", FAR[0]))], 4)
    assert found.rows.select("kind", "id_a", "id_b", "domain_a", "class_b").rows() == [
        ("identical_image", "web/0", "dog 0", "web", "dog"),
        ("identical_hash", "web/0", "dog 0", "web", "dog"),
    ]
    assert found.rows["samples_a"].to_list() == [None, 3]


def test_pairs_beyond_the_cap_are_counted_and_told():
    many = base(*((f"x{i}", FAR[0] ^ (1 << i)) for i in range(20)))
    found = find_in_base(SAMPLES, [many], 4, most=5)
    assert (found.near.rows.height, found.near.left_out, found.near.pairs) == (5, 15, 20)
    row = audit_base_images(found, HELD_OUT, 4)[-1]
    assert "leaves 15 rows out" in row["detail"]
