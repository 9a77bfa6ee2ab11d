"""The audit: is a mixture what its setting says, and are train and test apart?

Every check reads ids and the sample table, never the counts of a manifest. A check gives a row of
a findings table: `mixture` ("" for the dataset as a whole), `check`, `severity`, `count`,
`detail`, `example`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from splits.caption_leaks import CaptionLeaks
from splits.composition import CELL, Selection, empty_cells, named_cells
from splits.near_duplicates import NearDuplicates
from splits.settings import World

EXAMPLES = 3
"""ids that a finding names"""
NO_HASHES = "not checked: the dataset has no perceptual hashes"

FINDINGS: dict[str, Any] = {
    "mixture": pl.String,
    "check": pl.String,
    "severity": pl.String,
    "count": pl.Int64,
    "detail": pl.String,
    "example": pl.String,
}
Finding = dict[str, Any]


@dataclass(frozen=True)
class Check:
    """What a check means when it finds something.

    Attributes:
        severity: `error` (the experiment is invalid) or `warning` (look at it).
        advice: what to do about it.
    """

    severity: str
    advice: str


REBUILD = "build the mixtures again: delete their folders, then clipgen split build STUDY"
DATASET = "mend the dataset and build or import it again"
CHECKS: dict[str, Check] = {
    "other_than_planned": Check("error", REBUILD),
    "held_out_cell": Check("error", REBUILD),
    "unknown_id": Check("error", REBUILD),
    "test_sample_in_mixture": Check("error", REBUILD),
    "held_out_image_in_mixture": Check(
        "error", "take the image out of the training or the test list of the dataset"
    ),
    "held_out_image_near_mixture": Check("warning", "look at the pairs in near_duplicates.parquet"),
    "empty_cell": Check("warning", "tell it with the results, or take the class out"),
    "id_in_train_and_test": Check("error", DATASET),
    "instance_in_train_and_test": Check("error", DATASET),
    "drawing_in_both": Check("error", DATASET),
    "identical_image": Check("warning", "look at the images; take one out of its list"),
    "near_duplicate": Check("warning", "look at the pairs in near_duplicates.parquet"),
    "near_duplicate_embedding": Check("warning", "look at the pairs in near_duplicates.parquet"),
    "caption_leak": Check("warning", "tell the shares in caption_leaks.csv with the results"),
}


def finding(
    check: str, mixture: str, count: int, detail: str = "", examples: Iterable[str] = ()
) -> Finding:
    """A row of the findings table: `ok` where the count is 0."""
    return {
        "mixture": mixture,
        "check": check,
        "severity": CHECKS[check].severity if count else "ok",
        "count": count,
        "detail": detail if count else "",
        "example": "; ".join(list(examples)[:EXAMPLES]),
    }


def not_checked(check: str, mixture: str, why: str, count: int = 0) -> Finding:
    """A row of the findings table for what could not be looked at, and `why`."""
    row = finding(check, mixture, 0)
    return row | {"severity": "not_checked", "count": count, "detail": why}


def findings_table(rows: Sequence[Finding]) -> pl.DataFrame:
    """The findings, in the order in which they were made."""
    return pl.DataFrame(rows, schema=FINDINGS)


# ---------------------------------------------------------------------------- dataset


def audit_dataset(samples: pl.DataFrame) -> list[Finding]:
    """Are train and test apart, whatever the mixture?

    Args:
        samples: the sample table (`id`, `split`, `domain`, `class_name`, `instance`, `drawing`,
            `sha256`).
    """
    ids, instances = (_in_several_splits(samples, column) for column in ("id", "instance"))
    images = _test_images_in_train(samples)
    return [
        finding("id_in_train_and_test", "", len(ids), "ids stand in two splits", ids),
        finding(
            "instance_in_train_and_test", "", len(instances), "instances in two splits", instances
        ),
        _drawings_in_both(samples),
        finding(
            "identical_image", "", images.height, _identical_detail(images), _pair_names(images)
        ),
    ]


def _in_several_splits(samples: pl.DataFrame, column: str) -> list[str]:
    known = samples.filter(pl.col(column) != "")
    splits = known.group_by(column).agg(pl.col("split").n_unique())
    return splits.filter(pl.col("split") > 1)[column].sort().to_list()


def _drawings_in_both(samples: pl.DataFrame) -> Finding:
    check, key = "drawing_in_both", ["class_name", "drawing"]
    drawn = samples.filter(pl.col("drawing") != "")
    unseen = drawn.filter(split="test_unseen_drawing").select(key).unique()
    if unseen.is_empty():
        return not_checked(check, "", "not applicable: the dataset has no test_unseen_drawing")
    both = unseen.join(drawn.filter(split="train"), on=key, how="semi").sort(key)
    names = (f"{drawing} ({name})" for name, drawing in both.iter_rows())
    return finding(check, "", both.height, "drawings of test_unseen_drawing are in train", names)


def _test_images_in_train(samples: pl.DataFrame) -> pl.DataFrame:
    """Test samples whose encoded image is also in train: `id`, `domain`, `same_as`."""
    train = samples.filter(pl.col("split") == "train").sort("id")
    first = train.unique("sha256", keep="first", maintain_order=True)
    test = samples.filter(pl.col("split") != "train")
    return (
        test.join(first.select("sha256", same_as="id", same_domain="domain"), on="sha256")
        .select("id", "domain", "same_as", "same_domain")
        .sort("id")
    )


def _identical_detail(images: pl.DataFrame) -> str:
    elsewhere = images.filter(pl.col("domain") != pl.col("same_domain")).height
    return f"test images that are also in train, {elsewhere} of them in another domain"


def _pair_names(images: pl.DataFrame) -> list[str]:
    return [f"{one} = {other}" for one, other in images.select("id", "same_as").head(3).iter_rows()]


def audit_near_duplicates(near: NearDuplicates, samples: int, distance: int) -> list[Finding]:
    """The findings on perceptual hashes, for the dataset as a whole.

    Args:
        near: `find_near_duplicates`.
        samples: number of samples of the dataset.
        distance: in bits, of the search.
    """
    check = "near_duplicate"
    missing = near.without_hash
    rows = []
    if missing:
        why = NO_HASHES if missing == samples else "not checked: samples without a perceptual hash"
        rows.append(not_checked(check, "", why, missing))
    if missing < samples:
        across = (pl.col("split_a") == "train") != (pl.col("split_b") == "train")
        pairs, leaks = (
            int(part["pairs"].sum()) for part in (near.counts, near.counts.filter(across))
        )
        detail = f"pairs within {distance} bits, {leaks} of them across train and test"
        if near.left_out:
            detail += f" (near_duplicates.parquet leaves {near.left_out} rows out)"
        examples = near.rows.head(EXAMPLES).select("id_a", "id_b", "distance").iter_rows()
        rows.append(
            finding(
                check, "", pairs, detail, (f"{a} ~ {b} ({bits} bits)" for a, b, bits in examples)
            )
        )
    return rows


def audit_embeddings(twins: pl.DataFrame, tests: int, cosine: float) -> Finding:
    """The finding on image embeddings of a trained model.

    Args:
        twins: rows of the table of near duplicates, one per test image with a near training image.
        tests: test images that were compared.
        cosine: from which two images count as near.
    """
    detail = f"of {tests} test images have a training image at a cosine of at least {cosine:g}"
    examples = twins.head(EXAMPLES).select("id_b", "id_a", "cosine").iter_rows()
    names = (f"{test} ~ {train} (cosine {value:.3f})" for test, train, value in examples)
    return finding("near_duplicate_embedding", "", twins.height, detail, names)


def audit_captions(leaks: CaptionLeaks) -> list[Finding]:
    """The findings on a base's captions, one per draw of held-out classes."""
    rows = []
    for draw, count in enumerate(leaks.by_draw):
        detail = f"of {leaks.captions} captions of the base name a held-out class of draw {draw}"
        classes = leaks.by_class.filter(pl.col("draw") == draw, pl.col("captions") > 0)
        most = classes.sort("captions", descending=True).select("class_name", "captions")
        names = (f"{name} ({captions})" for name, captions in most.iter_rows())
        rows.append(finding("caption_leak", "", count, detail, names))
    return rows


