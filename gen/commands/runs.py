"""Commands on single runs: run, train, evaluate, analyze."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from gen.commands.options import Verbs, load, study_command
from splits.errors import UserError
from splits.files import DISK_ERRORS

if TYPE_CHECKING:
    from gen.runs import Run
    from gen.sweep.study import Study
    from gen.training.distributed import Ranks


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
    with _ranks() as ranks:
        if options.run:
            run = find_run(study, options.run)
            if ranks.is_first:
                run.failure.unlink(missing_ok=True)
            if not _finish_run(run, study, ranks):
                raise _held(run)
            return
        if ranks.size > 1:
            raise UserError(
                f"{ranks.size} processes were started to share a run",
                expected="which one: --run ID",
                fix=f"clipgen sweep {options.study} --dry-run lists the runs",
            )
        if not options.slot:
            forget_failures(study)
        _take_open_runs(study, ranks)
        if not options.slot:
            complain(study)


def _take_open_runs(study: Study, ranks: Ranks) -> None:
    """Finish runs, one after another, until none is left that nobody has failed at."""
    while open_runs := [r for r in study.runs if not r.done and not r.failure.is_file()]:
        taken = [_finish_run(run, study, ranks, note_failure=True) for run in open_runs]
        if not any(taken):
            time.sleep(1)  # the rest is held by others, who may yet be killed


def _finish_run(run: Run, study: Study, ranks: Ranks, *, note_failure: bool = False) -> bool:
    """All stages of a run that are not done yet; False where another process holds it.

    With `note_failure` one run's failure is not the others': it is written into its folder.
    """
    from gen.training.preemption import Preempted

    with _claimed(run, ranks) as mine:
        if not mine:
            return False
        if run.done or (note_failure and run.failure.is_file()):
            return True
        try:
            _do_stages(run, study, ranks)
        except Preempted:
            raise
        except Exception as error:
            if not note_failure or (isinstance(error, OSError) and error.errno in DISK_ERRORS):
                raise
            run.failure.write_text(f"{error}\n\n{traceback.format_exc()}", encoding="utf-8")
    return True


def _do_stages(run: Run, study: Study, ranks: Ranks) -> None:
    """Train in all processes what is not trained yet; the rest is the first one's."""
    from gen.runs import mark_done
    from gen.stages import evaluate_run, train_run

    if run.pretrained is None:
        train_run(run, study.dataset, study.base, ranks)
    if not ranks.is_first:
        return
    if not run.evaluated:
        _describe(run)
        evaluate_run(run, study.dataset)
    if not run.analyzed:
        _analyze(run, study)
    mark_done(run)


def _describe(run: Run) -> None:
    """Write what a pretrained model is; training does so for all others."""
    from gen.models.pretrained import record_pretrained

    if run.pretrained is not None:
        record_pretrained(run)


def _analyze(run: Run, study: Study) -> None:
    from analysis.run import analyze_run
    from gen.runs import update_record, void_results

    void_results(run, "analyzed")
    analyze_run(run, study.dataset)
    update_record(run.folder, analyzed=run.analyses_key)


def train_one(options: argparse.Namespace) -> None:
    from gen.stages import train_run

    with _ranks() as ranks:
        _one_stage(
            options,
            lambda run, study: train_run(run, study.dataset, study.base, ranks),
            ranks,
            trained=False,
        )


def evaluate_one(options: argparse.Namespace) -> None:
    from gen.stages import evaluate_run
    from gen.training.distributed import alone

    def evaluate(run: Run, study: Study) -> None:
        _describe(run)
        evaluate_run(run, study.dataset)

    _one_stage(options, evaluate, alone(), trained=True)


def analyze_one(options: argparse.Namespace) -> None:
    from gen.training.distributed import alone

    _one_stage(options, _analyze, alone(), trained=True)


def _one_stage(
    options: argparse.Namespace,
    stage: Callable[[Run, Study], None],
    ranks: Ranks,
    *,
    trained: bool,
) -> None:
    from gen.runs import mark_done
    from gen.sweep.study import find_run

    study = load(options)
    run = find_run(study, options.run)
    if not trained and run.pretrained is not None:
        fix = f"clipgen run {options.study} --run {run.name} evaluates it"
        raise UserError(f"run {run.name} is pretrained: nothing is to be trained", fix=fix)
    if trained and not run.trained:
        fix = f"clipgen train {options.study} --run {run.name}"
        raise UserError(f"run {run.name} is not trained", where=str(run.folder), fix=fix)
    with _claimed(run, ranks) as mine:
        if not mine:
            raise _held(run)
        stage(run, study)
        if ranks.is_first:
            mark_done(run)
    if ranks.is_first:
        print(run.folder)


@contextmanager
def _ranks() -> Iterator[Ranks]:
    """The processes that share a run; what was asked to end (SIGTERM) ends well."""
    from gen.training.distributed import joined_ranks
    from gen.training.preemption import Preempted

    try:
        with joined_ranks() as ranks:
            yield ranks
    except Preempted as stopped:
        print(f"{stopped}; the same command goes on from there", file=sys.stderr)


@contextmanager
def _claimed(run: Run, ranks: Ranks) -> Iterator[bool]:
    """Hold a run for all processes that share it; False where somebody else holds it."""
    from gen.runs import claim
    from gen.training.distributed import any_rank

    with claim(run) if ranks.is_first else nullcontext(True) as mine:
        yield not any_rank(not mine)


def _held(run: Run) -> UserError:
    return UserError(f"run {run.name} is held by another process", where=str(run.folder))


def _end_with_standard_input() -> None:
    """End this process when whoever started it is gone, and its end of the pipe with it."""

    def wait() -> None:
        while os.read(0, 1024):  # not sys.stdin: its lock, held at exit, would abort the process
            pass
        os.kill(os.getpid(), signal.SIGTERM)  # a training writes a state before it ends

    threading.Thread(target=wait, daemon=True).start()
