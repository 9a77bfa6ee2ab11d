"""How alike domains are, beside what every run is tested on: results → tables.

A run that serves several targets (test domain, draw of held-out classes) has its rows once for
each of them. What cannot be estimated is null, with the reason in `note`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from analysis.hierarchy import hierarchical_interval, nested_weights
from analysis.report.contrasts import CONTRASTS, Contrast
from analysis.report.study import StudyResults
from analysis.report.study_plan import StudyPlan
from analysis.report.tables import served
from analysis.similarity import Similarity
from analysis.statistics import Refused

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
SAME_PAIR = ["domain_a", "domain_b"]
"""what two settings are compared in"""
OTHER_CLASSES = "no interval: the two are not of the same classes"
NO_INTERVAL = "no interval: a pair has none"

OVER_RUNS: dict[str, type[pl.DataType]] = {
    **dict.fromkeys(["test_domain", "setting", "level", "site"], pl.String),
    **{"depth": pl.Int64, "measure": pl.String, "classes": pl.String},
    **dict.fromkeys(["value", "lo", "hi"], pl.Float64),
    **{"over": pl.String, "runs": pl.Int64, "draws": pl.Int64, "seeds": pl.Int64},
    **dict.fromkeys(["classes_lo", "classes_hi"], pl.Float64),
    **{"n": pl.Int64, "not_estimable": pl.Int64, "note": pl.String},
}
ONE_RUN = "one run: it does not tell how another training would come out"


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


def first_run(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of the first run and draw among them."""
    run, draw = rows.select("run", "draw").row(0)
    return rows.filter(pl.col("run") == run, pl.col("draw").eq_missing(draw))


