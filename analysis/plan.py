"""What a report expects of a study, taken from the study itself."""

from __future__ import annotations

from analysis.report.study import PlannedRun, StudyPlan
from gen.sweep.study import Study, mixture_folder


def plan_of(study: Study) -> StudyPlan:
    """The plan of a study: its grid, and what every run must hold to count."""
    runs = tuple(
        PlannedRun(
            name=run.name,
            setting=run.setting,
            test_domains=tuple(run.mixtures),
            seed=run.seed,
            mixtures={
                domain: mixture_folder(study.folder, mixture).name
                for domain, mixture in run.mixtures.items()
            },
            results_key=run.results_key,
            mixture_sha256=run.mixture.sha256,
        )
        for run in study.runs
    )
    return StudyPlan(
        name=study.name,
        dataset=study.dataset.name,
        natural=study.dataset.natural,
        test_domains=tuple(study.config.test_domains),
        settings=tuple(study.config.settings),
        seeds=tuple(study.config.seeds),
        held_out=study.held_out,
        classes=study.dataset.classes,
        domains=study.dataset.domains,
        runs=runs,
        dataset_seconds=study.dataset.build_seconds,
    )
