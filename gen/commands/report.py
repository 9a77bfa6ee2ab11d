"""The command `report`."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gen.commands.mixtures import write_pages
from gen.commands.options import Verbs, load, study_command
from splits.errors import UserError

if TYPE_CHECKING:
    from analysis.report.study import StudyResults
    from gen.sweep.study import Study


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
    from analysis.plan import plan_of
    from analysis.report.contrasts import contrasts
    from analysis.report.page import write_report
    from analysis.report.study import load_results
    from analysis.report.summary import summary_lines

    words = [options.study, *options.overrides]
    other = _second_study(options)
    study = load(options)
    results = load_results(plan_of(study), study.folder, every_class=other is not None)
    command = shlex.join(["clipgen", "report", *words])
    write_pages(study)
    differences = contrasts(results)
    path = write_report(results, study.folder / "report", command, differences)
    print("\n".join(summary_lines(results, differences)))
    print(f"report: {path}")
    if other:
        print(f"comparison: {_write_comparison(study, results, other, command)}")


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


def _write_comparison(study: Study, results: StudyResults, other: Study, command: str) -> Path:
    """Write the page that compares two studies into the report of the first."""
    from analysis.plan import plan_of
    from analysis.report.study import load_results
    from analysis.report.study_comparison import ComparedStudy
    from analysis.report.study_comparison_page import write_study_comparison
    from gen.config import resolved

    def described(results: StudyResults, of: Study) -> ComparedStudy:
        config = {"study": resolved(of.config), "model": resolved(of.model)}
        return ComparedStudy(results, config)

    first = described(results, study)
    second = described(load_results(plan_of(other), other.folder, every_class=True), other)
    return write_study_comparison(first, second, study.folder / "report", command)
