"""How alike domains are, beside what every run is tested on: results → tables.

A run that serves several targets (test domain, draw of held-out classes) has its rows once for
each of them. What cannot be estimated is null, with the reason in `note`.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from analysis.report.contrasts import CONTRASTS, Contrast
from analysis.report.study import StudyPlan, StudyResults
from analysis.report.tables import served

KEYS = ["test_domain", "setting", "draw", "seed", "run"]
PLACE = ["level", "site", "depth"]
LAST = "embedding"
"""the site whose sharing the scores themselves are made of"""
RESIDUAL = "residual"
SHARED = "seen"
"""class set of sharing: other classes than those of the accuracy that it is held against"""
ESTIMATE = ["value", "lo", "hi"]
BANDS = ["chance", "chance_lo", "chance_hi", "ceiling", "floor"]
GROUPS = ("with_test_domain", "others")
SAME_PLACE = ["test_domain", "draw", "seed", *PLACE, "primary", "measure", "classes"]
SAME_PAIR = ["domain_a", "domain_b", "n"]
"""what two settings are compared in"""


def by_target(results: StudyResults, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of an analysis beside every target that their run serves, in the grid's order.

    Args:
        results: of the study.
        rows: with `run` and `draw`; a null draw is of every class.

    Returns:
        `test_domain`, `setting`, `draw`, `seed`, `run`, then the other columns. Rows without draw
        stand there once per run and test domain.
    """
    rows = rows.drop("setting", "seed")
    grid = served(results).select(KEYS)
    of_draw = grid.join(rows.drop_nulls("draw"), on=["run", "draw"])
    whole = grid.drop("draw").unique(maintain_order=True)
    of_all = whole.join(rows.filter(pl.col("draw").is_null()), on="run").select(of_draw.columns)
    return in_order(results.plan, pl.concat([of_draw, of_all]))


def in_order(plan: StudyPlan, table: pl.DataFrame) -> pl.DataFrame:
    """Rows by test domain, setting, draw and seed; otherwise as they were."""
    order = {"test_domain": plan.test_domains, "setting": plan.settings}
    ranks = [pl.col(key).cast(pl.Enum(values)).to_physical() for key, values in order.items()]
    return table.sort(*ranks, "draw", "seed", nulls_last=True, maintain_order=True)


def sharing_pairs(results: StudyResults) -> pl.DataFrame:
    """Similarity of every pair of domains at every site of the final weights.

    Columns: KEYS, PLACE, `measure`, `classes` (`seen`, `held_out`, or `all`, whose draw is null),
    `domain_a`, `domain_b`, `pairs` (`with_test_domain`, `others`), `primary` (whether it is the
    study's primary site), `value`, `lo`, `hi`, `n` (classes), `chance`, `chance_lo`, `chance_hi`,
    `ceiling`, `floor`, `note`.
    """
    return _pairs(results, results.analyses["similarity"].filter("final")).drop("samples_seen")


def _pairs(results: StudyResults, similarity: pl.DataFrame) -> pl.DataFrame:
    two = similarity.filter(pl.col("domain_a") != pl.col("domain_b"))
    table = by_target(results, two).with_columns(
        pairs=pl.when(
            (pl.col("domain_a") == pl.col("test_domain"))
            | (pl.col("domain_b") == pl.col("test_domain"))
        )
        .then(pl.lit(GROUPS[0]))
        .otherwise(pl.lit(GROUPS[1])),
        primary=primary_site(results.plan),
    )
    first = [*KEYS, *PLACE, "measure", "classes", "domain_a", "domain_b", "pairs", "primary"]
    return table.select(*first, *ESTIMATE, "n", *BANDS, "note", "samples_seen")


def primary_site(plan: StudyPlan) -> pl.Expr:
    """Whether a row is of the study's primary site: the named one, or a run's last before LAST."""
    if plan.primary[0]:
        return pl.col("site") == plan.primary[0]
    inner = (pl.col("level") == RESIDUAL) & (pl.col("site") != LAST)
    return (inner & (pl.col("depth") == pl.col("depth").filter(inner).max().over("run"))).fill_null(
        value=False
    )


def sharing(pairs: pl.DataFrame) -> pl.DataFrame:
    """Means over pairs of domains: those with the test domain, and all others.

    Intervals and bands are means over pairs, as if their errors were one: those of the mean are
    at most as wide, however the pairs' errors depend on each other.

    Args:
        pairs: `sharing_pairs`.

    Returns:
        KEYS, PLACE, `primary`, `measure`, `classes`, `pairs`, then the means of the pairs that
        have a value: `value`, `lo`, `hi`, `chance`, `chance_lo`, `chance_hi`, `ceiling`, `floor`
        (null where one of them has none); `n` (classes), `n_pairs` (behind the mean),
        `not_estimable` (pairs without value), `note` (why).
    """
    keys = [*KEYS, *PLACE, "primary", "measure", "classes", "pairs"]
    known = pl.col("value").is_not_null()
    return pairs.group_by(keys, maintain_order=True).agg(
        *(complete_mean(pl.col(name).filter(known)) for name in (*ESTIMATE, *BANDS)),
        n=pl.col("n").min(),
        n_pairs=known.sum().cast(pl.Int64),
        not_estimable=(~known).sum().cast(pl.Int64),
        note=pl.col("note").filter(pl.col("note") != "").unique(maintain_order=True).str.join("; "),
    )


