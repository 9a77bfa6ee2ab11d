"""What one setting adds to another, on the same test samples: per draw, and over draws."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import polars as pl

from analysis.report.spread import t_interval
from analysis.report.study import StudyResults
from analysis.report.study_plan import StudyPlan
from analysis.statistics import holm, paired_difference_interval
from gen.runs import Target


@dataclass(frozen=True)
class Contrast:
    """A question that two settings answer together: what does `setting` add to `baseline`?"""

    name: str
    baseline: str
    setting: str


CONTRASTS = (
    Contrast("diversity → unseen domain", "natural_only", "leave_out_domain"),
    Contrast("diversity → unseen combinations", "cg_low_diversity", "cg_high_diversity"),
    Contrast("seeing part of the domain", "leave_out_domain", "cg_high_diversity"),
    Contrast("gap to the upper bound", "upper_bound_high", "cg_high_diversity"),
)
QUESTION = ["split", "contrast", "test_domain", "baseline", "setting"]
COLUMNS = {
    **dict.fromkeys(["split", "contrast", "test_domain"], pl.String),
    "draw": pl.Int64,
    **dict.fromkeys(["baseline", "setting"], pl.String),
    **dict.fromkeys(
        ["accuracy_baseline", "accuracy_setting", "value", "lo", "hi", "p", "p_holm"], pl.Float64
    ),
    **dict.fromkeys(["n", "n_classes", "seeds"], pl.Int64),
    **dict.fromkeys(["seed_smallest", "seed_largest", "seed_sd"], pl.Float64),
}
OVER_DRAWS = {
    **dict.fromkeys(QUESTION, pl.String),
    **dict.fromkeys(["accuracy_baseline", "accuracy_setting", "value"], pl.Float64),
    "draws": pl.Int64,
    "missing_draws": pl.String,
    **dict.fromkeys(["smallest", "largest", "sd", "lo", "hi"], pl.Float64),
}
ANSWERS = {"seed": pl.Int64, "id": pl.String, "label": pl.Int64, "correct": pl.Float64}
ByRun = dict[str, pl.DataFrame]


def contrasts(results: StudyResults) -> pl.DataFrame:
    """Differences of accuracy on the held-out classes of the test domain, on the same samples.

    Columns: `split`, `contrast`, `test_domain`, `draw`, `baseline`, `setting`, their accuracies
    `accuracy_baseline` and `accuracy_setting`, `value` (setting minus baseline), `lo`, `hi`, `p`,
    `p_holm` (the family: all comparisons of the split), `n`, `n_classes`, `seeds` (averaged per
    sample), and how the difference varies over them (`seed_smallest`, `seed_largest`, `seed_sd`;
    null for one seed). Every comparison that the plan allows is there.
    """
    parts = results.predictions.partition_by("run", as_dict=True)
    by_run = {str(run): table for (run,), table in parts.items()}
    rows = [
        {
            "split": split,
            "contrast": contrast.name,
            "test_domain": target.test_domain,
            "draw": target.draw,
            "baseline": contrast.baseline,
            "setting": contrast.setting,
        }
        | _difference(results.plan, by_run, contrast, target, split)
        for split, contrast, target in _comparisons(results.plan)
    ]
    table = pl.DataFrame(rows, schema=COLUMNS, orient="row", infer_schema_length=None)
    return table.with_columns(p_holm=holm_by_split(table))


def over_draws(table: pl.DataFrame) -> pl.DataFrame:
    """The differences of `contrasts` over draws of held-out classes; every draw counts the same.

    Columns: `split`, `contrast`, `test_domain`, `baseline`, `setting`, and of the draws that have
    a difference: the means `accuracy_baseline`, `accuracy_setting` and `value`, `draws` (how
    many), `missing_draws` (the others), `smallest`, `largest`, `sd`, and `lo`, `hi` (Student's
    95 % interval of the mean; null for fewer than three draws, or equal ones). Test samples are no
    part of these.
    """
    rows = []
    for key, group in table.group_by(QUESTION, maintain_order=True):
        known = group.drop_nulls("value").sort("draw")
        missing = group.filter(pl.col("value").is_null())["draw"].sort()
        lo, hi = t_interval(known["value"].to_list())
        means = {
            name: known[name].mean() for name in ("accuracy_baseline", "accuracy_setting", "value")
        }
        rows.append(
            dict(zip(QUESTION, key, strict=True))
            | means
            | {
                "draws": known.height,
                "missing_draws": ", ".join(map(str, missing)),
                "smallest": known["value"].min(),
                "largest": known["value"].max(),
                "sd": known["value"].std(),
                "lo": lo,
                "hi": hi,
            }
        )
    return pl.DataFrame(rows, schema=OVER_DRAWS, orient="row", infer_schema_length=None)


def _comparisons(plan: StudyPlan) -> list[tuple[str, Contrast, Target]]:
    """Every comparison whose two settings apply to a target that has test images."""
    grid = plan.grid
    targets = [Target(*key) for key in product(plan.test_domains, range(len(plan.draws)))]
    return [
        (split, contrast, target)
        for split, contrast, target in product(plan.splits, CONTRASTS, targets)
        if {(contrast.baseline, target), (contrast.setting, target)} <= grid
        and plan.is_tested(split, target.test_domain, plan.draws[target.draw])
    ]


def _difference(
    plan: StudyPlan, by_run: ByRun, contrast: Contrast, target: Target, split: str
) -> dict:
    baseline = _answers(plan, by_run, contrast.baseline, target, split)
    setting = _answers(plan, by_run, contrast.setting, target, split)
    pairs = baseline.join(setting, on=["seed", "id"], suffix="_setting").sort("id", "seed")
    if pairs.is_empty():
        return {}
    mean = pl.col("correct", "correct_setting").mean()
    samples = pairs.group_by("id", maintain_order=True).agg(pl.col("label").first(), mean)
    difference = paired_difference_interval(
        samples["correct"].to_numpy(),
        samples["correct_setting"].to_numpy(),
        samples["label"].to_numpy(),
    )
    levels = samples.group_by("label", maintain_order=True).agg(mean)
    return {
        "accuracy_baseline": levels["correct"].mean(),
        "accuracy_setting": levels["correct_setting"].mean(),
        **{key: getattr(difference, key) for key in ("value", "lo", "hi", "p", "n", "n_classes")},
        **_over_seeds(pairs),
    }


def _over_seeds(pairs: pl.DataFrame) -> dict:
    """How a difference varies over seeds, each on the same samples."""
    gained = (pl.col("correct_setting") - pl.col("correct")).mean().alias("value")
    by_label = pairs.group_by("seed", "label", maintain_order=True).agg(gained)
    by_seed = by_label.group_by("seed", maintain_order=True).agg(pl.mean("value"))
    values = by_seed.sort("seed")["value"]
    if len(values) < 2:
        return {"seeds": len(values)}
    return {
        "seeds": len(values),
        "seed_smallest": values.min(),
        "seed_largest": values.max(),
        "seed_sd": values.std(),
    }


def _answers(
    plan: StudyPlan, by_run: ByRun, setting: str, target: Target, split: str
) -> pl.DataFrame:
    """`seed`, `id`, `label`, `correct` of a setting on the held-out classes of a target."""
    held_out = pl.col("class_name").is_in(plan.draws[target.draw])
    runs = (run for run in plan.runs if run.setting == setting and target in run.mixtures)
    parts = [
        by_run[run.name]
        .filter(held_out, split=split, domain=target.test_domain)
        .select("seed", "id", "label", pl.col("correct").cast(pl.Float64))
        for run in runs
        if run.name in by_run
    ]
    return pl.concat([pl.DataFrame(schema=ANSWERS), *parts])


def holm_by_split(table: pl.DataFrame) -> pl.Series:
    """Holm's correction of the column `p`; the family: all of a split that have one."""
    adjusted: list[float | None] = [None] * table.height
    for split in table["split"].unique(maintain_order=True):
        known = (table["split"] == split) & table["p"].is_not_null()
        places = known.arg_true().to_list()
        for place, p in zip(places, holm(table["p"].gather(places).to_list()), strict=True):
            adjusted[place] = p
    return pl.Series(adjusted, dtype=pl.Float64)
