"""Images that a base shares with the test images of a dataset: byte for byte, or nearly.

Only test images are compared with the base, not the base with itself: the base is read in batches
and never held in memory, and what is kept grows with the test images alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from splits.composition import CELL
from splits.findings import EXAMPLES, Finding, finding, not_checked, pair_names
from splits.near_duplicates import (
    MAX_ROWS,
    ROWS,
    HashIndex,
    Kept,
    NearDuplicates,
    group_rows,
    hash_groups,
)

COLUMNS = ["id", "split", "domain", "class_name", "sha256", "phash"]
MERGED = ["id_a", "class_a", "samples_a"]
"""of the rows of one hash of the base, which every batch may add to"""


@dataclass(frozen=True)
class BaseImages:
    """What a base holds of the test images.

    Attributes:
        images: images of the base that were read.
        tests: the test samples.
        identical: one row per test sample whose encoded image is in the base: the table's
            COLUMNS, and `same_as` and `same_domain` of the first such image of the base.
        near: pairs of groups of samples, as in `NearDuplicates`: a is the base, b the test side;
            `without_hash` counts images of the base.
        close: the test samples that have a near image in the base.
    """

    images: int
    tests: pl.DataFrame
    identical: pl.DataFrame
    near: NearDuplicates
    close: pl.DataFrame

    @property
    def rows(self) -> pl.DataFrame:
        """All pairs as rows of the table of near duplicates, byte for byte equal ones first."""
        sides = {"id_b": "id", "split_b": "split", "domain_b": "domain", "class_b": "class_name"}
        same = self.identical.select(
            kind=pl.lit("identical_image"),
            split_a=pl.lit("train"),
            id_a="same_as",
            domain_a="same_domain",
            **sides,
        )
        return pl.concat([pl.DataFrame(schema=ROWS), same, self.near.rows], how="diagonal")


def find_in_base(
    samples: pl.DataFrame,
    batches: Iterable[pl.DataFrame],
    distance: int,
    *,
    most: int = MAX_ROWS,
) -> BaseImages:
    """Look for the test images of a dataset in a base.

    Args:
        samples: the sample table, with COLUMNS; those that are not of split `train` are tests.
        batches: the base's sample table with COLUMNS, in parts that fit in memory.
        distance: bits in which two hashes may differ, 0 to `near_duplicates.MAX_DISTANCE`.
        most: pairs of groups to list; all are counted.
    """
    tests = samples.filter(pl.col("split") != "train").select(COLUMNS)
    images, same = 0, _first_ids(tests.clear())
    near = _NearTests(tests, distance, most)
    for batch in batches:
        images += batch.height
        known = batch.join(tests, on="sha256", how="semi")
        same = pl.concat([same, _first_ids(known)]).unique(
            "sha256", keep="first", maintain_order=True
        )
        near.add(batch)
    identical = tests.join(same, on="sha256").sort("id")
    return BaseImages(images, tests, identical, near.result(), near.close())


def _first_ids(rows: pl.DataFrame) -> pl.DataFrame:
    first = rows.unique("sha256", keep="first", maintain_order=True)
    return first.select("sha256", same_as="id", same_domain="domain")


class _NearTests:
    """The search for near images, batch after batch of the base."""

    def __init__(self, tests: pl.DataFrame, distance: int, most: int) -> None:
        self.tests = tests
        hashes = tests["phash"].drop_nulls().unique().sort()
        numbers = hashes.to_frame().with_row_index("hash")
        self.groups = hash_groups(tests.drop_nulls("phash")).join(numbers, on="phash")
        self.index = HashIndex(hashes.to_numpy(), distance)
        self.found = np.zeros(len(hashes), dtype=bool)
        self.kept, self.bare = Kept(most), 0

    def add(self, batch: pl.DataFrame) -> None:
        hashed = batch.drop_nulls("phash")
        self.bare += batch.height - hashed.height
        hashes = hashed["phash"].unique().sort()
        numbers = hashes.to_frame().with_row_index("hash")
        groups: pl.DataFrame | None = None
        for left, right, bits in self.index.near(hashes.to_numpy()):
            if not len(left):
                continue
            if groups is None:
                groups = hash_groups(hashed).join(numbers, on="phash")
            self.found[right] = True
            self.kept.add(group_rows(left, right, bits, groups, self.groups).select(*ROWS))

    def result(self) -> NearDuplicates:
        """The pairs, where a hash of the base is one group, whichever batches it stands in."""
        key = [name for name in ROWS if name not in MERGED]
        merged: dict[str, Any] = {name: pl.col(name).first() for name in MERGED[:2]}
        merged["samples_a"] = pl.col("samples_a").sum()
        rows = pl.concat(self.kept.rows).group_by(key, maintain_order=True).agg(**merged)
        self.kept.rows = [rows.select(*ROWS)]
        return self.kept.result(self.bare)

    def close(self) -> pl.DataFrame:
        hashes = pl.Series("phash", self.index.hashes[self.found], dtype=pl.UInt64)
        return self.tests.join(hashes.to_frame(), on="phash", how="semi").sort("id")


# ---------------------------------------------------------------------------- findings


def audit_base_images(found: BaseImages, held_out: pl.DataFrame, distance: int) -> list[Finding]:
    """The findings on a base's images.

    Args:
        found: `find_in_base`.
        held_out: the cells (`domain`, `class_name`) in which a class is held out and tested.
        distance: in bits, of the search.
    """
    main, same = (
        table.join(held_out, on=CELL, how="semi") for table in (found.tests, found.identical)
    )
    rest = found.identical.join(held_out, on=CELL, how="anti")
    others = found.tests.height - main.height
    return [
        finding(
            "held_out_image_in_base",
            same["id"],
            f"of {main.height} test images of held-out classes are byte for byte in the base",
            examples=pair_names(same),
        ),
        finding(
            "identical_image_in_base",
            rest["id"],
            f"of {others} other test images are byte for byte in the base",
            examples=pair_names(rest),
        ),
        *_near_findings(found, held_out, distance),
    ]


def _near_findings(found: BaseImages, held_out: pl.DataFrame, distance: int) -> list[Finding]:
    check = "near_duplicate_in_base"
    bare = int(found.tests["phash"].null_count())
    rows = []
    if bare or found.near.without_hash:
        why = (
            "not compared: images without a perceptual hash "
            f"({bare} test images, {found.near.without_hash} of the base)"
        )
        rows.append(not_checked(check, why, count=bare + found.near.without_hash))
    if bare == found.tests.height or found.near.without_hash == found.images:
        return rows
    main = found.close.join(held_out, on=CELL, how="semi").height
    detail = (
        f"of {found.tests.height} test images have an image within {distance} bits in the base "
        f"({found.near.pairs} pairs), {main} of them of held-out classes"
    )
    if found.near.left_out:
        detail += f" (base_duplicates.parquet leaves {found.near.left_out} rows out)"
    shown = found.near.rows.head(EXAMPLES).select("id_b", "id_a", "distance").iter_rows()
    names = [f"{test} ~ {image} ({bits} bits)" for test, image, bits in shown]
    rows.append(finding(check, found.close["id"], detail, examples=names))
    return rows