def first_targets(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of the first run and draw of every setting in every test domain."""
    parts = rows.partition_by("test_domain", "setting", maintain_order=True)
    return pl.concat([rows.clear(), *(first_run(part) for part in parts)])


def sharing_pairs(results: StudyResults) -> pl.DataFrame:
    """Similarity of every pair of domains at every site of the final weights.

    Columns: KEYS, PLACE, `measure`, `classes` (`seen`, `held_out`, or `all`, whose draw is null),
    `domain_a`, `domain_b`, `pairs` (`with_test_domain`, `others`), `primary` (whether it is the
    study's primary site), `value`, `lo`, `hi`, `n` (classes), `chance`, `chance_lo`, `chance_hi`,
    `ceiling`, `floor`, `note`, `left_out` (values without every class, in the order of the set).
    """
    rows = results.analyses["similarity"].filter("final")
    return pairs_of(results, rows, primary_site(results.plan))


def pairs_of(
    results: StudyResults, rows: pl.DataFrame, primary: pl.Expr, *more: str
) -> pl.DataFrame:
    """The columns of `sharing_pairs` of any table that is made like similarity.

    Args:
        results: of the study.
        rows: of all runs.
        primary: whether a row is of the primary site.
        more: further columns that are kept.
    """
    two = rows.filter(pl.col("domain_a") != pl.col("domain_b"))
    table = by_target(results, two).with_columns(
        pairs=pl.when(
            (pl.col("domain_a") == pl.col("test_domain"))
            | (pl.col("domain_b") == pl.col("test_domain"))
        )
        .then(pl.lit(GROUPS[0]))
        .otherwise(pl.lit(GROUPS[1])),
        primary=primary,
    )
    first = [*KEYS, *PLACE, "measure", "classes", "domain_a", "domain_b", "pairs", "primary"]
    return table.select(*first, *ESTIMATE, "n", *BANDS, "note", "left_out", *more)


def primary_site(plan: StudyPlan) -> pl.Expr:
    """Whether a row is of the study's primary site: the named one, or a run's last before LAST."""
    if plan.primary[0]:
        return pl.col("site") == plan.primary[0]
    return last_inner_site()


def last_inner_site() -> pl.Expr:
    """Whether a row is of a run's last residual site before LAST."""
    inner = (pl.col("level") == RESIDUAL) & (pl.col("site") != LAST)
    return (inner & (pl.col("depth") == pl.col("depth").filter(inner).max().over("run"))).fill_null(
        value=False
    )


def sharing(pairs: pl.DataFrame) -> pl.DataFrame:
    """Means over pairs of domains: those with the test domain, and all others.

    The interval is the jackknife of the mean: a class is left out of all pairs at once. Bands are
    means over pairs.

    Args:
        pairs: `sharing_pairs`.

    Returns:
        KEYS, PLACE, `primary`, `measure`, `classes`, `pairs`, then of the pairs that have a value:
        `value` (mean), `lo`, `hi`, and means of `chance`, `chance_lo`, `chance_hi`, `ceiling`,
        `floor` (null where one of the pairs has none); `n` (classes), `n_pairs` (behind the mean),
        `not_estimable` (pairs without value), `note` (why).
    """
    table = _means(pairs, left_out=_left_out_of(pl.col("value").is_not_null()))
    return _with_interval(table)


def _means(pairs: pl.DataFrame, **ends: pl.Expr) -> pl.DataFrame:
    """The columns of `sharing`, with others in the place of its `lo` and `hi`."""
    keys = [*KEYS, *PLACE, "primary", "measure", "classes", "pairs"]
    known = pl.col("value").is_not_null()
    return pairs.group_by(keys, maintain_order=True).agg(
        pl.col("value").mean(),
        **ends,
        **{name: complete_mean(pl.col(name).filter(known)) for name in BANDS},
        n=pl.col("n").min(),
        n_pairs=known.sum().cast(pl.Int64),
        not_estimable=(~known).sum().cast(pl.Int64),
        note=reasons(),
    )


def _left_out_of(known: pl.Expr) -> pl.Expr:
    """The delete-one values of a group's pairs, one after another; null where a pair has none."""
    lists = pl.col("left_out").filter(known)
    return pl.when(lists.null_count() == 0).then(lists.explode().implode())


def _with_interval(table: pl.DataFrame) -> pl.DataFrame:
    """Means over pairs with the interval of their jackknife over classes.

    Args:
        table: `value`, `n_pairs`, and as `left_out` the delete-one values of the pairs one after
            another, [n_pairs · C]; null, or empty, where there is no interval.

    Returns:
        `lo` and `hi` in the place of `left_out`; null where there is no interval.
    """
    means: dict[int, np.ndarray] = {
        row: left_out.to_numpy().reshape(pairs, -1).mean(axis=0, dtype=float)
        for row, (left_out, pairs) in enumerate(
            zip(table["left_out"], table["n_pairs"].to_list(), strict=True)
        )
        if left_out is not None and pairs
    }
    value, ends = table["value"].to_numpy(), np.full((2, table.height), np.nan)
    for classes in {len(mean) for mean in means.values()}:
        rows = [row for row, mean in means.items() if len(mean) == classes]
        ends[:, rows] = Similarity(value[rows], np.stack([means[row] for row in rows])).interval()
    place, columns = table.columns.index("left_out"), table.get_columns()
    both = [
        pl.Series(name, end).fill_nan(None) for name, end in zip(("lo", "hi"), ends, strict=True)
    ]
    return pl.DataFrame([*columns[:place], *both, *columns[place + 1 :]])


def complete_mean(column: pl.Expr) -> pl.Expr:
    """The mean of a group; null where one of its members is."""
    return pl.when(column.null_count() == 0).then(column.mean())


def reasons() -> pl.Expr:
    """Why numbers of a group are not there, every reason once; empty where all are."""
    return pl.col("note").filter(pl.col("note") != "").unique(maintain_order=True).str.join("; ")


def differences(pairs: pl.DataFrame) -> pl.DataFrame:
    """What one setting's sharing has more than another's: same pairs, classes, draw and seed.

    The interval is the jackknife of the difference: a class is left out of both networks and of
    all pairs at once, so that what both find hard or easy in it cancels.

    Args:
        pairs: rows of `sharing_pairs`, of pairs with the test domain.

    Returns:
        A row per contrast (`contrasts.CONTRASTS`), test domain, draw, seed, site, measure and
        class set: `contrast`, `baseline`, `setting`, …, `value_baseline`, `value_setting`,
        `value` (setting minus baseline), `lo`, `hi`, `n` (classes), `n_pairs` (behind it), `note`
        (why there is no interval). Pairs that either has no value of are left out of both.
    """
    columns = ["setting", *SAME_PLACE, *SAME_PAIR, "value", "n", "left_out"]
    known = pairs.drop_nulls("value").select(columns)
    return pl.concat([difference(known, contrast) for contrast in CONTRASTS])


def difference(known: pl.DataFrame, contrast: Contrast) -> pl.DataFrame:
    """The rows of `differences` of one contrast.

    Args:
        known: pairs that have a value.
        contrast: which settings.
    """
    setting, baseline = (
        known.filter(setting=name).drop("setting") for name in (contrast.setting, contrast.baseline)
    )
    same = [*SAME_PLACE, *SAME_PAIR]
    both = setting.join(
        baseline, on=same, suffix="_baseline", nulls_equal=True, maintain_order="left"
    )
    is_same = pl.col("n") == pl.col("n_baseline")
    lists = pl.when(is_same).then(pl.col("left_out", "left_out_baseline"))
    both = both.with_columns(lists).with_columns(pl.col("left_out") - pl.col("left_out_baseline"))
    table = both.group_by(SAME_PLACE, maintain_order=True).agg(
        value_baseline=pl.col("value_baseline").mean(),
        value_setting=pl.col("value").mean(),
        value=(pl.col("value") - pl.col("value_baseline")).mean(),
        left_out=_left_out_of(pl.lit(value=True)),
        n=pl.min_horizontal("n", "n_baseline").min(),
        n_pairs=pl.len().cast(pl.Int64),
        note=pl.when(~is_same.all())
        .then(pl.lit(OTHER_CLASSES))
        .when(pl.col("left_out").null_count() > 0)
        .then(pl.lit(NO_INTERVAL))
        .otherwise(pl.lit("")),
    )
    named = {"contrast": contrast.name, "baseline": contrast.baseline, "setting": contrast.setting}
    first = [pl.lit(text).alias(key) for key, text in named.items()]
    return _with_interval(table).select(*first, pl.all())


def over_runs(means: pl.DataFrame) -> pl.DataFrame:
    """How far other seeds and draws would move a setting's sharing.

    Where every draw has trainings of its own, seeds are nested in draws, and draws are drawn;
    where a run serves several draws, both are crossed. A single member of a level is held fixed.

    Args:
        means: rows of `sharing` of one group of pairs.

    Returns:
        A row per test domain, setting, site, measure and class set: `value`, the mean over draws
        of the means over seeds, with `lo` and `hi` over the units named in `over`
        (`hierarchical_interval`); how many `runs`, `draws` and `seeds` (of a draw, at most);
        `classes_lo` and `classes_hi`, means of the runs' intervals over classes; `n` (classes),
        `not_estimable` (rows without value), `note` (why there is no interval over units).
    """
    keys = ["test_domain", "setting", *PLACE, "measure", "classes"]
    rows: list[dict[str, Any]] = []
    for names, group in means.group_by(keys, maintain_order=True):
        known = group.drop_nulls("value")
        named: dict[str, Any] = dict(zip(keys, names, strict=True))
        named |= {"runs": known["run"].n_unique(), "draws": known["draw"].n_unique()}
        named |= {"n": group["n"].min(), "not_estimable": group.height - known.height}
        rows.append(named | _over_units(known))
    return pl.DataFrame(rows, schema=OVER_RUNS)


def _over_units(known: pl.DataFrame) -> dict[str, Any]:
    """Mean and interval of one row of `over_runs`, from the runs and draws that have a value."""
    if known.is_empty():
        return {"seeds": 0, "note": "no run has a number"}
    seeds = int(known["draw"].value_counts()["count"].to_numpy().max())
    is_crossed = bool(known["run"].is_duplicated().any())  # a run that serves several draws
    varies = {"draw": known["draw"].n_unique() > 1, "seed": seeds > 1}
    levels = [name for name, several in varies.items() if several]
    crossed = levels if is_crossed else []
    weight_N = nested_weights(known, [] if is_crossed else levels)
    ends = known.select(complete_mean(pl.col(name)) for name in ("lo", "hi")).row(0)
    found: dict[str, Any] = {"value": float(weight_N @ known["value"].to_numpy()), "seeds": seeds}
    found |= {"classes_lo": ends[0], "classes_hi": ends[1]}
    if known["run"].n_unique() == 1:
        return found | {"note": ONE_RUN}
    interval = hierarchical_interval(known, levels, crossed)
    if isinstance(interval, Refused):
        return found | {"note": interval.reason}
    over = ", ".join(interval.drawn)
    return found | {"lo": interval.lo, "hi": interval.hi, "over": over, "note": ""}


def over_time(results: StudyResults) -> pl.DataFrame:
    """The primary measure of pairs with the test domain while training went on; seen classes.

    Columns: KEYS, PLACE, `primary`, `samples_seen`, and those of `sharing`, but for `lo` and `hi`:
    milestones keep no values without single classes, and the mean of the pairs' intervals stands
    for that of the mean. It is as wide or wider, because the standard error of a mean is at most
    the mean of the standard errors. A milestone at the end of training is left to the final
    weights. Runs that have no milestone are not there.
    """
    rows = results.analyses["similarity"].filter(measure=results.plan.primary[1], classes=SHARED)
    rows = rows.drop_nulls("samples_seen")
    pair = ["run", "draw", *PLACE, "domain_a", "domain_b", "samples_seen"]
    moments = rows.sort("final", descending=True, maintain_order=True)
    rows = moments.unique(pair, keep="first", maintain_order=True)
    rows = rows.filter(pl.col("samples_seen").n_unique().over("run") > 1)
    pairs = pairs_of(results, rows, primary_site(results.plan), "samples_seen")
    pairs = pairs.filter(pairs=GROUPS[0]).sort("samples_seen", maintain_order=True)
    known = pl.col("value").is_not_null()
    ends = {name: complete_mean(pl.col(name).filter(known)) for name in ("lo", "hi")}
    parts = [
        _means(moment, **ends).with_columns(samples_seen=pl.lit(samples, dtype=pl.Int64))
        for (samples,), moment in pairs.group_by("samples_seen", maintain_order=True)
    ]
    empty = _means(pairs.clear(), **ends).with_columns(samples_seen=pl.lit(None, dtype=pl.Int64))
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