# ---------------------------------------------------------------------------- mixtures


def audit_selection(
    selection: Selection, world: World, samples: pl.DataFrame, near: NearDuplicates | None
) -> list[Finding]:
    """Does a mixture hold what its setting shows, and nothing that is tested?

    Args:
        selection: the mixture.
        world: names the rows and columns of `selection.exposure`.
        samples: the sample table, as in `audit_dataset`, and `phash` where `near` is given.
        near: near duplicates of the dataset, or None where it has no perceptual hashes.
    """
    name = selection.name
    ids = selection.ids.unique().alias("id").to_frame()
    strangers = ids.join(samples, on="id", how="anti")["id"].sort()
    chosen = samples.join(ids, on="id", how="semi")
    tested = chosen.filter(pl.col("split") != "train")["id"].unique().sort()
    empty = empty_cells(selection, world, samples)
    return [
        finding("unknown_id", name, len(strangers), "ids are not in the dataset", strangers),
        finding("test_sample_in_mixture", name, len(tested), "test samples", tested),
        _hidden(selection, world, chosen),
        finding("empty_cell", name, len(empty), "cells without a sample are shown", empty),
        *_tested_images(selection, samples, chosen.filter(pl.col("split") == "train"), near),
    ]


def audit_plan(selection: Selection, planned: pl.Series) -> Finding:
    """Does the mixture that is written hold the samples that the study plans?"""
    written, plan = (ids.value_counts() for ids in (selection.ids.alias("id"), planned.alias("id")))
    more, less = (
        one.join(other, on=["id", "count"], how="anti", nulls_equal=True)["id"].sort()
        for one, other in ((written, plan), (plan, written))
    )
    detail = f"{len(more)} ids are not planned, or not so often; {len(less)} that are planned lack"
    wrong = len(set(more) | set(less))
    return finding("other_than_planned", selection.name, wrong, detail, [*more, *less])


