"""How alike images and sentences are, and how far apart: results → tables.

A run that serves several targets (test domain, draw of held-out classes) has its rows once for
each of them. What cannot be estimated is null, with the reason in `note`.
"""

from __future__ import annotations

import polars as pl

from analysis.modal_cells import TEXT
from analysis.modality_sharing import RELATIVE, UNTRAINED
from analysis.report.circuit_tables import NODES
from analysis.report.sharing_tables import (
    LAST,
    RESIDUAL,
    by_target,
    complete_mean,
    pairs_of,
    primary_site,
    reasons,
)
from analysis.report.study import StudyResults

ANY_BASIS, SAME_BASIS = "cka_nc", "s_id_nc"
"""measures of class means: one that two towers have at all sites, and one of one basis"""
NODE_INDEX, NODE_JACCARD = "jaccard_norm", "jaccard"
"""measures of nodes, from floor to ceiling and as it is"""
LINES = ("text", "text_untrained", "images")
"""what a test domain's images are apart from: sentences, the same before training, other images"""


def modality_pairs(results: StudyResults) -> pl.DataFrame:
    """Sharing of every image domain with sentences, in the columns of `sharing_pairs`.

    `pairs` is `with_test_domain` where the images are of the test domain. The primary site is that
    of the study; of nodes it is all of them together.
    """
    rows = results.analyses["modality_sharing"]
    is_nodes = pl.col("site") == NODES
    return pairs_of(results, rows, (primary_site(results.plan) | is_nodes).fill_null(value=False))


def gap_lines(results: StudyResults) -> pl.DataFrame:
    """How far images of a test domain lie from sentences, and from images of other domains.

    Distances of means over the spread within classes (`analysis.modality_sharing`).

    Returns:
        By test domain and run: `test_domain`, `setting`, `draw` (null), `seed`, `run`, `site`,
        `level`, `depth`, `apart_from` (out of LINES), `value`, `lo`, `hi`, `n`, `note`, `chance`
        (null: there is none), `primary`. Of `images` the mean over the other domains, with the mean
        of their intervals, which is as wide as that of the mean or wider.
    """
    rows = results.analyses["modality_gaps"].with_columns(draw=pl.lit(None, dtype=pl.Int64))
    table = by_target(results, rows).filter(pl.col("quantity").is_in([RELATIVE, UNTRAINED]))
    is_first = pl.col("domain_a") == pl.col("test_domain")
    is_here = is_first | (pl.col("domain_b") == pl.col("test_domain"))
    spoken = pl.when(pl.col("quantity") == UNTRAINED).then(pl.lit(LINES[1]))
    named = table.filter(is_here).with_columns(
        apart_from=pl.when(pl.col("domain_b") != TEXT)
        .then(pl.lit(LINES[2]))
        .otherwise(spoken.otherwise(pl.lit(LINES[0])))
    )
    keys = ["test_domain", "setting", "draw", "seed", "run", "site", "level", "depth", "apart_from"]
    known = pl.col("value").is_not_null()
    means = named.group_by(keys, maintain_order=True).agg(
        pl.col("value").mean(),
        *(complete_mean(pl.col(name).filter(known)) for name in ("lo", "hi")),
        n=pl.col("n").min(),
        note=reasons(),
        chance=pl.lit(None, dtype=pl.Float64).first(),
    )
    return means.with_columns(primary=primary_site(results.plan))


def told_sites(pairs: pl.DataFrame) -> pl.DataFrame:
    """Rows of the sites of which a section speaks: the primary one, and the embedding."""
    is_last = (pl.col("site") == LAST) & (pl.col("level") == RESIDUAL)
    return pairs.filter(pl.col("primary") | is_last)
