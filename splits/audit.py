"""The audit: is a mixture what its setting says, and are train and test apart?

Every check reads ids and the sample table, never the counts of a manifest, and gives rows of the
findings table (`splits.findings`).
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from splits.caption_leaks import CaptionLeaks
from splits.composition import CELL, Selection, empty_cells, named_cells
from splits.findings import EXAMPLES, Finding, finding, not_checked, pair_names
from splits.near_duplicates import NearDuplicates
from splits.settings import World

NO_HASHES = "not checked: the dataset has no perceptual hashes"
SOME_HASHES = "not compared: images without a perceptual hash (flat ones have none)"


# ---------------------------------------------------------------------------- dataset


def audit_dataset(samples: pl.DataFrame) -> list[Finding]:
    """Are train and test apart, whatever the mixture?

    Args:
        samples: the sample table (`id`, `split`, `domain`, `class_name`, `instance`, `drawing`,
            `sha256`).
    """
    ids, instances = (_in_several_splits(samples, column) for column in ("id", "instance"))
    tests = samples.filter(pl.col("split") != "train").height
    images = _test_images_in_train(samples)
    elsewhere = images.filter(pl.col("domain") != pl.col("same_domain")).height
    detail = f"of {tests} test images are also in train, {elsewhere} of them in another domain"
    return [
        finding("id_in_train_and_test", ids, "ids that stand in two splits"),
        finding("instance_in_train_and_test", instances, "instances that stand in two splits"),
        _drawings_in_both(samples),
        finding("identical_image", images["id"], detail, examples=pair_names(images)),
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
        return not_checked(check, "not applicable: the dataset has no test_unseen_drawing")
    both = unseen.join(drawn.filter(split="train"), on=key, how="semi").sort(key)
    names = (f"{drawing} ({name})" for name, drawing in both.iter_rows())
    return finding(check, names, f"of {unseen.height} drawings of test_unseen_drawing are in train")


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
        why = NO_HASHES if missing == samples else SOME_HASHES
        rows.append(not_checked(check, why, count=missing))
    if missing < samples:
        across = (pl.col("split_a") == "train") != (pl.col("split_b") == "train")
        leaks = int(near.counts.filter(across)["pairs"].sum())
        detail = f"pairs within {distance} bits, {leaks} of them across train and test"
        if near.left_out:
            detail += f" (near_duplicates.parquet leaves {near.left_out} rows out)"
        examples = near.rows.head(EXAMPLES).select("id_a", "id_b", "distance").iter_rows()
        names = [f"{a} ~ {b} ({bits} bits)" for a, b, bits in examples]
        rows.append(finding(check, [], detail, examples=names, count=near.pairs))
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
    names = [f"{test} ~ {train} (cosine {value:.3f})" for test, train, value in examples]
    return finding("near_duplicate_embedding", twins["id_b"], detail, examples=names)


def audit_captions(leaks: CaptionLeaks) -> Finding:
    """The finding on a base's captions, over all draws of held-out classes."""
    detail = f"of {leaks.captions} captions of the base name a held-out class"
    if len(leaks.by_draw) > 1:
        detail += f" (one of a single draw: {min(leaks.by_draw)} to {max(leaks.by_draw)})"
    classes = leaks.by_class.filter(pl.col("captions") > 0).unique("class_name")
    most = classes.sort(["captions", "class_name"], descending=[True, False])
    names = [f"{row['class_name']} ({row['captions']})" for row in most.iter_rows(named=True)]
    return finding("caption_leak", [], detail, examples=names, count=leaks.of_any_draw)


def audit_testable(
    samples: pl.DataFrame, test_domain: str, draw: int, held_out: Sequence[str]
) -> Finding:
    """Which classes of a draw are held out in a test domain and never tested there?

    Args:
        samples: the sample table (`split`, `domain`, `class_name`).
        test_domain: the domain that is tested.
        draw: number of the draw.
        held_out: its classes.
    """
    tests = samples.filter(pl.col("split") != "train", pl.col("domain") == test_domain)
    missing = sorted(set(held_out) - set(tests["class_name"].unique()))
    detail = (
        f"of {len(held_out)} held-out classes of draw {draw} have no test image in {test_domain}; "
        f"that leaves {len(held_out) - len(missing)}"
    )
    return finding("untestable_class", (f"{test_domain}/{name}" for name in missing), detail)


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
    shown = "of the cells that the setting shows have no sample"
    return [
        finding("unknown_id", strangers, "ids that the dataset does not have", mixture=name),
        finding("test_sample_in_mixture", tested, "test samples", mixture=name),
        _hidden(selection, world, chosen),
        finding("empty_cell", empty, shown, mixture=name),
        *_tested_images(selection, samples, chosen.filter(pl.col("split") == "train"), near),
    ]


def audit_plan(selection: Selection, planned: pl.Series) -> Finding:
    """Does the mixture that is written hold the samples that the study plans?"""
    written, plan = (ids.value_counts() for ids in (selection.ids.alias("id"), planned.alias("id")))
    more, less = (
        one.join(other, on=["id", "count"], how="anti", nulls_equal=True)["id"].sort()
        for one, other in ((written, plan), (plan, written))
    )
    detail = (
        f"ids that differ: {len(more)} are not planned, or not so often; {len(less)} that are "
        "planned are missing, or not there so often"
    )
    wrong = dict.fromkeys([*more, *less])
    return finding("other_than_planned", wrong, detail, mixture=selection.name)


def _hidden(selection: Selection, world: World, chosen: pl.DataFrame) -> Finding:
    """Samples of cells that the setting does not show."""
    shown = named_cells(selection.exposure > 0, world)
    hidden = chosen.join(shown, on=CELL, how="anti").sort("id")
    held_out = (pl.col("domain") == selection.test_domain) & pl.col("class_name").is_in(
        selection.held_out
    )
    detail = "samples of cells that the setting hides, "
    detail += f"{hidden.filter(held_out).height} of them held-out classes in the test domain"
    rows = hidden.select("id", *CELL).head(EXAMPLES).iter_rows()
    examples = [f"{name} ({domain}, {class_name})" for name, domain, class_name in rows]
    return finding("held_out_cell", hidden["id"], detail, mixture=selection.name, examples=examples)


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
    return [
        finding(
            "held_out_image_in_mixture",
            identical["id"],
            f"of {headline.height} test images of held-out classes are in the mixture",
            mixture=selection.name,
            examples=pair_names(identical),
        ),
        *_tested_images_near(selection.name, headline, trained, near),
    ]


def _tested_images_near(
    mixture: str, headline: pl.DataFrame, trained: pl.DataFrame, near: NearDuplicates | None
) -> list[Finding]:
    check = "held_out_image_near_mixture"
    if near is None:
        return [not_checked(check, NO_HASHES, mixture=mixture)]
    seen = near.rows.filter(
        pl.col("split_a") == "train",
        pl.col("split_b") != "train",
        pl.col("phash_a").is_in(trained["phash"].drop_nulls().unique().implode()),
    )
    close = headline.filter(pl.col("phash").is_in(seen["phash_b"].unique().implode()))
    detail = f"of {headline.height} test images of held-out classes have a near duplicate in it"
    if near.left_out:
        detail = f"at least: {detail}"
    rows = [finding(check, close["id"].sort(), detail, mixture=mixture)]
    bare = headline.filter(pl.col("phash").is_null())["id"].sort()
    if len(bare):
        rows.append(not_checked(check, SOME_HASHES, mixture=mixture, subjects=bare))
    return rows
