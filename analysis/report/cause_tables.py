"""What becomes of answers when activations are changed, beside what every run is tested on.

The rows of causes.parquet, of single pairs of domains, become lines: means over the pairs that
stand in one relation to the test domain. Intervals of these are means too, as if the errors of
pairs were one: they are as wide as that of the mean or wider.
"""

from __future__ import annotations

import polars as pl

from analysis.report.sharing_tables import (
    ESTIMATE,
    KEYS,
    LAST,
    PLACE,
    by_target,
    complete_mean,
    reasons,
)
from analysis.report.study import StudyResults

INTO, INTO_HELD_OUT, AMONG, WITHIN = "into_seen", "into_held_out", "among_others", "within"
RANDOM, ELSEWHERE = "random", "other_class"
CLEAN, CLEAN_HELD_OUT = "clean_seen", "clean_held_out"
ERASED, ERASED_HELD_OUT, ERASED_RANDOM = "erased_seen", "erased_held_out", "erased_random"
FROM_TEST, FROM_TEST_HELD_OUT, TO_TEST = "from_test_seen", "from_test_held_out", "to_test_seen"
SOURCE, TARGET, TEST = pl.col("source"), pl.col("target"), pl.col("test_domain")
IS_SEEN, IS_HELD_OUT = pl.col("classes") == "seen", pl.col("classes") == "held_out"
IS_ALL = pl.col("classes") == "all"
IS_REAL = pl.col("control") == ""


def causes(results: StudyResults, test: str) -> pl.DataFrame:
    """The rows of one kind of test beside every target of their run: KEYS, and their own."""
    rows = results.analyses["causes"].filter(pl.col("test") == test)
    return by_target(results, rows)


def interchange_lines(results: StudyResults) -> pl.DataFrame:
    """How often an answer becomes the class that is put in, by site; see `lines_of`."""
    table = causes(results, "interchange").filter(quantity="interchange_accuracy")
    return lines_of(table, _exchanged())


def steering_lines(results: StudyResults) -> pl.DataFrame:
    """How often an answer becomes the class whose direction is added, by site and dose."""
    table = causes(results, "steering").filter(quantity="steered_accuracy")
    random = (pl.col("control") == RANDOM) & (TARGET == TEST) & IS_SEEN
    real = {name: line for name, line in _exchanged().items() if name not in (RANDOM, ELSEWHERE)}
    return lines_of(table, real | {RANDOM: random})


def shift_lines(results: StudyResults) -> pl.DataFrame:
    """Accuracy on the own class of images that are shifted to another domain, by site and dose."""
    table = causes(results, "steering").filter(quantity="shifted_accuracy")
    lines = {
        FROM_TEST: IS_REAL & (TARGET == TEST) & IS_SEEN,
        FROM_TEST_HELD_OUT: IS_REAL & (TARGET == TEST) & IS_HELD_OUT,
        TO_TEST: IS_REAL & (SOURCE == TEST) & IS_SEEN,
        RANDOM: (pl.col("control") == RANDOM) & (TARGET == TEST) & IS_SEEN,
    }
    return lines_of(table, lines)


def alignment_lines(results: StudyResults, quantity: str = "interchange_accuracy") -> pl.DataFrame:
    """How often an answer becomes the class whose coordinates are put in, by site and rank.

    The subspace is learnt without the test domain.

    Args:
        results: of the study.
        quantity: `kept_accuracy` where the coordinates are those of an image of the own class.
    """
    table = causes(results, "alignment").filter(SOURCE == TEST, quantity=quantity)
    here, seen = TARGET == TEST, IS_SEEN
    return lines_of(
        table,
        {
            INTO: IS_REAL & here & seen,
            INTO_HELD_OUT: IS_REAL & here & IS_HELD_OUT,
            AMONG: IS_REAL & ~here & seen,
            RANDOM: (pl.col("control") == RANDOM) & here & seen,
            ELSEWHERE: (pl.col("control") == "random_labels") & here & seen,
        },
    )


def erasure_lines(results: StudyResults) -> pl.DataFrame:
    """Accuracy in the test domain without what tells the other domains apart, by site."""
    table = causes(results, "erasure").filter(SOURCE == TEST, TARGET == TEST, quantity="accuracy")
    is_clean, is_erased = IS_REAL & (pl.col("dose") == 0), pl.col("dose") == 1
    lines = {
        CLEAN: is_clean & IS_SEEN,
        CLEAN_HELD_OUT: is_clean & IS_HELD_OUT,
        ERASED: is_erased & IS_REAL & IS_SEEN,
        ERASED_HELD_OUT: is_erased & IS_REAL & IS_HELD_OUT,
        ERASED_RANDOM: is_erased & (pl.col("control") == RANDOM) & IS_SEEN,
    }
    return lines_of(table, lines).drop("dose")


def _exchanged() -> dict[str, pl.Expr]:
    """Pairs of domains by their relation to the test domain, and the controls of the first."""
    into, seen = (SOURCE != TEST) & (TARGET == TEST), IS_SEEN
    return {
        INTO: IS_REAL & into & seen,
        INTO_HELD_OUT: IS_REAL & into & IS_HELD_OUT,
        AMONG: IS_REAL & (SOURCE != TEST) & (TARGET != TEST) & (SOURCE != TARGET) & seen,
        WITHIN: IS_REAL & (SOURCE == TEST) & (TARGET == TEST) & seen,
        RANDOM: (pl.col("control") == RANDOM) & into & seen,
        ELSEWHERE: (pl.col("control") == ELSEWHERE) & into & seen,
    }


