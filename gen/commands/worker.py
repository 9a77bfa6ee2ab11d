"""Work on runs: claimed, its stages one after another, with what it leaves for others to see.

Of several processes that share a run the first one decides and writes; it calls the others when
there is something to train.
"""

from __future__ import annotations

import errno
import os
import shlex
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from splits.errors import Stopped, UserError
from splits.files import is_full_disk

if TYPE_CHECKING:
    from gen.runs import Run
    from gen.sweep.study import Study
    from gen.training.distributed import Ranks

NO_MORE = -1
"""what the first process tells the others instead of the number of a run"""


@dataclass(frozen=True)
class Worker:
    """Who works on runs of a study.

    Attributes:
        ranks: the processes that share every run.
        retries: how often a run is tried again that failed without a step ahead.
        logs: whether what is printed goes into the logs of the runs.
        fresh: whether this process ends after an error that is no mistake of the user, since what
            it broke (a GPU's context, the memory) is not the next run's.
    """

    study: Study
    ranks: Ranks
    retries: int = 0
    logs: bool = False
    fresh: bool = False


def take_open_runs(worker: Worker) -> None:
    """Finish runs, one unit after another, until none is left that nobody has given up."""
    from gen.sweep.work import is_open, is_taken, unfinished, units

    while left := unfinished(worker.study):
        taken = [
            _work_on(worker, run)
            for unit in units(left)
            for run in unit  # whoever has the weights goes on with those that take them over
            if is_open(run) and not is_taken(run)
        ]
        if not any(taken):
            time.sleep(1)  # the rest is held by others, who may yet be killed


def finish(worker: Worker, run: Run) -> None:
    """Finish a run and those that take over its weights; of its own twin the training only.

    Raises:
        UserError: it is held by another process, or failed.
    """
    from gen.sweep.attempts import forgive, is_queued_again
    from gen.sweep.work import reason_of

    if run.twin is not None and not run.twin.has_weights:
        with claimed(run.twin), _log(worker, run.twin):
            train(worker, run.twin)
    followers = [other for other in worker.study.runs if other.twin and other.twin.name == run.name]
    for one in [run, *followers]:
        with claimed(one):
            if not one.done:
                one.failure.unlink(missing_ok=True)
            if not one.done and not is_queued_again():
                forgive(one.folder)  # else one that takes its machine down is begun without end
        while not one.done and not one.failure.is_file():
            if not _work_on(worker, one):
                raise _held(one)
        if not one.done:
            raise UserError(
                f"run {one.name} failed: {reason_of(one)}",
                where=str(one.failure),
                fix="mend the cause and start the same command again",
            )


def follow(worker: Worker) -> None:
    """Train what the first process tells, until it says that there is no more, or is gone."""
    from gen.stages import train_run

    study = worker.study
    while (number := _told(worker)) != NO_MORE:
        run = study.runs[number]
        with _log(worker, run):
            train_run(run, study.dataset, study.base, worker.ranks)


def _told(worker: Worker) -> int:
    from gen.training.distributed import told_by_first

    try:
        return told_by_first(worker.ranks)
    except RuntimeError:  # the first one is gone, and has said why
        return NO_MORE


def dismiss(worker: Worker) -> None:
    """Tell the other processes that there is no more."""
    from gen.training.distributed import told_by_first

    told_by_first(worker.ranks, NO_MORE)


@contextmanager
def claimed(run: Run) -> Iterator[None]:
    """Hold a run.

    A process on another machine whose locks do not reach us, and that died, has a heartbeat for a
    while; it is waited for.

    Raises:
        UserError: somebody else holds it.
    """
    from gen.locks import claim
    from gen.sweep.heartbeat import FRESH, beating, read_heartbeat

    end = time.monotonic() + FRESH
    while (beat := read_heartbeat(run.folder)) and beat.is_elsewhere:
        if time.monotonic() > end:
            raise _held(run)
        time.sleep(1)
    with claim(run) as mine:
        if not mine:
            raise _held(run)
        with beating(run.folder) as alone:
            if not alone:
                raise _held(run)
            yield


def train(worker: Worker, run: Run) -> None:
    """Train a run, in all processes."""
    from gen.sweep.heartbeat import tell_stage

    tell_stage(run.folder, "train")  # before what takes seconds to import
    from gen.stages import train_run
    from gen.training.distributed import told_by_first

    told_by_first(worker.ranks, worker.study.runs.index(run))
    train_run(run, worker.study.dataset, worker.study.base, worker.ranks)


def evaluate(worker: Worker, run: Run) -> None:
    """Evaluate a trained or pretrained model; the latter is described first."""
    from gen.sweep.heartbeat import tell_stage

    tell_stage(run.folder, "evaluate")
    from gen.models.pretrained import record_pretrained
    from gen.stages import evaluate_run

    if run.pretrained is not None:
        record_pretrained(run)
    evaluate_run(run, worker.study.dataset)


