"""The command `report`, and the reports that other commands write."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gen.commands.mixtures import write_pages
from gen.commands.options import Verbs, load, study_command
from splits.errors import UserError

if TYPE_CHECKING:
    from analysis.report.study_comparison import ComparedStudy
    from analysis.report.study_plan import StudyPlan
    from gen.sweep.study import Study

    Arms = dict[str, ComparedStudy]
    """what a report compares, by the label of the arm"""


def add_report_command(commands: Verbs) -> None:
    """`report`."""
    text = "write a study's report; with the name of a second study also compare the two"
    report = study_command(commands, "report", write_study_report, text)
    report.usage = "%(prog)s [-h] [--data DATA] [--runs RUNS] STUDY [OTHER] [KEY=VALUE ...]"
    report.epilog = (
        "examples: clipgen report demo; clipgen report demo icons; OTHER is a folder of RUNS, as "
        "it was last swept, a study of configs/studies, or a YAML file; keys apply to STUDY"
    )


def write_study_report(options: argparse.Namespace) -> None:
    words = [options.study, *options.overrides]
    other = _second_study(options)
    study = load(options)
    pairs = _arms_in_common(study, other) if other else []
    arms = write_reports(study, report_command(words), every_class=other is not None)
    if other:
        _compare(study, arms, other, pairs, report_command(words))


def report_command(words: Sequence[str]) -> str:
    """The command line that makes a report, as it stands in it."""
    return shlex.join(["clipgen", "report", *words])


def write_reports(study: Study, command: str, *, every_class: bool = False) -> Arms:
    """Write a study's report, with one of its own on each arm where it has several; tell it.

    Args:
        study: with mixtures that are saved.
        command: the command line that makes it, to be shown in it.
        every_class: whether predictions are read of all classes, not only of held-out ones.

    Returns:
        What it is made of.
    """
    from analysis.report.freshness import begin_report, end_report

    key, folder = current_key(study), study.folder / "report"
    arms = _read_arms(study, every_class=every_class)
    labels = [label for label in arms if len(arms) > 1]
    begin_report(folder, labels)
    write_pages(study)
    write = _write_all if labels else _write_one
    lines, path = write(arms, folder, command)
    end_report(folder, key, labels)
    print("\n".join(lines))
    print(f"report: {path}")
    return arms


def _write_one(arms: Arms, folder: Path, command: str) -> tuple[list[str], Path]:
    """The report on a study with one arm, and what it says in a few lines."""
    from analysis.report.contrasts import contrasts
    from analysis.report.page import write_report
    from analysis.report.summary import summary_lines

    (arm,) = arms.values()
    differences = contrasts(arm.results)
    path = write_report(arm.results, folder, command, differences)
    return summary_lines(arm.results, differences), path


def _write_all(arms: Arms, folder: Path, command: str) -> tuple[list[str], Path]:
    """The reports on several arms, and the page over all of them."""
    from analysis.report.arms import arm_differences
    from analysis.report.arms_page import arms_lines, write_arms_page
    from analysis.report.page import write_report
    from gen.progress import progress

    with progress(len(arms), "reports on arms", "arm") as bar:
        for label, arm in arms.items():
            write_report(arm.results, folder / label, command)
            bar.update()
    every = list(arms.values())
    differences = arm_differences(every)
    path = write_arms_page(every, folder, command, differences)
    return arms_lines(every, differences), path


def current_key(study: Study) -> str:
    """Hash of everything that the report on a study is made of, as it is now."""
    from analysis.report.freshness import report_key
    from gen.config import resolved
    from gen.provenance import git_state

    configs = [resolved(study.config), *(resolved(arm.config) for arm in study.arms)]
    code = [version("clipgen"), git_state()]  # outside a clone there is the version only
    return report_key(list(_plans(study).values()), study.folder, configs, code)


def _plans(study: Study) -> dict[str, StudyPlan]:
    from analysis.plan import plans_of

    return plans_of(study)


def _read_arms(study: Study, *, every_class: bool) -> Arms:
    """The results of every arm, with its configuration.

    Arms with one tower and with two are compared on all classes, whatever else is asked for.
    """
    from analysis.report.study import load_results
    from analysis.report.study_comparison import ComparedStudy
    from gen.config import resolved
    from gen.schema import ModelKind

    every_class |= {ModelKind.clip, ModelKind.clippo} <= {arm.model.kind for arm in study.arms}
    configs = {
        arm.label: {"study": resolved(arm.config), "model": resolved(arm.model)}
        for arm in study.arms
    }
    return {
        label: ComparedStudy(
            load_results(plan, study.folder, every_class=every_class), configs[label]
        )
        for label, plan in _plans(study).items()
    }


def _second_study(options: argparse.Namespace) -> Study | None:
    """The study to compare with, which stands among the overrides, and is taken out of them."""
    names = [word for word in options.overrides if "=" not in word]
    if len(names) > 1:
        raise UserError(
            f"{len(names) + 1} studies are named: {', '.join([options.study, *names])}",
            expected="one study, or two that are compared",
            where="clipgen report",
        )
    options.overrides = [word for word in options.overrides if "=" in word]
    return _saved_study(names[0], options) if names else None


def _saved_study(name: str, options: argparse.Namespace) -> Study:
    """A study as it was last swept; one that never was, as its configuration says."""
    from omegaconf import OmegaConf

    from gen.sweep.study import load_study

    saved = options.runs / name / "study.yaml"
    if not saved.is_file():
        return load_study(name, [], data=options.data, runs=options.runs)
    with TemporaryDirectory() as folder:
        config = Path(folder) / f"{name}.yaml"
        config.write_text(OmegaConf.to_yaml(OmegaConf.load(saved).study), encoding="utf-8")
        return load_study(str(config), [], data=options.data, runs=options.runs)


def _arms_in_common(study: Study, other: Study) -> list[tuple[str, str]]:
    """Labels of the arms that are compared: those of the same name, or the only ones of both.

    Raises:
        UserError: there are none.
    """
    ours, theirs = ([arm.label for arm in each.arms] for each in (study, other))
    if len(ours) == len(theirs) == 1:
        return [(ours[0], theirs[0])]
    pairs = [(label, label) for label in ours if label in theirs]
    if not pairs:
        raise UserError(
            f"studies {study.name} and {other.name} have no arm in common",
            expected="arms of the same name",
            where=f"{study.name}: {_listed(ours)}; {other.name}: {_listed(theirs)}",
        )
    return pairs


def _compare(
    study: Study, arms: Arms, other: Study, pairs: Sequence[tuple[str, str]], command: str
) -> None:
    """Write the pages that compare two studies, arm by arm, into the reports of the first."""
    from analysis.report.study_comparison_page import write_study_comparison

    others = _read_arms(other, every_class=True)
    left_out = []
    for each, labels in ((study, {ours for ours, _ in pairs}), (other, {b for _, b in pairs})):
        if alone := [arm.label for arm in each.arms if arm.label not in labels]:
            left_out.append(f"Not compared: arms of {each.name} only, {_listed(alone)}.")
    for ours, theirs in pairs:
        folder = study.folder / "report" / (ours if len(arms) > 1 else "")
        path = write_study_comparison(arms[ours], others[theirs], folder, command, left_out)
        print(f"comparison: {path}")
    print("\n".join(left_out), end="\n" * bool(left_out))


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(label or "one without a name" for label in labels)
