"""A study that could test nothing is refused before anything is trained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from gen.sweep.checks import check_base, check_dataset, check_testable
from splits.errors import UserError

ROWS = [("sketch", "axe"), ("sketch", "bed"), ("clipart", "axe"), ("clipart", "cat")]
DATASET = SimpleNamespace(
    name="mine",
    folder=Path("data/mine"),
    is_base=False,
    comparable_classes=["axe"],
    samples=pl.DataFrame(
        [(domain, name, "test") for domain, name in ROWS] + [("sketch", "cat", "train")],
        ["domain", "class_name", "split"],
        orient="row",
    ),
)


def test_held_out_classes_that_no_test_image_shows_are_refused():
    with pytest.raises(UserError, match=r"none of the held-out classes .* in `sketch`: cat"):
        check_testable(DATASET, ["clipart", "sketch"], [("axe",), ("cat",)])


def test_one_class_that_can_be_tested_is_enough():
    check_testable(DATASET, ["sketch", "clipart"], [("axe", "cat"), ("bed", "cat")])


def test_a_dataset_with_too_few_comparable_classes_is_refused():
    with pytest.raises(UserError, match="1 classes have two test images in every domain"):
        check_dataset(DATASET)


def test_a_base_is_no_dataset_to_test_and_a_dataset_is_no_base():
    base = SimpleNamespace(**(vars(DATASET) | {"is_base": True}))
    with pytest.raises(UserError, match="has no classes to test"):
        check_dataset(base)
    with pytest.raises(UserError, match="and is no base"):
        check_base(DATASET)
    check_base(base)