def lines_of(table: pl.DataFrame, lines: dict[str, pl.Expr]) -> pl.DataFrame:
    """Means over the pairs of domains of every line.

    Args:
        table: `causes`, of one quantity.
        lines: which rows, by name; none lies in two.

    Returns:
        KEYS, PLACE, `primary` (whether it is of the run's last site before the embedding), `dose`,
        `line`, `value`, `lo`, `hi`, `n` (images of all pairs), `n_classes`, `chance`, `n_pairs`
        (behind the value), `not_estimable` (the others), `note`.
    """
    named = pl.lit(None, dtype=pl.String)
    for name, chosen in lines.items():
        named = pl.when(chosen).then(pl.lit(name)).otherwise(named)
    rows = table.with_columns(line=named).drop_nulls("line")
    known = pl.col("value").is_not_null()
    means = rows.group_by([*KEYS, *PLACE, "dose", "line"], maintain_order=True).agg(
        pl.col("value").mean(),
        **{name: complete_mean(pl.col(name).filter(known)) for name in ESTIMATE[1:]},
        n=pl.col("n").sum(),
        n_classes=pl.col("n_classes").min(),
        chance=pl.col("chance").first(),
        n_pairs=known.sum().cast(pl.Int64),
        not_estimable=(~known).sum().cast(pl.Int64),
        note=reasons(),
    )
    inner = pl.col("site") != LAST
    last = pl.col("depth").filter(inner).max().over("run")
    is_last = (inner & (pl.col("depth") == last)).fill_null(value=False)
    first = [*KEYS, *PLACE]
    return means.select(*first, is_last.alias("primary"), pl.exclude(first))


def over_doses(lines: pl.DataFrame) -> pl.DataFrame:
    """The primary site's lines with every dose in the place of a layer.

    Args:
        lines: `lines_of`.

    Returns:
        The same columns, `site` the dose as text, `depth` its rank.
    """
    here = lines.filter("primary").drop_nulls("dose")
    rank = (pl.col("dose").rank("dense") - 1).cast(pl.Int64)
    text = pl.col("dose").map_elements(lambda dose: f"{dose:g}", return_dtype=pl.String)
    return here.with_columns(depth=rank, site=text)


def departures(results: StudyResults) -> pl.DataFrame:
    """How far patched states are from those of training images; 1 is as far as unpatched ones.

    Returns:
        By `test`, KEYS without draw, PLACE and `dose`: the mean over pairs of different domains
        into the test domain, `value`, `lo`, `hi`, `n_pairs`, `note`.
    """
    rows = results.analyses["causes"].filter(
        pl.col("quantity").str.ends_with("knn_distance"), pl.col("draw").is_null()
    )
    table = by_target(results, rows).filter(TARGET == TEST, SOURCE != TARGET)
    keys = ["test", *(key for key in KEYS if key != "draw"), *PLACE, "dose"]
    return table.group_by(keys, maintain_order=True).agg(
        pl.col("value").mean(),
        **{name: complete_mean(pl.col(name)) for name in ESTIMATE[1:]},
        n_pairs=pl.len().cast(pl.Int64),
        note=reasons(),
    )


# ---------------------------------------------------------------------------- ablation

DIFFERENCE = "difference"
ABLATED = {"": "shared", "private": "private", "random": "random"}
"""which nodes are taken away, by the column `control`"""


def ablation_lines(results: StudyResults) -> pl.DataFrame:
    """What margins in the test domain lose without nodes that were chosen for it.

    Returns:
        KEYS, `classes`, `nodes` (`shared`, `private`, `random`, or DIFFERENCE: shared minus
        private, of the same images), `line` (both), `value`, `lo`, `hi`, `n` (images),
        `n_classes`, `chance` (0), `taken` (nodes that were taken away, mean over images) and
        `note`.
    """
    table = causes(results, "ablation").filter(SOURCE == TEST, TARGET == TEST, ~IS_ALL)
    is_loss = (pl.col("quantity") == "margin_loss") & (pl.col("dose") == 1)
    is_difference = pl.col("quantity") == "shared_minus_private"
    kind = pl.col("control").replace_strict(ABLATED, default=None, return_dtype=pl.String)
    nodes = pl.when(is_difference).then(pl.lit(DIFFERENCE)).when(is_loss).then(kind)
    counts = table.filter(quantity="nodes", control="")
    counts = counts.select(*KEYS, "classes", taken="value")
    rows = table.with_columns(nodes=nodes).drop_nulls("nodes")
    rows = rows.join(counts, on=[*KEYS, "classes"], how="left", maintain_order="left")
    line = pl.col("nodes") + pl.lit("_") + pl.col("classes")
    last = ["n", "n_classes", "chance", "taken", "note"]
    return rows.select(*KEYS, "classes", "nodes", line.alias("line"), *ESTIMATE, *last)
