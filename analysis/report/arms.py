"""The arms of a study side by side: scores, differences on the same samples, cost.

An arm is one way to train. All arms have the same test samples and the same mixtures.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

import polars as pl

from analysis.report import tables
from analysis.report.contrasts import holm_by_split
from analysis.report.study_comparison import ComparedStudy, compare_scores, flat, only_in

Arms = Sequence[ComparedStudy]
"""a study restricted to one arm each, in their order; others are compared with the first"""
KEYS = ["test_domain", "setting", "split"]
RENAMED = {
    "value_a": "value_baseline",
    "value_b": "value_arm",
    "seeds_a": "seeds_baseline",
    "seeds_b": "seeds_arm",
}
NOT_OF_ARMS = ("name", "grid", "exclude", "include", "resources")
"""keys of a study's configuration that are no part of how an arm is trained"""


def label_of(arm: ComparedStudy) -> str:
    """What an arm is called."""
    return arm.results.plan.arm


def arm_headline(arms: Arms) -> pl.DataFrame:
    """`tables.headline` of all arms, with the column `arm` in front.

    Pretrained models, which belong to no arm, stand there once, with an empty `arm`.
    """
    trained = [_headline(arm, label_of(arm), pretrained=False) for arm in arms]
    return pl.concat([*trained, _headline(arms[0], "", pretrained=True)])


def _headline(arm: ComparedStudy, label: str, *, pretrained: bool) -> pl.DataFrame:
    runs = [run.name for run in arm.results.plan.runs if run.is_pretrained == pretrained]
    rows = tables.headline(arm.results).filter(pl.col("run").is_in(runs))
    return rows.select(pl.lit(label).alias("arm"), pl.all())


def arm_scores(headline: pl.DataFrame) -> pl.DataFrame:
    """Accuracy on the held-out classes of each test domain, by setting and arm.

    Args:
        headline: `arm_headline`.

    Returns:
        One row per `test_domain`, `setting`, `split` and `arm` that is planned: `value`, the mean
        over draws of the means over seeds; of a single score `lo` and `hi`, its interval over test
        samples; of several the `smallest` and `largest`; how many `scores` (draws × seeds) are
        planned, how many of them are `missing`; the test samples `n` of a draw (null where draws
        differ) and `chance`.
    """
    held_out = headline.filter(classes="held_out")
    known = held_out.drop_nulls("value")
    by_draw = known.group_by(*KEYS, "arm", "draw", maintain_order=True).agg(pl.mean("value"))
    means = by_draw.group_by(*KEYS, "arm", maintain_order=True).agg(pl.mean("value"))
    alone = pl.len() == 1
    told = held_out.group_by(*KEYS, "arm", maintain_order=True).agg(
        lo=pl.when(alone).then(pl.col("lo").first()),
        hi=pl.when(alone).then(pl.col("hi").first()),
        smallest=pl.when(~alone).then(pl.col("value").min()),
        largest=pl.when(~alone).then(pl.col("value").max()),
        scores=pl.len().cast(pl.Int64),
        missing=pl.col("value").null_count().cast(pl.Int64),
        n=pl.when(pl.col("n").drop_nulls().n_unique() == 1).then(pl.col("n").max()),
        chance=pl.col("chance").max(),
    )
    return told.join(means, on=[*KEYS, "arm"], how="left", maintain_order="left").select(
        *KEYS, "arm", "value", pl.exclude(*KEYS, "arm", "value")
    )


