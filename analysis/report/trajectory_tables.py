"""Scores in the test domain while training went on."""

from __future__ import annotations

import polars as pl

from analysis.report.study import StudyResults
from analysis.report.tables import CLASS_SETS, METRIC, served

SPLIT = "test"
COLUMNS = ["value", "lo", "hi", "n", "n_classes", "chance"]


def trajectories(results: StudyResults) -> pl.DataFrame:
    """Balanced top-1 accuracy in the test domain at every milestone and of the final weights.

    Columns: `test_domain`, `setting`, `draw`, `seed`, `run`, `classes` (`held_out`, `seen`),
    `samples_seen` (null for pretrained models), `final`, `value`, `lo`, `hi` (over test samples),
    `n`, `n_classes`, `chance`; split `test`, the headline's prompts. A milestone at the end of
    training is left to the final weights. A run without scores is one row of nulls per class set.
    """
    keys = ["run", "test_domain", "draw", "classes"]
    scores = results.evaluation.filter(
        pl.col("prompts") == results.plan.prompts[0],
        pl.col("classes").is_in(CLASS_SETS),
        metric=METRIC,
        split=SPLIT,
    ).rename({"domain": "test_domain"})
    moments = scores.sort("final", "samples_seen", descending=[True, False])
    once = moments.unique([*keys, "samples_seen"], keep="first", maintain_order=True)
    expected = (
        served(results)
        .drop("mixture")
        .join(pl.DataFrame({"classes": CLASS_SETS}), how="cross", maintain_order="left_right")
    )
    plan = results.plan
    tested = [
        plan.is_tested(SPLIT, domain, plan.class_set(classes, draw))
        for domain, draw, classes in expected.select("test_domain", "draw", "classes").iter_rows()
    ]
    table = expected.filter(pl.Series(tested, dtype=pl.Boolean)).join(
        once.select(*keys, "samples_seen", "final", *COLUMNS), on=keys, how="left"
    )
    order = {"test_domain": plan.test_domains, "setting": plan.settings}
    ranks = [pl.col(key).cast(pl.Enum(values)).to_physical() for key, values in order.items()]
    first = ["test_domain", "setting", "draw", "seed", "run", "classes"]
    return table.sort(
        *ranks, "draw", "seed", "classes", "samples_seen", nulls_last=True, maintain_order=True
    ).select(*first, "samples_seen", "final", *COLUMNS)


def without_milestones(table: pl.DataFrame) -> list[str]:
    """Trained runs of `trajectories` that have a final score and no other."""
    known = table.drop_nulls(["value", "samples_seen"])
    moments = known.group_by("run", maintain_order=True).agg(pl.col("samples_seen").n_unique())
    return moments.filter(samples_seen=1)["run"].to_list()
