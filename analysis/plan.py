"""What a report expects of a study, taken from the study itself."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from analysis.report.study_plan import PlannedRun, StudyPlan
from gen.datasets.samples import Dataset
from gen.runs import Run, Target
from gen.schema import HEAD, ModelKind
from gen.sweep.study import Study, arm_study, mixture_name


def plans_of(study: Study) -> dict[str, StudyPlan]:
    """The plan of every arm of a study, by the arm's label; of a study with one arm, its own."""
    if len(study.arms) == 1:
        label = study.arms[0].label
        return {label: plan_of(arm_study(study, label))}
    every = frozenset(run.name for run in study.runs)
    plans = {}
    for arm in study.arms:
        plan = plan_of(arm_study(study, arm.label))
        settings = tuple(name for name in study.settings if name in plan.settings)
        plans[arm.label] = replace(plan, settings=settings, arm=arm.label, siblings=every)
    return plans


def plan_of(study: Study) -> StudyPlan:
    """The plan of a study with one arm: its grid, and what every run must hold to count.

    Test domains and seeds are those that a run has, of all that the study names.
    """
    served = {domain for run in study.runs for domain in run.test_domains}
    runs = tuple(
        PlannedRun(
            name=run.name,
            setting=run.setting,
            seed=run.seed,
            mixtures=_mixtures_of(run),
            results_key=run.results_key,
            mixture_sha256=run.mixture.sha256 if run.mixtures else "",
            twin=run.twin.name if run.twin else "",
        )
        for run in study.runs
    )
    return StudyPlan(
        name=study.name,
        dataset=study.dataset.name,
        natural=study.dataset.natural,
        test_domains=tuple(name for name in study.config.test_domains if name in served),
        settings=study.settings,
        seeds=tuple(study.arms[0].config.seeds),
        draws=study.draws,
        classes=study.dataset.classes,
        domains=study.dataset.domains,
        tests=coverage_of(study.dataset),
        runs=runs,
        dataset_seconds=study.dataset.build_seconds,
        prompts=prompts_of(study),
        probes=study.config.evaluation.probes,
        text_robustness=study.config.evaluation.text_robustness,
        text_probes=study.config.evaluation.text_probes,
        analyses=tuple(kind.name for kind in study.config.analysis.kinds),
        primary=(study.config.analysis.primary_site, study.config.analysis.primary_measure.name),
        dataset_sha256=study.dataset.sha256,
        coverage=study.config.coverage,
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