def analyze(worker: Worker, run: Run) -> None:
    """Analyse a trained or pretrained model."""
    from gen.sweep.heartbeat import tell_stage

    tell_stage(run.folder, "analyze")
    from analysis.run import analyze_run
    from gen.runs import update_record, void_results

    void_results(run, "analyzed")
    analyze_run(run, worker.study.dataset)
    update_record(run.folder, analyzed=run.analyses_key)


def _work_on(worker: Worker, run: Run) -> bool:
    """Try an open run once; False where somebody else holds it."""
    from gen.locks import claim
    from gen.sweep.heartbeat import beating
    from gen.sweep.work import give_up, is_open, last_failure, may_be_tried, reason_of

    with ExitStack() as held:
        mine = held.enter_context(claim(run)) and held.enter_context(beating(run.folder))
        if not mine or not is_open(run):
            return mine
        if not may_be_tried(run, worker.retries):
            give_up(run, last_failure(run))
        elif run.twin is not None and not run.twin.has_weights:
            give_up(run, f"{run.twin.name}, whose weights it has, failed: {reason_of(run.twin)}")
        else:
            with _log(worker, run):
                _try(worker, run)
    return True


def _try(worker: Worker, run: Run) -> None:
    """One attempt at a run that this process holds; how it ended is written."""
    from gen.sweep.attempts import Outcome, note_end, note_start
    from gen.sweep.work import samples_kept

    note_start(run.folder, samples_kept(run))
    try:
        _do_stages(worker, run)
    except (Stopped, SystemExit, KeyboardInterrupt):
        with suppress(OSError):
            note_end(run.folder, Outcome.stopped)
        raise
    except Exception as error:
        if is_full_disk(error):
            told = os.strerror(errno.ENOSPC)
            with suppress(OSError):
                note_end(run.folder, Outcome.stopped, told)
            where = getattr(error, "filename", None) or run.folder
            raise OSError(errno.ENOSPC, told, str(where)) from error
        _fail(worker, run, error)
    else:
        note_end(run.folder, Outcome.done)


def _do_stages(worker: Worker, run: Run) -> None:
    """What is not done yet of a run."""
    from gen.runs import mark_done

    if run.pretrained is None:
        train(worker, run)
    if not run.evaluated:
        evaluate(worker, run)
    if not run.analyzed:
        analyze(worker, run)
    mark_done(run)
    if not run.done:
        raise RuntimeError("some of its results are not there, though every stage came to its end")


def _fail(worker: Worker, run: Run, error: Exception) -> None:
    """Write why an attempt failed, and that no other is made where none would help."""
    from gen.sweep.attempts import Outcome, note_end
    from gen.sweep.work import give_up, may_be_tried

    known = isinstance(error, UserError)
    told = str(error) if known else f"{type(error).__name__}: {error}"
    reason, details = told.splitlines()[0], traceback.format_exc()
    print(told if known else details, file=sys.stderr)
    note_end(run.folder, Outcome.failed, reason)
    if known or not may_be_tried(run, worker.retries):
        give_up(run, told, details)
    if worker.ranks.size > 1 or (worker.fresh and not known):
        raise SystemExit(f"{run.name} failed: {reason}")


@contextmanager
def _log(worker: Worker, run: Run) -> Iterator[None]:
    """While active, everything that this process prints goes to a run's log, if it is to."""
    from gen.sweep.work import LOG

    if not worker.logs:
        yield
        return
    path = run.folder / LOG
    if worker.ranks.is_first:
        print(f"{path}: {_who()}", file=sys.stderr)
    # with filters of its own every run's log has the warnings that an earlier one had
    with warnings.catch_warnings(), _printing_to(str(path)):
        print(_who(), file=sys.stderr, flush=True)
        yield


def _who() -> str:
    from gen.runs import utc_now

    return f"{utc_now()} process {os.getpid()}: clipgen {shlex.join(sys.argv[1:])}"


@contextmanager
def _printing_to(path: str) -> Iterator[None]:
    """While active, standard output and error, of C libraries too, are appended to a file."""
    before = [(number, os.dup(number)) for number in (1, 2)]
    try:
        with open(path, "ab", buffering=0) as file:
            _flush()
            for number, _ in before:
                os.dup2(file.fileno(), number)
        yield
    finally:
        _flush()
        for number, kept in before:
            os.dup2(kept, number)
            os.close(kept)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # a full disk; what is not written now is so later
            stream.flush()


def _held(run: Run) -> UserError:
    return UserError(f"run {run.name} is held by another process", where=str(run.folder))
