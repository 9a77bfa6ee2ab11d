"""Reading the tables of a study's folder that tell how words are read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from analysis.report.schemas import TEXT_PROBES, TEXT_ROBUSTNESS, Schema
from analysis.report.study_files import collect, read_parquet
from gen.schema import HEAD

if TYPE_CHECKING:
    from analysis.report.study_plan import PlannedRun, StudyPlan


def read_text_tables(
    plan: StudyPlan, folder: Path, runs: Sequence[PlannedRun], problems: list[str]
) -> dict[str, pl.DataFrame]:
    """`text_robustness`, in the test domains of each run, and `text_probes`, as far as asked for.

    Args:
        plan: of the study.
        folder: of the study.
        runs: that are finished; a classifier, which reads no texts, has no such tables.
        problems: a sentence is added for tables that are not there or cannot be read.
    """
    reading = [run for run in runs if plan.prompts[0] != HEAD or run.is_pretrained]
    named = [{"run": run.name, "setting": run.setting, "seed": run.seed} for run in reading]
    test_domains = {run.name: run.test_domains for run in reading}

    def read(path: Path, schema: Schema) -> pl.DataFrame:
        return read_parquet(path, schema, pl.col("domain").is_in(test_domains[path.parent.name]))

    disturbed, probed = (
        named if plan.text_robustness else [],
        named if plan.text_probes else [],
    )
    scores, probes = "text_robustness.parquet", "analysis/text_probes.parquet"
    return {
        "text_robustness": collect(folder, disturbed, scores, TEXT_ROBUSTNESS, read, problems),
        "text_probes": collect(folder, probed, probes, TEXT_PROBES, read_parquet, problems),
    }