def arm_differences(arms: Arms) -> pl.DataFrame:
    """What every arm has more than the first one, on the held-out classes of each test domain.

    Columns: `arm`, `baseline` (the first arm) and those of `study_comparison.compare_scores`, with
    `_baseline` and `_arm` for its `_a` and `_b`; the family of `p_holm` are all differences of a
    split, of all arms.
    """
    first, *others = arms
    parts = [
        compare_scores(first.results, other.results, ("held_out",)).select(
            pl.lit(label_of(other)).alias("arm"),
            pl.lit(label_of(first)).alias("baseline"),
            pl.all(),
        )
        for other in others
    ]
    pretrained = [run.setting for run in first.results.plan.runs if run.is_pretrained]
    table = pl.concat(parts).filter(~pl.col("setting").is_in(pretrained)).rename(RENAMED)
    names = {"test_domain": first.results.plan.test_domains, "setting": settings_of(arms)}
    order = [pl.col(key).cast(pl.Enum(values)).to_physical() for key, values in names.items()]
    table = table.sort("split", *order, "draw", maintain_order=True).drop("classes")
    return table.with_columns(p_holm=holm_by_split(table))


def arm_cost(arms: Arms) -> pl.DataFrame:
    """What the runs of every arm took, so far; pretrained models are left out.

    Columns: `arm`, `runs`, `done`, `trained` (with weights of their own), `samples_seen` (of each;
    null where they differ), `samples_per_second` (median), `train_seconds`, `evaluate_seconds` and
    `analyze_seconds` (sums).
    """
    rows = []
    for arm in arms:
        runs = tables.cost(arm.results).filter("trained")
        seen = runs["samples_seen"].drop_nulls().unique()
        own = runs.filter(pl.col("same_weights_as").is_null())
        row: dict[str, Any] = {
            "arm": label_of(arm),
            "runs": runs.height,
            "done": (runs["state"] == "done").sum(),
            "trained": own.height,
            "samples_seen": seen[0] if len(seen) == 1 else None,
            "samples_per_second": own["samples_per_second"].median(),
        }
        for stage in tables.STAGES:
            row[f"{stage}_seconds"] = runs[f"{stage}_seconds"].sum()
        rows.append(row)
    types: dict[str, Any] = {"samples_seen": pl.Int64, "samples_per_second": pl.Float64}
    types |= dict.fromkeys((f"{stage}_seconds" for stage in tables.STAGES), pl.Float64)
    return pl.DataFrame(rows, schema_overrides=types)


def arm_keys(arms: Arms) -> pl.DataFrame:
    """The keys of the configuration in which the arms differ: a row per arm, a column per key."""
    contents = [dict(flat(_of_arm(arm))) for arm in arms]
    keys = [
        key
        for key in dict.fromkeys(key for content in contents for key in content)
        if len({content.get(key) for content in contents}) > 1
    ]
    rows = [
        {"arm": label_of(arm)} | {key: content.get(key, "") for key in keys}
        for arm, content in zip(arms, contents, strict=True)
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(["arm", *keys], pl.String))


def _of_arm(arm: ComparedStudy) -> dict:
    """What an arm's configuration says of how it is trained; of its model's file the name alone."""
    study = arm.config["study"]
    return {key: value for key, value in study.items() if key not in NOT_OF_ARMS}


def all_runs(arms: Arms) -> pl.DataFrame:
    """`StudyResults.runs` of all arms; what several arms share stands there once."""
    return pl.concat([arm.results.runs for arm in arms]).unique("run", maintain_order=True)


def settings_of(arms: Arms) -> list[str]:
    """The settings that any arm trains for, in their order."""
    plans = [arm.results.plan for arm in arms]
    trained = {run.setting for plan in plans for run in plan.runs if not run.is_pretrained}
    return [name for name in dict.fromkeys(chain(*(p.settings for p in plans))) if name in trained]


def test_domains_of(arms: Arms) -> list[str]:
    """The test domains of any arm, in their order."""
    return list(dict.fromkeys(name for arm in arms for name in arm.results.plan.test_domains))


def planned_in_one_only(arms: Arms) -> dict[str, list[str]]:
    """What one of the first arm and another plans and the other does not, by the two's labels."""
    first, *others = arms
    found: dict[str, list[str]] = {}
    for other in others:
        for one, two in ((first, other), (other, first)):
            if places := only_in(one.results, two.results):
                found[f"{label_of(one)} and not {label_of(two)}"] = places
    return found
