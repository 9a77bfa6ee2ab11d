"""The numbers of a report: results → tables. What is missing is null, never zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import polars as pl

from analysis.report.study import StudyResults
from analysis.statistics import holm, paired_difference_interval

SPLITS = ("test", "test_unseen_drawing")
CLASS_SETS = ("held_out", "seen")
METRIC = "balanced_top1"
STAGES = ("train", "evaluate", "analyze")


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


def headline(results: StudyResults) -> pl.DataFrame:
    """Accuracy in the test domain: one row per test domain, setting, seed, split and class set.

    Columns: `test_domain`, `setting`, `seed`, `split`, `classes` (`held_out` or `seen`), `run`,
    `value`, `lo`, `hi`, `n`, `n_classes`, `chance`. Every planned row is there.
    """
    expected = served(results).join(
        pl.DataFrame(list(product(SPLITS, CLASS_SETS)), schema=["split", "classes"], orient="row"),
        how="cross",
    )
    scores = results.evaluation.filter(pl.col("metric") == METRIC).drop("setting", "seed", "metric")
    keys = ["run", "split", "test_domain", "classes"]
    joined = expected.join(
        scores.rename({"domain": "test_domain"}), on=keys, how="left", maintain_order="left"
    )
    first = ["test_domain", "setting", "seed", "split", "classes", "run"]
    return joined.select(*first, pl.exclude(*first))


def served(results: StudyResults) -> pl.DataFrame:
    """Which run answers for which (test domain, setting, seed), in the order of the plan."""
    order = {"test_domain": results.plan.test_domains, "setting": results.plan.settings}
    table = results.runs.explode("test_domains").rename({"test_domains": "test_domain"})
    ranks = [pl.col(key).cast(pl.Enum(values)).to_physical() for key, values in order.items()]
    return table.sort(*ranks, "seed").select("test_domain", "setting", "seed", "run")


def contrasts(results: StudyResults) -> pl.DataFrame:
    """Differences of accuracy on the held-out classes of the test domain, on the same samples.

    Columns: `split`, `contrast`, `test_domain`, `baseline`, `setting`, their accuracies
    `accuracy_baseline` and `accuracy_setting`, `value` (setting minus baseline), `lo`, `hi`, `p`,
    `p_holm` (over all comparisons of the split), `n`, `n_classes`, `seeds` (averaged per sample).
    """
    settings = set(results.plan.settings)
    known = [c for c in CONTRASTS if {c.baseline, c.setting} <= settings]
    rows = [
        {
            "split": split,
            "contrast": contrast.name,
            "test_domain": test_domain,
            "baseline": contrast.baseline,
            "setting": contrast.setting,
        }
        | _difference(results, contrast, test_domain, split)
        for split, contrast, test_domain in product(SPLITS, known, results.plan.test_domains)
    ]
    table = pl.DataFrame(rows, schema=CONTRAST_COLUMNS, orient="row", infer_schema_length=None)
    return table.with_columns(p_holm=_holm_by_split(table))


CONTRAST_COLUMNS = {
    **dict.fromkeys(["split", "contrast", "test_domain", "baseline", "setting"], pl.String),
    **dict.fromkeys(
        ["accuracy_baseline", "accuracy_setting", "value", "lo", "hi", "p", "p_holm"], pl.Float64
    ),
    **dict.fromkeys(["n", "n_classes", "seeds"], pl.Int64),
}


def _difference(results: StudyResults, contrast: Contrast, test_domain: str, split: str) -> dict:
    baseline = _answers(results, contrast.baseline, test_domain, split)
    setting = _answers(results, contrast.setting, test_domain, split)
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
    levels = samples.group_by("label").agg(mean).select(mean)
    return {
        "accuracy_baseline": levels["correct"].mean(),
        "accuracy_setting": levels["correct_setting"].mean(),
        **{key: getattr(difference, key) for key in ("value", "lo", "hi", "p", "n", "n_classes")},
        "seeds": pairs["seed"].n_unique(),
    }


def _answers(results: StudyResults, setting: str, test_domain: str, split: str) -> pl.DataFrame:
    """`seed`, `id`, `label`, `correct` of a setting on the held-out classes of a test domain."""
    runs = served(results).filter(setting=setting, test_domain=test_domain)["run"]
    return results.predictions.filter(
        pl.col("run").is_in(runs.to_list()),
        pl.col("class_name").is_in(results.plan.held_out),
        split=split,
        domain=test_domain,
    ).select("seed", "id", "label", pl.col("correct").cast(pl.Float64))


def _holm_by_split(table: pl.DataFrame) -> pl.Series:
    adjusted: list[float | None] = [None] * table.height
    for split in SPLITS:
        known = (table["split"] == split) & table["p"].is_not_null()
        places = known.arg_true().to_list()
        for place, p in zip(places, holm(table["p"].gather(places).to_list()), strict=True):
            adjusted[place] = p
    return pl.Series(adjusted, dtype=pl.Float64)


def all_domains(results: StudyResults) -> pl.DataFrame:
    """Accuracy of every run in every domain, on all classes.

    Columns: `run`, `setting`, `seed`, `split`, `domain`, `value`, `lo`, `hi`, `n`.
    """
    expected = results.runs.select("run", "setting", "seed").join(
        pl.DataFrame(
            list(product(SPLITS, results.plan.domains)), schema=["split", "domain"], orient="row"
        ),
        how="cross",
    )
    scores = results.evaluation.filter(metric=METRIC, classes="all")
    scores = scores.select("run", "split", "domain", "value", "lo", "hi", "n")
    return expected.join(scores, on=["run", "split", "domain"], how="left", maintain_order="left")


def exposure_counts(results: StudyResults) -> pl.DataFrame:
    """Training samples of every (domain, class) cell of every mixture.

    Columns: `test_domain`, `setting`, `domain`, `class_name`, `held_out` (is the class), `samples`.
    """
    schema = ["test_domain", "setting", "domain", "class_name", "held_out", "samples"]
    return pl.DataFrame(list(_cells(results)), schema=schema, orient="row")


def _cells(results: StudyResults) -> Iterator[tuple]:
    for test_domain, setting in product(results.plan.test_domains, results.plan.settings):
        manifest = results.mixtures.get((setting, test_domain))
        if manifest is None:
            continue
        for domain, row in zip(manifest["domains"], manifest["realised"], strict=True):
            for name, count in zip(manifest["classes"], row, strict=True):
                yield test_domain, setting, domain, name, name in results.plan.held_out, count


def cost(results: StudyResults) -> pl.DataFrame:
    """What every run took: state, seconds per stage, samples seen, samples per second."""
    rows = []
    for run in results.runs.iter_rows(named=True):
        record = results.records.get(run["run"], {})
        seconds = record.get("seconds", {})
        rows.append(
            {key: run[key] for key in ("run", "setting", "seed", "state")}
            | {f"{stage}_seconds": _float(seconds.get(stage)) for stage in STAGES}
            | {
                "samples_seen": record.get("samples_seen"),
                "samples_per_second": _float(record.get("samples_per_second")),
            }
        )
    return pl.DataFrame(rows, infer_schema_length=None)


def equal_compute(table: pl.DataFrame) -> bool | None:
    """Whether all runs of `cost` that tell saw equally many samples; None where fewer than two."""
    seen = table["samples_seen"].drop_nulls()
    return None if len(seen) < 2 else seen.n_unique() == 1


def _float(value: float | None) -> float | None:
    return None if value is None else float(value)


def sharing(results: StudyResults) -> pl.DataFrame:
    """Similarity per layer: pairs that include the test domain, and all other pairs.

    Means over pairs (and seeds). The interval is the mean of the pairs' intervals, as if their
    errors were one: pairs share their classes and images.

    Columns: `test_domain`, `setting`, `site`, `depth`, `pairs` (`with_test_domain`, `others`),
    `value`, `lo`, `hi`, `chance`, `ceiling`, `n_pairs`, `seeds`.
    """
    cka = results.similarity.filter(pl.col("value").is_finite(), measure="cka").drop(
        "setting", "seed"
    )
    table = served(results).join(cka, on="run", how="inner", maintain_order="left")
    is_test = (pl.col("domain_a") == pl.col("test_domain")) | (
        pl.col("domain_b") == pl.col("test_domain")
    )
    keys = ["test_domain", "setting", "site", "depth", "pairs"]
    pairs = pl.when(is_test).then(pl.lit("with_test_domain")).otherwise(pl.lit("others"))
    return (
        table.with_columns(pairs=pairs)
        .group_by(keys, maintain_order=True)
        .agg(
            pl.col("value", "lo", "hi", "chance", "ceiling").mean(),
            n_pairs=pl.struct("domain_a", "domain_b").n_unique(),
            seeds=pl.col("seed").n_unique(),
        )
    )


def missing_runs(results: StudyResults, settings: Sequence[str], test_domain: str) -> list[str]:
    """Runs of these settings for a test domain that are not finished."""
    states = dict(results.runs.select("run", "state").iter_rows())
    runs = served(results).filter(pl.col("setting").is_in(settings), test_domain=test_domain)
    return [run for run in runs["run"] if states[run] != "done"]
