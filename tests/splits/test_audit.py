"""A planted leak of each kind is found, and nothing else is; a clean mixture has no finding."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from splits.audit import (
    audit_captions,
    audit_dataset,
    audit_embeddings,
    audit_near_duplicates,
    audit_plan,
    audit_selection,
    audit_testable,
)
from splits.caption_leaks import find_caption_leaks
from splits.composition import Selection, effective_number, statistics
from splits.findings import CHECKS, findings_table
from splits.near_duplicates import find_near_duplicates
from splits.settings import SETTINGS, World, exposure

WORLD = World(("clipart", "real", "sketch"), ("axe", "bed", "cat", "dog"), "real")
PER_CELL = {"train": 4, "test": 2, "test_unseen_drawing": 1}
HELD_OUT = ("dog",)


def clean_samples():
    """A dataset without any fault: hashes that differ in many bits, drawings of their own."""
    rng = np.random.default_rng(0)
    rows = [
        {
            "id": f"{split}_{domain}_{name}_{i}",
            "domain": domain,
            "class_name": name,
            "split": split,
            "instance": f"instance of {split}_{domain}_{name}_{i}",
            "drawing": f"{'reserved' if split == 'test_unseen_drawing' else 'family'}:{name}",
            "sha256": f"{split}/{domain}/{name}/{i}",
            "phash": int(rng.integers(0, 2**64, dtype=np.uint64)),
        }
        for domain in WORLD.domains
        for name in WORLD.classes
        for split, count in PER_CELL.items()
        for i in range(count)
    ]
    return pl.DataFrame(rows, schema_overrides={"phash": pl.UInt64})


SAMPLES = clean_samples()


def selection(setting="cg_high_diversity", samples=SAMPLES, **changes):
    """All training samples that the setting shows."""
    shown_DC = exposure(SETTINGS[setting], WORLD, "sketch", HELD_OUT)
    cells = {
        (domain, name)
        for domain, row in zip(WORLD.domains, shown_DC, strict=True)
        for name, share in zip(WORLD.classes, row, strict=True)
        if share
    }
    train = samples.filter(pl.col("split") == "train")
    ids = [row["id"] for row in train.to_dicts() if (row["domain"], row["class_name"]) in cells]
    fields = {"name": f"{setting}.sketch", "setting": setting, "ids": pl.Series("id", ids)}
    fields |= {"test_domain": "sketch", "held_out": HELD_OUT, "exposure": shown_DC}
    return Selection(**(fields | changes))


def flagged(*parts):
    """Checks that found something, with their counts."""
    rows = findings_table([row for part in parts for row in part])
    return dict(rows.filter(pl.col("count") > 0).select("check", "count").iter_rows())


def everything(samples=SAMPLES, chosen=None):
    """Every finding on one mixture and its dataset."""
    near = find_near_duplicates(samples, 4)
    chosen = chosen or selection(samples=samples)
    return flagged(
        audit_dataset(samples),
        audit_near_duplicates(near, samples.height, 4),
        audit_selection(chosen, WORLD, samples, near),
        [audit_plan(chosen, chosen.ids), audit_testable(samples, "sketch", 0, HELD_OUT)],
    )


def with_value(column, value, *, of):
    """The clean samples, where the sample `of` has another value."""
    changed = pl.when(pl.col("id") == of).then(pl.lit(value, SAMPLES.schema[column]))
    return SAMPLES.with_columns(changed.otherwise(pl.col(column)).alias(column))


def value_of(column, name):
    return SAMPLES.row(by_predicate=pl.col("id") == name, named=True)[column]


def with_ids(*names, **changes):
    clean = selection(**changes)
    return replace(clean, ids=pl.concat([clean.ids, pl.Series("id", names)]).sort())


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_clean_mixture_has_no_finding(setting):
    assert everything(chosen=selection(setting)) == {}


def test_a_held_out_class_of_the_test_domain_is_found():
    chosen = with_ids("train_sketch_dog_1", "train_sketch_dog_2")
    assert everything(chosen=chosen) == {"held_out_cell": 2}
    near = find_near_duplicates(SAMPLES, 4)
    rows = findings_table(audit_selection(chosen, WORLD, SAMPLES, near))
    row = rows.row(by_predicate=pl.col("check") == "held_out_cell", named=True)
    assert row["severity"] == "error"
    assert row["mixture"] == "cg_high_diversity.sketch"
    assert "2 of them held-out classes in the test domain" in row["detail"]
    assert "train_sketch_dog_1 (sketch, dog)" in row["example"]


def test_a_cell_that_the_setting_does_not_show_is_found():
    chosen = with_ids("train_clipart_axe_0", setting="cg_low_diversity")
    assert everything(chosen=chosen) == {"held_out_cell": 1}


def test_a_setting_that_shows_the_held_out_classes_may_hold_them():
    assert "train_sketch_dog_1" in set(selection("upper_bound_high").ids)
    assert everything(chosen=selection("upper_bound_high")) == {}


def test_an_id_that_the_dataset_does_not_have_is_found():
    assert everything(chosen=with_ids("stranger")) == {"unknown_id": 1}


def test_a_test_sample_in_the_mixture_is_found():
    chosen = with_ids("test_real_axe_0", "test_unseen_drawing_real_axe_0")
    assert everything(chosen=chosen) == {"test_sample_in_mixture": 2}


def test_a_cell_that_the_setting_wants_and_the_dataset_lacks_is_a_warning():
    samples = SAMPLES.filter(~pl.col("id").str.starts_with("train_clipart_cat"))
    assert everything(samples) == {"empty_cell": 1}
    assert CHECKS["empty_cell"].severity == "warning"


def test_an_id_in_train_and_test_is_found():
    samples = with_value("id", "train_real_axe_0", of="test_real_axe_0")
    chosen = selection()
    assert everything(samples, chosen) == {"id_in_train_and_test": 1, "test_sample_in_mixture": 1}


def test_an_instance_in_train_and_test_is_found():
    samples = with_value("instance", value_of("instance", "train_real_axe_0"), of="test_real_axe_1")
    assert everything(samples) == {"instance_in_train_and_test": 1}


def test_an_unseen_drawing_that_training_shows_is_found():
    samples = with_value("drawing", "reserved:axe", of="train_clipart_axe_2")
    assert everything(samples) == {"drawing_in_both": 1}


def test_the_drawing_of_another_class_is_no_leak():
    assert everything(with_value("drawing", "reserved:axe", of="train_clipart_cat_2")) == {}


def test_a_dataset_without_drawings_is_told_as_not_checked():
    rows = findings_table(audit_dataset(SAMPLES.with_columns(drawing=pl.lit(""))))
    row = rows.row(by_predicate=pl.col("check") == "drawing_in_both", named=True)
    assert row["severity"] == "not_checked"


def test_an_image_that_is_also_in_train_is_found():
    samples = with_value("sha256", value_of("sha256", "train_clipart_axe_0"), of="test_real_axe_0")
    assert everything(samples) == {"identical_image": 1}


def test_a_tested_held_out_image_that_the_mixture_shows_elsewhere_is_an_error():
    samples = with_value(
        "sha256", value_of("sha256", "train_clipart_dog_0"), of="test_sketch_dog_0"
    )
    high, low = (selection(name, samples) for name in ("cg_high_diversity", "cg_low_diversity"))
    found = everything(samples, high)
    assert found == {"identical_image": 1, "held_out_image_in_mixture": 1}
    assert CHECKS["held_out_image_in_mixture"].severity == "error"
    assert everything(samples, low) == {"identical_image": 1}  # it shows no clipart


def test_a_tested_image_of_a_seen_class_in_the_mixture_is_not_the_main_result():
    samples = with_value(
        "sha256", value_of("sha256", "train_clipart_axe_0"), of="test_sketch_axe_0"
    )
    assert everything(samples) == {"identical_image": 1}


def test_near_duplicates_of_train_and_test_are_found():
    near = value_of("phash", "train_real_axe_0") ^ 0b1011
    assert everything(with_value("phash", near, of="test_real_axe_0")) == {"near_duplicate": 1}


def test_near_duplicates_in_two_domains_are_found():
    near = value_of("phash", "train_real_axe_0") ^ (1 << 63)
    assert everything(with_value("phash", near, of="train_clipart_axe_0")) == {"near_duplicate": 1}


def test_hashes_that_are_just_too_far_apart_are_no_finding():
    far = value_of("phash", "train_real_axe_0") ^ 0b11111
    assert everything(with_value("phash", far, of="test_real_axe_0")) == {}


def test_a_tested_held_out_image_near_one_of_the_mixture_is_found():
    near = value_of("phash", "train_clipart_dog_0") ^ 0b11
    samples = with_value("phash", near, of="test_sketch_dog_1")
    high, low = (selection(name, samples) for name in ("cg_high_diversity", "cg_low_diversity"))
    assert everything(samples, high) == {"near_duplicate": 1, "held_out_image_near_mixture": 1}
    assert everything(samples, low) == {"near_duplicate": 1}


def test_a_dataset_without_hashes_is_told_as_not_checked():
    bare = SAMPLES.with_columns(phash=pl.lit(None, pl.UInt64))
    near = find_near_duplicates(bare, 4)
    (row,) = audit_near_duplicates(near, bare.height, 4)
    assert row["severity"] == "not_checked"
    assert "the dataset has no perceptual hashes" in row["detail"]
    last = audit_selection(selection(), WORLD, bare, None)[-1]
    assert (last["check"], last["severity"]) == ("held_out_image_near_mixture", "not_checked")


def test_a_dataset_with_some_hashes_says_how_many_lack():
    some = with_value("phash", None, of="test_real_axe_0")
    near = find_near_duplicates(some, 4)
    rows = audit_near_duplicates(near, some.height, 4)
    assert [(row["severity"], row["count"]) for row in rows] == [("not_checked", 1), ("ok", 0)]


def test_a_mixture_other_than_planned_is_found():
    plan = selection()
    twice = pl.concat([plan.ids, plan.ids[:1]])
    assert flagged([audit_plan(plan, plan.ids.reverse())]) == {}
    assert flagged([audit_plan(plan, plan.ids[2:])]) == {"other_than_planned": 2}
    assert flagged([audit_plan(replace(plan, ids=twice), plan.ids)]) == {"other_than_planned": 1}


def test_captions_that_name_a_held_out_class_are_a_warning_with_the_range_over_draws():
    captions = pl.Series(["a dog", "dogs and a cat", "a cat", "a house"])
    row = audit_captions(find_caption_leaks([captions], [["dog"], ["cat"], ["axe"]]))
    assert (row["severity"], row["count"]) == ("warning", 3)  # the second names two, and is one
    assert "one of a single draw: 0 to 2" in row["detail"]
    assert row["example"] == "cat (2); dog (2)"
    assert audit_captions(find_caption_leaks([captions], [["axe"]]))["severity"] == "ok"


def test_held_out_classes_that_no_test_image_shows_are_told_with_those_that_remain():
    samples = SAMPLES.filter(~pl.col("id").str.contains("test.*_sketch_dog"))
    row = audit_testable(samples, "sketch", 2, ("cat", "dog"))
    assert (row["severity"], row["subjects"]) == ("warning", ["sketch/dog"])
    assert row["detail"] == (
        "of 2 held-out classes of draw 2 have no test image in sketch; that leaves 1"
    )
    assert audit_testable(samples, "clipart", 2, ("cat", "dog"))["severity"] == "ok"


def test_a_tested_image_without_a_hash_is_told_for_every_mixture_that_it_tests():
    bare = with_value("phash", None, of="test_sketch_dog_0")
    rows = audit_selection(selection(), WORLD, bare, find_near_duplicates(bare, 4))
    near = [row for row in rows if row["check"] == "held_out_image_near_mixture"]
    assert [(row["severity"], row["count"]) for row in near] == [("ok", 0), ("not_checked", 1)]
    assert near[1]["subjects"] == ["test_sketch_dog_0"]


def test_a_finding_holds_all_that_it_counts_and_shows_three():
    chosen = with_ids(*(f"stranger {i}" for i in range(5)))
    rows = audit_selection(chosen, WORLD, SAMPLES, None)
    (row,) = (row for row in rows if row["check"] == "unknown_id")
    assert row["subjects"] == [f"stranger {i}" for i in range(5)]
    assert row["example"] == "stranger 0; stranger 1; stranger 2"


def test_images_that_a_model_takes_for_twins_are_a_warning():
    twins = pl.DataFrame({"id_a": ["train"], "id_b": ["test"], "cosine": [0.991]})
    row = audit_embeddings(twins, 40, 0.98)
    assert (row["severity"], row["count"]) == ("warning", 1)
    assert row["example"] == "test ~ train (cosine 0.991)"


def test_the_statistics_are_those_worked_out_by_hand():
    samples = SAMPLES.filter(pl.col("id") != "train_clipart_axe_3")
    row = statistics(selection(samples=samples), WORLD, samples)
    assert row["samples"] == row["distinct_samples"] == 15 + 16 + 12
    assert (row["domains"], row["classes"]) == (3, 4)
    shares = [15 / 43, 16 / 43, 12 / 43]
    assert row["effective_domains"] == pytest.approx(math.prod(p**-p for p in shares))
    assert row["class_imbalance"] == pytest.approx(12 / 8)
    assert (row["test_domain_seen"], row["test_domain_held_out"]) == (12, 0)
    assert (row["held_out_elsewhere"], row["empty_cells"]) == (8, 0)


def test_held_out_classes_of_the_test_domain_are_told_from_those_elsewhere():
    row = statistics(selection("upper_bound_high"), WORLD, SAMPLES)
    assert (row["test_domain_held_out"], row["held_out_elsewhere"]) == (4, 8)


def test_a_sample_that_is_shown_twice_counts_twice():
    clean = selection("natural_only")
    row = statistics(replace(clean, ids=pl.concat([clean.ids, clean.ids])), WORLD, SAMPLES)
    assert (row["samples"], row["distinct_samples"]) == (32, 16)


@pytest.mark.parametrize(
    ("counts", "number"), [([5, 5, 5], 3), ([7, 0, 0], 1), ([0, 0], 0), ([9, 1], 1.3841)]
)
def test_the_effective_number_is_that_of_equal_shares(counts, number):
    assert effective_number(np.array(counts)) == pytest.approx(number, abs=1e-4)
