"""Sharing against generalization: one row per run and target, as the headline regression wants it.

What is held against each other comes from other classes: sharing from the seen classes of a draw,
accuracy from its held-out ones.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from analysis.report.sharing_tables import KEYS, SHARED, by_target
from analysis.report.study import StudyResults
from analysis.report.tables import served

SPLIT = "test"
ESTIMATE = ["value", "lo", "hi"]


def points(results: StudyResults, means: pl.DataFrame, measure: str | None = None) -> pl.DataFrame:
    """Accuracy in the test domain beside sharing with it, at every site.

    Args:
        results: of the study.
        means: `sharing_tables.sharing`.
        measure: of the primary rows; None for the study's.

    Returns:
        A row per run, target, site and measure: KEYS, `level`, `site`, `depth`, `primary` (whether
        it is the study's primary site and measure), `measure`, `sharing`, `sharing_lo`,
        `sharing_hi` (pairs with the test domain, seen classes), `n` (those classes), `n_pairs`
        (behind the mean), `held_out`, `held_out_lo`, `held_out_hi` and `seen` (accuracies of the
        final weights in the test domain), `samples` (training images of the test domain; null
        where the model was trained elsewhere), `log_samples` (ln(1 + samples)), `confidence` (mean
        of the largest softmax, on images of held-out classes), `transfer` (accuracy there of
        classifiers of the other domains at the same site, seen classes; null where the study has
        none) and `note`.
    """
    there = means.filter(pairs="with_test_domain", classes=SHARED).select(
        *KEYS,
        *("level", "site", "depth"),
        primary=pl.col("primary") & (pl.col("measure") == (measure or results.plan.primary[1])),
        measure="measure",
        sharing="value",
        sharing_lo="lo",
        sharing_hi="hi",
        n="n",
        n_pairs="n_pairs",
        note="note",
    )
    of_run = ["run", "test_domain", "draw"]
    table = there
    for facts in (accuracies(results), exposures(results), confidences(results)):
        table = table.join(facts, on=of_run, how="left", maintain_order="left")
    table = table.join(transfers(results), on=[*of_run, "site"], how="left", maintain_order="left")
    return table.select(pl.exclude("note"), "note")


def headline_rows(results: StudyResults, points: pl.DataFrame) -> pl.DataFrame:
    """The columns of `points` that `analysis.headline.headline` knows, of models trained here.

    How much of the test domain a pretrained model saw is not known.
    """
    trained = [run.name for run in results.plan.runs if not run.is_pretrained]
    columns = ["run", "setting", "test_domain", "draw", "seed", "held_out", "seen", "log_samples"]
    columns += ["confidence", "transfer", "site", "measure", "sharing"]
    return points.filter(pl.col("run").is_in(trained)).select(columns)


def accuracies(results: StudyResults) -> pl.DataFrame:
    """Balanced accuracy in the test domain: `held_out` with its interval, and `seen`."""
    scores = results.headline_scores.filter(split=SPLIT).rename({"domain": "test_domain"})
    keys = ["run", "test_domain", "draw"]
    held_out = scores.filter(classes="held_out").select(
        *keys, held_out="value", held_out_lo="lo", held_out_hi="hi"
    )
    seen = scores.filter(classes="seen").select(*keys, seen="value")
    return held_out.join(seen, on=keys, how="left", maintain_order="left")


def exposures(results: StudyResults) -> pl.DataFrame:
    """How many training images of the test domain a run's mixture really holds."""
    rows = []
    for run, test_domain, draw, name in (
        served(results).select("run", "test_domain", "draw", "mixture").iter_rows()
    ):
        manifest = results.mixtures.get(name)
        if manifest is not None:
            counts = manifest["realised"][manifest["domains"].index(test_domain)]
            rows.append((run, test_domain, draw, int(np.sum(counts))))
    schema = {"run": pl.String, "test_domain": pl.String, "draw": pl.Int64, "samples": pl.Int64}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    return table.with_columns(log_samples=pl.col("samples").log1p())


def confidences(results: StudyResults) -> pl.DataFrame:
    """Mean confidence on the test images of held-out classes in the test domain."""
    draws = [(draw, name) for draw, names in enumerate(results.plan.draws) for name in names]
    held_out = pl.DataFrame(draws, schema={"draw": pl.Int64, "class_name": pl.String}, orient="row")
    grid = served(results).select("run", "test_domain", "draw")
    answers = results.predictions.filter(split=SPLIT).rename({"domain": "test_domain"})
    found = answers.join(held_out, on="class_name").join(grid, on=["run", "test_domain", "draw"])
    return found.group_by("run", "test_domain", "draw", maintain_order=True).agg(
        confidence=pl.col("confidence").cast(pl.Float64).mean()
    )


def transfers(results: StudyResults) -> pl.DataFrame:
    """Mean accuracy in the test domain of classifiers that other domains' images trained."""
    rows = by_target(results, results.analyses["transfer"]).filter(
        pl.col("domain") == pl.col("test_domain"),
        pl.col("trained_on") != pl.col("test_domain"),
        classes=SHARED,
    )
    keys = ["run", "test_domain", "draw", "site"]
    return rows.group_by(keys, maintain_order=True).agg(transfer=pl.col("value").mean())
