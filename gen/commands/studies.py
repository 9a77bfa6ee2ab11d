"""Commands on whole studies: sweep, status, report."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from gen.commands.mixtures import write_pages
from gen.commands.options import Verbs, cores, load, positive, save, study_command
from splits.errors import UserError

if TYPE_CHECKING:
    from analysis.report.study import StudyResults
    from gen.sweep.study import Study


def add_study_commands(commands: Verbs) -> None:
    """`sweep`, `status` and `report`."""
    sweep = study_command(commands, "sweep", sweep_study, "finish every run of a study")
    sweep.add_argument("--slots", type=positive, default=cores(), help="processes at a time")
    sweep.add_argument("--dry-run", action="store_true", help="list the runs, start none")
    status = study_command(commands, "status", show_status, "where a study stands")
    status.add_argument("--watch", action="store_true", help="again every two seconds")
    status.add_argument("--json", action="store_true", help="as JSON")
    text = "write a study's report; with the name of a second study also compare the two"
    report = study_command(commands, "report", write_study_report, text)
    report.usage = "%(prog)s [-h] [--data DATA] [--runs RUNS] STUDY [OTHER] [KEY=VALUE ...]"
    report.epilog = (
        "examples: clipgen report demo; clipgen report demo icons; OTHER is a folder of RUNS, as "
        "it was last swept, a study of configs/studies, or a YAML file; keys apply to STUDY"
    )


def sweep_study(options: argparse.Namespace) -> None:
    from gen.sweep.local import run_sweep, slot_command

    study = load(options)
    if options.dry_run:
        _print_plan(study)
        return
    save(study)
    folders = ["--data", str(options.data), "--runs", str(options.runs)]
    run_sweep(study, slot_command([options.study, *options.overrides, *folders]), options.slots)
    print(f"{len(study.runs)} runs done in {study.folder}")


def show_status(options: argparse.Namespace) -> None:
    from gen.sweep.status import status_table

    study = load(options)
    if options.json:
        print(status_table(study).write_json())
        return
    _print_status(study)
    while options.watch and not all(run.done for run in study.runs):
        time.sleep(2)
        print("\033[H\033[2J" if sys.stdout.isatty() else "", end="")
        _print_status(study)


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


def _coinciding(study: Study) -> list[str]:
    """Settings whose mixtures are the same for a test domain and draw: trained more than once."""
    alike: dict[tuple[str, int, str], list[str]] = {}
    for mixture in study.mixtures.values():
        key = (mixture.test_domain, mixture.draw, mixture.sha256)
        alike.setdefault(key, []).append(mixture.setting.name)
    found = {tuple(names) for names in alike.values() if len(names) > 1}
    return [f"the same mixture by several names: {', '.join(names)}" for names in sorted(found)]


def _print_status(study: Study) -> None:
    from gen.sweep.status import status_table

    for row in status_table(study).iter_rows(named=True):
        loss = f"loss {row['loss']:.3f}" if row["loss"] is not None else ""
        print(f"{row['state']:<8} {_share(row['progress']):>6}  {row['run']:<52} {loss}")


def _print_plan(study: Study) -> None:
    """Every run with the samples and the hash of its mixture, and what they sum to."""
    from gen.sweep.status import status_table

    table = status_table(study)
    width = max(map(len, table["run"]))
    base = max(table["base_samples"].drop_nulls())
    print(f"{'state':<8} {'share':>5}  {'samples':>9}  {'mixture':<12}  run")
    for row in table.iter_rows(named=True):
        samples = "" if row["samples"] is None else f"{row['samples']:,}"
        line = f"{row['state']:<8} {_share(row['progress']):>5}  {samples:>9}"
        mixture = (row["mixture_sha256"] or "pretrained")[:12]
        print(f"{line}  {mixture:<12}  {row['run']:<{width}}".rstrip())
    for line in _coinciding(study):
        print(line)
    mixtures = table["mixture_sha256"].drop_nulls()
    pretrained = len(table) - len(mixtures)
    print(
        f"{len(mixtures)} runs of {mixtures.n_unique()} different mixtures, "
        f"{study.config.training.samples_seen:,} samples seen by each"
        + (f"; every mixture holds {base:,} samples of {study.config.base} besides" if base else "")
        + (f"; {pretrained} pretrained models" if pretrained else "")
    )


def _share(progress: float | None) -> str:
    """A share in percent; nothing for a model that is not trained here."""
    return "" if progress is None else f"{progress:.0%}"
