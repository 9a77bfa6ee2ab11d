"""Findings of an audit: which checks there are, how bad each is, and what to do about it.

A check gives rows of a findings table: `mixture` ("" for what concerns no mixture), `check`,
`severity`, `count`, `detail`, `example`, and `subjects`: all the things that were counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

EXAMPLES = 3
"""things that a finding names"""

FINDINGS: dict[str, Any] = {
    "mixture": pl.String,
    "check": pl.String,
    "severity": pl.String,
    "count": pl.Int64,
    "detail": pl.String,
    "example": pl.String,
    "subjects": pl.List(pl.String),
}
Finding = dict[str, Any]


@dataclass(frozen=True)
class Check:
    """What a check means when it finds something.

    Attributes:
        severity: `error` (the experiment is invalid) or `warning` (look at it).
        counts: what it counts, in the plural.
        advice: what to do about it.
        place: where it looks when it does not look at a mixture.
    """

    severity: str
    counts: str
    advice: str
    place: str = "dataset"


CHECKS: dict[str, Check] = {
    "other_than_planned": Check(
        "error",
        "ids",
        "clipgen split build STUDY writes the mixture as the study describes it",
    ),
    "held_out_cell": Check(
        "error",
        "samples",
        "clipgen split build STUDY writes the mixture anew; train its runs again",
    ),
    "unknown_id": Check(
        "error",
        "ids",
        "import the dataset that the mixture was made of, or build the mixture of this one: "
        "clipgen split build STUDY",
    ),
    "test_sample_in_mixture": Check(
        "error",
        "samples",
        "clipgen split build STUDY writes the mixture anew; if the ids stand in train too, mend "
        "id_in_train_and_test first",
    ),
    "held_out_image_in_mixture": Check(
        "error",
        "test images",
        "delete the training or the test image from the source (folder and lists), and import "
        "the dataset again",
    ),
    "held_out_image_near_mixture": Check(
        "warning",
        "test images",
        "look at the pairs in near_duplicates.parquet; delete one image of those that are copies",
    ),
    "held_out_image_in_base": Check(
        "error",
        "test images",
        "delete the images that base_duplicates.parquet lists from the base's source, and import "
        "the base again",
        "base",
    ),
    "identical_image_in_base": Check(
        "warning",
        "test images",
        "tell their number with the results, or delete them from the base's source",
        "base",
    ),
    "near_duplicate_in_base": Check(
        "warning",
        "test images",
        "look at the pairs in base_duplicates.parquet, held-out classes first",
        "base",
    ),
    "caption_leak": Check(
        "warning", "captions", "tell the shares in caption_leaks.csv with the results", "base"
    ),
    "untestable_class": Check(
        "warning",
        "cells",
        "hold out classes that have test images there; the scores are of those that remain",
    ),
    "empty_cell": Check(
        "warning",
        "cells",
        "tell the cells with the results (findings.parquet has all), or leave the classes out of "
        "the dataset",
    ),
    "id_in_train_and_test": Check(
        "error", "ids", "let every id stand in one split, and make the dataset again"
    ),
    "instance_in_train_and_test": Check(
        "error",
        "instances",
        "put all images of an instance into one split, and make the dataset again",
    ),
    "drawing_in_both": Check(
        "error",
        "drawings",
        "take the drawings out of train or out of test_unseen_drawing, and make the dataset again",
    ),
    "identical_image": Check(
        "warning",
        "test images",
        "look at the images; delete one of each pair, or tell their number with the results",
    ),
    "near_duplicate": Check(
        "warning",
        "pairs of images",
        "look at the pairs in near_duplicates.parquet, those across train and test first",
    ),
    "near_duplicate_embedding": Check(
        "warning",
        "test images",
        "look at the pairs of kind embedding in near_duplicates.parquet, the nearest first",
    ),
}


def finding(
    check: str,
    subjects: Iterable[str],
    detail: str,
    *,
    mixture: str = "",
    examples: Iterable[str] | None = None,
    count: int | None = None,
) -> Finding:
    """A row of the findings table: `ok` where nothing was found.

    Args:
        check: a key of CHECKS.
        subjects: what was found, by the names of what the check counts.
        detail: a clause that goes on after the count.
        mixture: "" where the check looks at no mixture.
        examples: what to show instead of the first subjects.
        count: where the subjects are too many to name: how many there are.
    """
    names = list(subjects)
    number = len(names) if count is None else count
    return {
        "mixture": mixture,
        "check": check,
        "severity": CHECKS[check].severity if number else "ok",
        "count": number,
        "detail": detail if number else "",
        "example": "; ".join(list(names if examples is None else examples)[:EXAMPLES]),
        "subjects": names,
    }


def not_checked(
    check: str,
    why: str,
    *,
    mixture: str = "",
    subjects: Iterable[str] = (),
    count: int | None = None,
) -> Finding:
    """A row of the findings table for images that could not be looked at, and `why`."""
    row = finding(check, subjects, "", mixture=mixture, count=count)
    return row | {"severity": "not_checked", "detail": why}


def findings_table(rows: Sequence[Finding]) -> pl.DataFrame:
    """The findings, in the order in which they were made."""
    return pl.DataFrame(rows, schema=FINDINGS)


def pair_names(images: pl.DataFrame) -> list[str]:
    """The first images (`id`) with those that are equal to them (`same_as`), as examples."""
    pairs = images.select("id", "same_as").head(EXAMPLES)
    return [f"{one} = {other}" for one, other in pairs.iter_rows()]