def complete_mean(column: pl.Expr) -> pl.Expr:
    """The mean of a group; null where one of its members is."""
    return pl.when(column.null_count() == 0).then(column.mean())


def differences(pairs: pl.DataFrame) -> pl.DataFrame:
    """What one setting's sharing has more than another's: same pairs, classes, draw and seed.

    The errors of two networks on the same classes depend on each other in a way that their
    intervals do not tell. The standard error of a difference is at most the sum of both, and that
    of a mean at most the mean: `lo` and `hi` are this bound. They are wider than a jackknife of
    the difference would be, never narrower.

    Args:
        pairs: rows of `sharing_pairs`, of pairs with the test domain.

    Returns:
        A row per contrast (`contrasts.CONTRASTS`), test domain, draw, seed, site, measure and
        class set: `contrast`, `baseline`, `setting`, …, `value_baseline`, `value_setting`,
        `value` (setting minus baseline), `lo`, `hi`, `n` (classes), `n_pairs` (behind it). Pairs
        that either has no value of are left out of both.
    """
    half = ((pl.col("hi") - pl.col("lo")) / 2).alias("half")
    known = pairs.drop_nulls(ESTIMATE).select("setting", *SAME_PLACE, *SAME_PAIR, "value", half)
    return pl.concat([_difference(known, contrast) for contrast in CONTRASTS])


def _difference(known: pl.DataFrame, contrast: Contrast) -> pl.DataFrame:
    """The rows of `differences` of one contrast.

    Args:
        known: pairs that have a value, and `half` of its interval.
        contrast: which settings.
    """
    setting, baseline = (
        known.filter(setting=name).drop("setting") for name in (contrast.setting, contrast.baseline)
    )
    same = [*SAME_PLACE, *SAME_PAIR]
    both = setting.join(baseline, on=same, suffix="_baseline", maintain_order="left")
    width = (pl.col("half") + pl.col("half_baseline")).mean()
    change = (pl.col("value") - pl.col("value_baseline")).mean()
    table = both.group_by(SAME_PLACE, maintain_order=True).agg(
        value_baseline=pl.col("value_baseline").mean(),
        value_setting=pl.col("value").mean(),
        value=change,
        lo=change - width,
        hi=change + width,
        n=pl.col("n").first(),
        n_pairs=pl.len().cast(pl.Int64),
    )
    named = {"contrast": contrast.name, "baseline": contrast.baseline, "setting": contrast.setting}
    return table.select(*(pl.lit(text).alias(key) for key, text in named.items()), pl.all())


def over_time(results: StudyResults) -> pl.DataFrame:
    """The primary measure of pairs with the test domain while training went on; seen classes.

    Columns: KEYS, PLACE, `primary`, `samples_seen`, and those of `sharing`; a milestone at the
    end of training is left to the final weights. Runs that have no milestone are not there.
    """
    rows = results.analyses["similarity"].filter(measure=results.plan.primary[1], classes=SHARED)
    rows = rows.drop_nulls("samples_seen")
    pair = ["run", "draw", *PLACE, "domain_a", "domain_b", "samples_seen"]
    moments = rows.sort("final", descending=True, maintain_order=True)
    rows = moments.unique(pair, keep="first", maintain_order=True)
    rows = rows.filter(pl.col("samples_seen").n_unique().over("run") > 1)
    pairs = _pairs(results, rows).filter(pairs=GROUPS[0]).sort("samples_seen", maintain_order=True)
    parts = [
        sharing(moment).with_columns(samples_seen=pl.lit(samples, dtype=pl.Int64))
        for (samples,), moment in pairs.group_by("samples_seen", maintain_order=True)
    ]
    empty = sharing(pairs.clear()).with_columns(samples_seen=pl.lit(None, dtype=pl.Int64))
    return in_order(results.plan, pl.concat([empty, *parts]))


def own_ceilings(pairs: pl.DataFrame, domains: tuple[str, ...]) -> dict[str, float]:
    """Ceiling of every domain alone, from those of pairs, which are means of their two domains.

    Args:
        pairs: rows of one run, site, measure and class set.
        domains: of the study.

    Returns:
        By domain; empty where the pairs that have a ceiling do not tell: c_ab = (c_a + c_b) / 2
        needs three domains, and every one of them in a pair.
    """
    known = pairs.drop_nulls("ceiling")
    places = {name: place for place, name in enumerate(domains)}
    design = np.zeros((known.height, len(domains)))
    for row, (a, b) in enumerate(known.select("domain_a", "domain_b").iter_rows()):
        design[row, [places[a], places[b]]] = 0.5
    if np.linalg.matrix_rank(design) < len(domains):
        return {}
    found = np.linalg.lstsq(design, known["ceiling"].to_numpy(), rcond=None)[0]
    return dict(zip(domains, found.tolist(), strict=True))
