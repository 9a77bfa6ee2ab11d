"""Commands on single runs: run, train, evaluate, analyze."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from gen.commands.options import Verbs, load, natural, study_command
from gen.commands.worker import (
    Worker,
    analyze,
    claimed,
    dismiss,
    evaluate,
    finish,
    follow,
    take_open_runs,
    train,
)
from splits.errors import Stopped, UserError

if TYPE_CHECKING:
    from gen.runs import Run
    from gen.sweep.study import Study


def add_run_commands(commands: Verbs) -> None:
    """`run`, and its stages alone."""
    run = study_command(commands, "run", run_study, "train, evaluate and analyse open runs")
    run.add_argument("--run", metavar="ID", help="only this run (a prefix of its name will do)")
    run.add_argument("--slot", action="store_true", help="end when standard input closes")
    run.add_argument(
        "--retries", type=natural, default=0, metavar="N", help="try a run again after an error"
    )
    for name, command, text in (
        ("train", train_one, "train one run"),
        ("evaluate", evaluate_one, "evaluate one trained run (again)"),
    ):
        stage = study_command(commands, name, command, text)
        stage.add_argument("--run", metavar="ID", required=True, help="name, or a prefix of it")
    text = "analyse one trained run (again), or all that lack what the study asks for"
    stage = study_command(commands, "analyze", analyze_runs, text)
    stage.add_argument("--run", metavar="ID", help="name, or a prefix of it")


def run_study(options: argparse.Namespace) -> None:
    from gen.sweep.study import find_run
    from gen.sweep.work import complain, forget_failures

    with _ending_well():
        if options.slot:
            _end_with_standard_input()
        study = load(options)
        chosen = find_run(study, options.run) if options.run else None
        # at a terminal somebody wants to see it; elsewhere the run's log keeps it
        logs = options.slot or not sys.stderr.isatty()
        with _leading(study, options.retries, logs=logs, fresh=options.slot) as worker:
            if worker is None:
                return
            if chosen is not None:
                finish(worker, chosen)
                return
            if not options.slot:
                forget_failures(study)
            take_open_runs(worker)
    if not options.slot:
        complain(study)


def train_one(options: argparse.Namespace) -> None:
    _one_stage(options, train, trained=False)


def evaluate_one(options: argparse.Namespace) -> None:
    _one_stage(options, evaluate, trained=True)


def analyze_runs(options: argparse.Namespace) -> None:
    if options.run:
        _one_stage(options, analyze, trained=True)
        return
    with _ending_well():
        study = load(options)
        with _leading(study) as worker:
            if worker is not None:
                _analyze_all(worker)


def _analyze_all(worker: Worker) -> None:
    """Analyse every trained run that lacks its tables; one that fails stops no other.

    Raises:
        UserError: some could not be analysed.
    """
    from gen.runs import mark_done

    runs, failed = worker.study.runs, []
    for run in runs:
        if run.analyzed or not run.trained:
            continue
        try:
            with claimed(run):
                analyze(worker, run)
                mark_done(run)
            print(run.folder)
        except UserError as error:
            failed.append(str(error))
    untrained = sum(not run.trained for run in runs)
    if untrained:
        print(f"{untrained} of {len(runs)} runs are not trained: left out", file=sys.stderr)
    if failed:
        told = "\n".join(failed)
        raise UserError(f"{len(failed)} of {len(runs)} runs are not analysed:\n{told}")


def _one_stage(
    options: argparse.Namespace, stage: Callable[[Worker, Run], None], *, trained: bool
) -> None:
    from gen.runs import mark_done
    from gen.sweep.study import find_run

    with _ending_well():
        study = load(options)
        run = find_run(study, options.run)
        if not trained and run.pretrained is not None:
            fix = f"clipgen run {options.study} --run {run.name} evaluates it"
            raise UserError(f"run {run.name} is pretrained: nothing is to be trained", fix=fix)
        if trained and not run.trained:
            fix = f"clipgen train {options.study} --run {run.name}"
            raise UserError(f"run {run.name} is not trained", where=str(run.folder), fix=fix)
        with _leading(study) as worker:
            if worker is not None:
                with claimed(run):
                    stage(worker, run)
                    mark_done(run)
                print(run.folder)


@contextmanager
def _ending_well() -> Iterator[None]:
    """Give back what is held when the process is asked to end (SIGTERM); a training first goes on
    to its next state.

    Of several processes it is the first one that tells of its end. The others have given their
    share then; if one of them told, torchrun would kill the first one, which is writing.
    """
    from gen.training.preemption import ending_at_sigterm

    with ending_at_sigterm() if os.environ.get("RANK", "0") == "0" else suppress(Stopped):
        yield


@contextmanager
def _leading(study: Study, retries: int = 0, **ways: bool) -> Iterator[Worker | None]:
    """Join the processes that share runs; None in those that have followed the first to its end.

    Args:
        study: whose runs.
        retries, ways: as `Worker` has them.
    """
    from gen.training.distributed import joined_ranks

    with joined_ranks() as ranks:
        worker = Worker(study, ranks, retries, **ways)
        if ranks.is_first:
            yield worker
            dismiss(worker)
        else:
            follow(worker)
            yield None


def _end_with_standard_input() -> None:
    """End this process when whoever started it is gone, and its end of the pipe with it."""

    def wait() -> None:
        while os.read(0, 1024):  # not sys.stdin: its lock, held at exit, would abort the process
            pass
        os.kill(os.getpid(), signal.SIGTERM)  # a training writes a state before it ends

    threading.Thread(target=wait, daemon=True).start()
