"""The study's quantities: scores in the test domain, and each setting against three others.

docs/quantities.md has their equations. All are of new instances (split `test`) in the test domain.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import polars as pl

from analysis.report.spread import t_interval
from analysis.report.study import StudyResults
from analysis.report.study_plan import StudyPlan
from analysis.report.tables import headline
from analysis.statistics import (
    Difference,
    Ratio,
    Refused,
    benjamini_hochberg,
    paired_difference_interval,
    paired_ratio_interval,
)
from gen.runs import Target

SPLIT = "test"
DG, NATURAL = "leave_out_domain", "natural_only"
UPPER_BOUND = {
    "natural_only": "upper_bound_low",
    "cg_low_diversity": "upper_bound_low",
    "leave_out_domain": "upper_bound_high",
    "cg_high_diversity": "upper_bound_high",
}
"""the upper bound that shows as many domains; of a variant that of the setting it varies"""
SCORES = {"held_out": "score", "seen": "seen_score"}
MINUS_DG, RELATIVE = "minus_leave_out_domain", "relative_to_upper_bound"
RELATIVE_ROBUSTNESS = "relative_robustness"
PAIRED = (MINUS_DG, RELATIVE, RELATIVE_ROBUSTNESS)
KEYS = ["split", "test_domain", "setting", "draw", "quantity", "against"]
COLUMNS = {
    **dict.fromkeys(["split", "test_domain", "setting"], pl.String),
    "draw": pl.Int64,
    **dict.fromkeys(["quantity", "against"], pl.String),
    **dict.fromkeys(["value", "lo", "hi", "p", "p_bh", "chance"], pl.Float64),
    **dict.fromkeys(["n", "n_classes", "seeds", "missing_seeds"], pl.Int64),
    **dict.fromkeys(["seed_smallest", "seed_largest", "seed_sd"], pl.Float64),
    "reason": pl.String,
}
OVER_DRAWS = {
    **dict.fromkeys([key for key in KEYS if key != "draw"], pl.String),
    "value": pl.Float64,
    "draws": pl.Int64,
    **dict.fromkeys(["missing_draws", "refused_draws"], pl.String),
    **dict.fromkeys(["smallest", "largest", "sd", "lo", "hi"], pl.Float64),
    "reason": pl.String,
}
Grid = dict[tuple[str, Target], list[tuple[int, str]]]


def quantities(results: StudyResults) -> pl.DataFrame:
    """Every quantity of every setting, test domain and draw of the grid, in the grid's order.

    Columns: `split`, `test_domain`, `setting`, `draw`, `quantity` (`score` and `seen_score`:
    balanced top-1 accuracy on held-out and on seen classes; `minus_leave_out_domain`,
    `relative_to_upper_bound`, `relative_robustness`: on held-out classes), `against` (the setting
    that it is compared with; null for scores), `value`, `lo`, `hi` (95 %, over test samples), `p`
    and `p_bh` (of differences; the family of Benjamini and Hochberg's correction is all of one
    quantity), `chance` (of scores), `n`, `n_classes`, `seeds` and `missing_seeds`, over seeds
    `seed_smallest`, `seed_largest`, `seed_sd` (null for one), and `reason` (why there is no value;
    null where there is one).
    """
    rows = [*_scores(results), *_comparisons(results)]
    table = pl.DataFrame(rows, schema=COLUMNS, orient="row", infer_schema_length=None)
    return _in_order(table.with_columns(p_bh=_adjusted(table)), results.plan)


def over_draws(table: pl.DataFrame) -> pl.DataFrame:
    """`quantities` over draws of held-out classes; every draw counts the same.

    Columns: those that name a quantity without `draw`, and of the draws that have a value: their
    mean `value`, `draws` (how many), `missing_draws` (those without data), `refused_draws` (those
    that have data and no number), `smallest`, `largest`, `sd`, `lo`, `hi` (Student's 95 % interval
    of the mean; null for fewer than three draws, or equal ones), and `reason`: where any draw is
    refused there is no mean and no spread, because refusal depends on what would be averaged. Test
    samples are no part of these.
    """
    named = [key for key in KEYS if key != "draw"]
    rows = []
    for key, group in table.group_by(named, maintain_order=True):
        known = group.drop_nulls("value")["value"]
        without = group.filter(pl.col("value").is_null()).sort("draw")
        refused = without.filter(pl.col("seeds") > 0)
        missing = without.filter(pl.col("seeds") == 0)
        row = dict(zip(named, key, strict=True)) | {"draws": len(known)}
        row["missing_draws"], row["refused_draws"] = (
            ", ".join(map(str, draws["draw"])) for draws in (missing, refused)
        )
        if refused.height:
            draw, reason = refused.select("draw", "reason").row(0)
            rows.append(row | {"reason": f"draw {draw}: {reason}"})
            continue
        lo, hi = t_interval(known.to_list())
        spread = {"smallest": known.min(), "largest": known.max(), "sd": known.std()}
        rows.append(row | {"value": known.mean(), "lo": lo, "hi": hi} | spread)
    return pl.DataFrame(rows, schema=OVER_DRAWS, orient="row", infer_schema_length=None)


# ---------------------------------------------------------------------------- scores


def _scores(results: StudyResults) -> Iterator[dict]:
    """Accuracies as means over seeds, of the ends of their intervals too.

    All seeds answer the same test samples: the mean of the ends is the interval of the mean as if
    their errors were one, which is at least as wide as the truth.
    """
    keys = ["split", "test_domain", "setting", "draw", "classes"]
    table = headline(results).filter(split=SPLIT)
    for key, group in table.group_by(keys, maintain_order=True):
        named = dict(zip(keys, key, strict=True))
        quantity = SCORES[named.pop("classes")]
        known = group.drop_nulls("value")
        gaps = group.height - known.height
        row = named | {"quantity": quantity, "seeds": known.height, "missing_seeds": gaps}
        if known.is_empty():
            yield row | {"reason": "no finished run has this score"}
            continue
        means = {name: known[name].mean() for name in ("value", "lo", "hi", "chance")}
        counts = {name: known[name][0] for name in ("n", "n_classes")}
        yield row | means | counts | _spread(known["value"])


def _spread(values: pl.Series) -> dict:
    if len(values) < 2:
        return {}
    return {
        "seed_smallest": values.min(),
        "seed_largest": values.max(),
        "seed_sd": values.std(),
    }


# ---------------------------------------------------------------------------- comparisons


def _comparisons(results: StudyResults) -> Iterator[dict]:
    plan, grid = results.plan, _grid(results.plan)
    chance = 1 / len(plan.classes)
    pretrained = _pretrained(plan)
    answers = results.predictions.filter(split=SPLIT).partition_by("run", as_dict=True)
    by_run = {str(run): table for (run,), table in answers.items()}
    targets = [Target(*key) for key in product(plan.test_domains, range(len(plan.draws)))]
    for target, setting in product(targets, plan.settings):
        if (setting, target) not in grid or not plan.is_tested(
            SPLIT, target.test_domain, plan.draws[target.draw]
        ):
            continue
        for quantity, against in _against(setting).items():
            if (against, target) not in grid:
                continue
            pairs = _pairs(plan, grid, by_run, (against, setting), target)
            seeded = against if setting in pretrained else setting
            yield {
                "split": SPLIT,
                **target._asdict(),
                "setting": setting,
                "quantity": quantity,
                "against": against,
                **_compared(quantity, pairs, chance, planned=len(grid[seeded, target])),
            }


def _against(setting: str) -> dict[str, str]:
    """The setting that a setting is compared with, by quantity; never itself."""
    compared = {MINUS_DG: DG, RELATIVE_ROBUSTNESS: NATURAL}
    if upper := UPPER_BOUND.get(setting.partition("-")[0]):
        compared[RELATIVE] = upper
    return {quantity: against for quantity, against in compared.items() if against != setting}


def _grid(plan: StudyPlan) -> Grid:
    """Seed and run of everything that answers for a setting and a target."""
    grid: Grid = {}
    for run in plan.runs:
        for target in run.mixtures:
            grid.setdefault((run.setting, target), []).append((run.seed, run.name))
    return grid


def _pairs(
    plan: StudyPlan,
    grid: Grid,
    by_run: dict[str, pl.DataFrame],
    settings: tuple[str, str],
    target: Target,
) -> pl.DataFrame:
    """`seed`, `id`, `label`, `correct` of the baseline and `correct_setting`, on the same samples.

    Runs of the same seed are paired; a pretrained model, which has no seed, with every one.
    """
    held_out = pl.col("class_name").is_in(plan.draws[target.draw])
    here = pl.col("domain") == target.test_domain
    empty = pl.DataFrame(
        schema={"seed": pl.Int64, "id": pl.String, "label": pl.Int64, "correct": pl.Float64}
    )
    baseline, other = (
        pl.concat(
            [
                empty,
                *(
                    by_run[run]
                    .filter(here, held_out)
                    .select(
                        pl.lit(seed, dtype=pl.Int64).alias("seed"),
                        "id",
                        "label",
                        pl.col("correct").cast(float),
                    )
                    for seed, run in grid[setting, target]
                    if run in by_run
                ),
            ]
        )
        for setting in settings
    )
    if settings[1] in _pretrained(plan):
        other = other.drop("seed").join(baseline.select("seed").unique(), how="cross")
    return baseline.join(
        other.drop("label"), on=["seed", "id"], suffix="_setting", maintain_order="left"
    ).sort("id", "seed")


def _pretrained(plan: StudyPlan) -> set[str]:
    """Settings that have no seed of their own."""
    return {run.setting for run in plan.runs if run.is_pretrained}


def _compared(quantity: str, pairs: pl.DataFrame, chance: float, planned: int) -> dict:
    """One comparison: a sample counts with the share of its seeds that are right."""
    if pairs.is_empty():
        reason = "no finished pair of runs of the two settings"
        return {"seeds": 0, "missing_seeds": planned, "reason": reason}
    mean = pl.col("correct", "correct_setting").mean()
    samples = pairs.group_by("id", maintain_order=True).agg(pl.col("label").first(), mean)
    before, after, labels = (
        samples[name].to_numpy() for name in ("correct", "correct_setting", "label")
    )
    seeds = pairs["seed"].n_unique()
    row = {"seeds": seeds, "missing_seeds": max(0, planned - seeds)}
    found: Difference | Ratio | Refused
    if quantity == RELATIVE:
        found = paired_ratio_interval(after, before, labels, chance)
    else:
        found = paired_difference_interval(before, after, labels)
    if isinstance(found, Refused):
        return row | {"reason": found.reason}
    p = {"p": found.p} if isinstance(found, Difference) else {}
    numbers = {key: getattr(found, key) for key in ("value", "lo", "hi", "n", "n_classes")}
    return row | numbers | p | _spread(_by_seed(quantity, pairs))


def _by_seed(quantity: str, pairs: pl.DataFrame) -> pl.Series:
    """The quantity per seed, each on the same samples."""
    mean = pl.col("correct", "correct_setting").mean()
    by_label = pairs.group_by("seed", "label", maintain_order=True).agg(mean)
    levels = by_label.group_by("seed", maintain_order=True).agg(mean)
    before, after = pl.col("correct"), pl.col("correct_setting")
    if quantity == RELATIVE:
        levels = levels.filter(before > 0)
        return levels.sort("seed").select(value=after / before)["value"]
    return levels.sort("seed").select(value=after - before)["value"]


def _adjusted(table: pl.DataFrame) -> pl.Series:
    """Benjamini and Hochberg's correction, a family per quantity."""
    adjusted: list[float | None] = [None] * table.height
    for quantity in table["quantity"].unique(maintain_order=True):
        known = (table["quantity"] == quantity) & table["p"].is_not_null()
        places = known.arg_true().to_list()
        found = benjamini_hochberg(table["p"].gather(places).to_list())
        for place, p in zip(places, found, strict=True):
            adjusted[place] = p
    return pl.Series(adjusted, dtype=pl.Float64)


def _in_order(table: pl.DataFrame, plan: StudyPlan) -> pl.DataFrame:
    """Test domains and settings as the plan has them, then draws and quantities."""
    ranks = {
        "test_domain": plan.test_domains,
        "setting": plan.settings,
        "draw": None,
        "quantity": (*SCORES.values(), *PAIRED),
    }
    order = [
        pl.col(key) if values is None else pl.col(key).cast(pl.Enum(values)).to_physical()
        for key, values in ranks.items()
    ]
    return table.sort(*order, maintain_order=True)
