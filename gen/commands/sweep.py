"""The command `sweep`: every stage of a study, from its dataset to its report.

A stage whose inputs have not changed since it was done is skipped, and says so.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gen.commands.amounts import counted
from gen.commands.options import (
    Verbs,
    cores,
    load,
    natural,
    positive,
    save,
    study_command,
)
from gen.commands.report import current_key, report_command, write_reports
from splits.errors import UserError

if TYPE_CHECKING:
    from gen.sweep.study import Study

RETRIES = 2
EXAMPLES = """stages: dataset (icons and scenes are rendered, others have to be imported), mixtures,
runs, report; each is skipped where nothing that it is made of has changed

examples:
  clipgen sweep demo                           the whole study, as many runs at a time as fit
  clipgen sweep demo --dry-run                 runs, their states, estimated time and disk
  clipgen sweep demo seeds=[0,1,2] name=three-seeds
  clipgen sweep my-study.yaml --slots 2 --retries 0
  clipgen sweep domainnet --executor slurm --profile my-cluster.yaml

Ctrl-C at any time: the same command goes on. Two sweeps of one study share the work.
"""


def add_sweep_command(commands: Verbs) -> None:
    """`sweep`."""
    text = "do a study: make its dataset and mixtures, train and test every run, write the report"
    sweep = study_command(commands, "sweep", sweep_study, text)
    sweep.formatter_class = argparse.RawDescriptionHelpFormatter
    sweep.epilog = EXAMPLES
    sweep.add_argument(
        "--slots", type=positive, help="runs at a time (default: one per GPU, or per core)"
    )
    sweep.add_argument(
        "--retries",
        type=natural,
        help=f"how often a run is tried again that failed without a step ahead ({RETRIES})",
    )
    sweep.add_argument(
        "--executor", choices=["local", "slurm"], default="local", help="where runs are done"
    )
    sweep.add_argument(
        "--profile", metavar="FILE", help="what a run gets on Slurm, in configs/profiles or a file"
    )
    sweep.add_argument("--dry-run", action="store_true", help="list the runs, start none")


def sweep_study(options: argparse.Namespace) -> None:
    from gen.training.preemption import ending_at_sigterm

    with ending_at_sigterm():
        _sweep(options)


def _sweep(options: argparse.Namespace) -> None:
    _check(options)
    if options.dry_run:
        _plan(options)
        return
    _provide_datasets(options)
    study = load(options)
    _save_mixtures(study)
    if options.executor == "slurm":
        _submit(study, options)
        return
    failed = _run(study, options)
    _report(study, options)
    if failed:
        raise failed


def _check(options: argparse.Namespace) -> None:
    """Refuse what is wrong whatever the dataset holds, before any work.

    Raises:
        UserError: an option has no meaning here, or the study's file is wrong.
    """
    from gen.config import load_config
    from gen.sweep.checks import check_study

    on_slurm = options.executor == "slurm"
    named = ["profile"] if not on_slurm else ["slots", "retries"]
    for name in named:
        if getattr(options, name) is not None:
            raise UserError(
                f"--{name} has no meaning with --executor {options.executor}",
                fix="resources.parallel=N is how many runs Slurm does at a time"
                if on_slurm
                else "--executor slurm, or keys of `resources` on the command line",
            )
    config = load_config("studies", options.study, options.overrides)
    check_study(config)
    load_config("models", config.model)


def _plan(options: argparse.Namespace) -> None:
    from gen.commands.plan import print_plan
    from gen.sweep.slurm import resources_of

    study = load(options)
    if options.executor == "slurm":
        wanted = resources_of(study.config, options.profile, options.overrides)
        print_plan(study, wanted.parallel or None, here=False)
    else:
        print_plan(study, options.slots)


def _provide_datasets(options: argparse.Namespace) -> None:
    """See that the study's dataset and base are there."""
    from gen.config import load_config
    from gen.datasets.provision import provide

    config = load_config("studies", options.study, options.overrides)
    for kind, name in (("dataset", config.dataset), ("base", config.base)):
        if name:
            print(f"{kind} {name}: {provide(name, options.data, workers=cores())}", flush=True)


def _save_mixtures(study: Study) -> None:
    folder = study.folder / "mixtures"
    before = {name: _written(folder / name) for name in study.mixtures}
    save(study)
    written = sum(_written(folder / name) != then for name, then in before.items())
    done = f"{written} written" if written else "as planned; nothing to do"
    print(f"{counted(len(before), 'mixture')}: {done}", flush=True)


def _written(mixture: Path) -> int:
    """When a mixture was written, in nanoseconds; 0 where there is none."""
    path = mixture / "manifest.json"
    return path.stat().st_mtime_ns if path.is_file() else 0


def _run(study: Study, options: argparse.Namespace) -> UserError | None:
    """Finish every run that can be finished here; the error that tells which could not."""
    from gen.sweep.local import run_sweep, slot_command

    if all(run.done for run in study.runs):
        print(f"{counted(len(study.runs), 'run')}: done; nothing to do", flush=True)
        return None
    retries = RETRIES if options.retries is None else options.retries
    command = slot_command(_words(options))
    try:
        run_sweep(study, command, slots=options.slots, retries=retries)
    except UserError as error:
        return error
    print(f"{counted(len(study.runs), 'run')}: done", flush=True)
    return None


def _words(options: argparse.Namespace) -> list[str]:
    """How the command line names the study and where it is."""
    folders = ["--data", str(options.data), "--runs", str(options.runs)]
    return [options.study, *options.overrides, *folders]


def _submit(study: Study, options: argparse.Namespace) -> None:
    from gen.sweep.slurm import resources_of, submit_study

    resources = resources_of(study.config, options.profile, options.overrides)
    words = _words(options)
    submission = submit_study(study, data=options.data, resources=resources, words=words)
    if submission is None and all(run.done for run in study.runs):
        _report(study, options)


def _report(study: Study, options: argparse.Namespace) -> None:
    """Write the report, unless it would say what is there."""
    from analysis.report.freshness import is_fresh

    folder = study.folder / "report"
    if is_fresh(folder, current_key(study)):
        print(f"report: nothing that it is made of has changed: {folder / 'index.html'}")
        return
    write_reports(study, report_command([options.study, *options.overrides]))