def _hidden(selection: Selection, world: World, chosen: pl.DataFrame) -> Finding:
    """Samples of cells that the setting does not show."""
    shown = named_cells(selection.exposure > 0, world)
    hidden = chosen.join(shown, on=CELL, how="anti").sort("id")
    held_out = (pl.col("domain") == selection.test_domain) & pl.col("class_name").is_in(
        selection.held_out
    )
    detail = "samples of cells that the setting hides, "
    detail += f"{hidden.filter(held_out).height} of them held-out classes in the test domain"
    rows = hidden.select("id", *CELL).iter_rows()
    examples = (f"{name} ({domain}, {class_name})" for name, domain, class_name in rows)
    return finding("held_out_cell", selection.name, hidden.height, detail, examples)


def _tested_images(
    selection: Selection, samples: pl.DataFrame, trained: pl.DataFrame, near: NearDuplicates | None
) -> list[Finding]:
    """Test images of the held-out classes in the test domain that the mixture shows all the same.

    They are the images on which a study's main result rests.
    """
    headline = samples.filter(
        pl.col("split") != "train",
        pl.col("domain") == selection.test_domain,
        pl.col("class_name").is_in(selection.held_out),
    )
    identical = _test_images_in_train(pl.concat([trained, headline]))
    rows = [
        finding(
            "held_out_image_in_mixture",
            selection.name,
            identical.height,
            f"of {headline.height} test images of held-out classes are in the mixture",
            _pair_names(identical),
        )
    ]
    check = "held_out_image_near_mixture"
    if near is None:
        rows.append(not_checked(check, selection.name, NO_HASHES))
        return rows
    seen = near.rows.filter(
        pl.col("split_a") == "train",
        pl.col("split_b") != "train",
        pl.col("phash_a").is_in(trained["phash"].drop_nulls().unique().implode()),
    )
    close = headline.filter(pl.col("phash").is_in(seen["phash_b"].unique().implode()))
    detail = f"of {headline.height} test images of held-out classes have a near duplicate in it"
    if near.left_out:
        detail = f"at least: {detail}"
    rows.append(finding(check, selection.name, close.height, detail, close["id"].sort()))
    return rows
