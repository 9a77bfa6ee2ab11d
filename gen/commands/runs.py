"""Commands on single runs: run, train, evaluate, analyze."""

from __future__ import annotations

import argparse
import os
import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from gen.commands.options import Verbs, load, study_command
from splits.errors import UserError
from splits.files import DISK_ERRORS

if TYPE_CHECKING:
    from gen.runs import Run
    from gen.sweep.study import Study


def add_run_commands(commands: Verbs) -> None:
    """`run`, and its stages alone."""
    run = study_command(commands, "run", run_study, "train, evaluate and analyse open runs")
    run.add_argument("--run", metavar="ID", help="only this run (a prefix of its name will do)")
    run.add_argument("--slot", action="store_true", help="end when standard input closes")
    for name, command, text in (
        ("train", train_one, "train one run"),
        ("evaluate", evaluate_one, "evaluate one trained run (again)"),
        ("analyze", analyze_one, "analyse one trained run (again)"),
    ):
        stage = study_command(commands, name, command, text)
        stage.add_argument("--run", metavar="ID", required=True, help="name, or a prefix of it")


def run_study(options: argparse.Namespace) -> None:
    from gen.sweep.local import complain, forget_failures
    from gen.sweep.study import find_run

    if options.slot:
        _end_with_standard_input()
    study = load(options)
    if options.run:
        run = find_run(study, options.run)
        run.failure.unlink(missing_ok=True)
        if not _finish_run(run, study):
            raise UserError(f"run {run.name} is held by another process", where=str(run.folder))
        return
    if not options.slot:
        forget_failures(study)
    _take_open_runs(study)
    if not options.slot:
        complain(study)


def _take_open_runs(study: Study) -> None:
    """Finish runs, one after another, until none is left that nobody has failed at."""
    while open_runs := [r for r in study.runs if not r.done and not r.failure.is_file()]:
        taken = [_finish_run(run, study, note_failure=True) for run in open_runs]
        if not any(taken):
            time.sleep(1)  # the rest is held by others, who may yet be killed


def _finish_run(run: Run, study: Study, *, note_failure: bool = False) -> bool:
    """All stages of a run that are not done yet; False where another process holds it.

    With `note_failure` one run's failure is not the others': it is written into its folder.
    """
    from gen.runs import claim

    with claim(run) as mine:
        if not mine:
            return False
        if run.done or (note_failure and run.failure.is_file()):
            return True
        try:
            _do_stages(run, study)
        except Exception as error:
            if not note_failure or (isinstance(error, OSError) and error.errno in DISK_ERRORS):
                raise
            run.failure.write_text(f"{error}\n\n{traceback.format_exc()}", encoding="utf-8")
    return True


def _do_stages(run: Run, study: Study) -> None:
    from analysis.run import analyze_run
    from gen.stages import evaluate_run, train_run
    from splits.files import write_text

    train_run(run, study.dataset, study.base)
    if not run.evaluated:
        evaluate_run(run, study.dataset)
    if not run.similarity.is_file():
        analyze_run(run, study.dataset)
    write_text(run.folder / "DONE", run.results_key)


def train_one(options: argparse.Namespace) -> None:
    from gen.stages import train_run

    _one_stage(options, lambda run, study: train_run(run, study.dataset, study.base), trained=False)


def evaluate_one(options: argparse.Namespace) -> None:
    from gen.stages import evaluate_run

    _one_stage(options, lambda run, study: evaluate_run(run, study.dataset), trained=True)


def analyze_one(options: argparse.Namespace) -> None:
    from analysis.run import analyze_run

    _one_stage(options, lambda run, study: analyze_run(run, study.dataset), trained=True)


def _one_stage(
    options: argparse.Namespace, stage: Callable[[Run, Study], None], *, trained: bool
) -> None:
    from gen.runs import claim
    from gen.sweep.study import find_run

    study = load(options)
    run = find_run(study, options.run)
    if trained and not run.final_weights.is_file():
        fix = f"clipgen train {options.study} --run {run.name}"
        raise UserError(f"run {run.name} is not trained", where=str(run.folder), fix=fix)
    with claim(run) as mine:
        if not mine:
            raise UserError(f"run {run.name} is held by another process", where=str(run.folder))
        stage(run, study)
    print(run.folder)


def _end_with_standard_input() -> None:
    """End this process when whoever started it is gone, and its end of the pipe with it."""

    def wait() -> None:
        while os.read(0, 1024):  # not sys.stdin: its lock, held at exit, would abort the process
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
