"""What a report expects of a study, taken from the study itself."""

from __future__ import annotations

import polars as pl

from analysis.report.study import PlannedRun, StudyPlan
from gen.datasets.samples import Dataset
from gen.runs import Run, Target
from gen.schema import HEAD, ModelKind
from gen.sweep.study import Study, mixture_name


def plan_of(study: Study) -> StudyPlan:
    """The plan of a study: its grid, and what every run must hold to count."""
    runs = tuple(
        PlannedRun(
            name=run.name,
            setting=run.setting,
            seed=run.seed,
            mixtures=_mixtures_of(run),
            results_key=run.results_key,
            mixture_sha256=run.mixture.sha256 if run.mixtures else "",
        )
        for run in study.runs
    )
    return StudyPlan(
        name=study.name,
        dataset=study.dataset.name,
        natural=study.dataset.natural,
        test_domains=tuple(study.config.test_domains),
        settings=study.settings,
        seeds=tuple(study.config.seeds),
        draws=study.draws,
        classes=study.dataset.classes,
        domains=study.dataset.domains,
        tests=coverage_of(study.dataset),
        runs=runs,
        dataset_seconds=study.dataset.build_seconds,
        prompts=prompts_of(study),
        probes=study.config.evaluation.probes,
        dataset_sha256=study.dataset.sha256,
    )


def prompts_of(study: Study) -> tuple[str, ...]:
    """Names of the prompt sets, the headline's first; `head` where a classifier reads none."""
    if study.model.kind is ModelKind.classifier:
        return (HEAD,)
    return tuple(prompts.name for prompts in study.config.evaluation.prompts)


def _mixtures_of(run: Run) -> dict[Target, str]:
    """Name of the mixture's folder per target; empty names where it is pretrained."""
    if run.pretrained is not None:
        return dict.fromkeys(run.held_out, "")
    return {target: mixture_name(mixture) for target, mixture in run.mixtures.items()}


def coverage_of(dataset: Dataset) -> dict[str, dict[str, frozenset[str]]]:
    """Split → domain → classes that have test images there; only splits that the dataset has."""
    cells = (
        dataset.scan()
        .filter(pl.col("split") != "train")
        .group_by("split", "domain")
        .agg(pl.col("class_name").unique())
        .sort("split", "domain")
        .collect()
    )
    tests: dict[str, dict[str, frozenset[str]]] = {}
    for split, domain, classes in cells.iter_rows():
        tests.setdefault(split, {})[domain] = frozenset(classes)
    return tests
