"""Run a study on this machine: a few one-thread processes take open runs until none is left.

Each process is a `clipgen run` command that claims runs by file locks, so that any number of
them, started by anybody, never work on the same run. Several threads in one process would slow
each other down on a small machine; several processes do not.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gen.progress import progress
from gen.sweep.status import samples_done
from gen.sweep.study import Study
from gen.training.schedule import total_samples
from splits.errors import UserError

POLL_SECONDS = 0.5


def run_sweep(study: Study, command: Sequence[str], slots: int) -> None:
    """Finish every run of a study; return when all are done.

    Args:
        study: the study.
        command: the command line that takes open runs of it (`clipgen run STUDY --slot …`).
        slots: processes at a time.

    Raises:
        UserError: runs failed; the message names them and their logs.
    """
    forget_failures(study)
    open_runs = [run for run in study.runs if not run.done]
    if not open_runs:
        return
    workers = [
        _start(command, study.folder / "logs" / f"slot-{slot}.log")
        for slot in range(min(slots, len(open_runs)))
    ]
    try:
        _watch(study, workers)
    finally:
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
    complain(study, [worker.returncode for worker in workers])


def _start(command: Sequence[str], log: Path) -> subprocess.Popen:
    """Start a worker; it ends by itself when this process is gone (its input closes)."""
    log.parent.mkdir(parents=True, exist_ok=True)
    one_thread = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    with log.open("w") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | one_thread,
        )


def _watch(study: Study, workers: list[subprocess.Popen]) -> None:
    """Show progress until every worker has ended."""
    trained = [run for run in study.runs if run.pretrained is None]
    total = total_samples(study.config.training) * len(trained)
    done = sum(samples_done(run) for run in study.runs)
    unfinished = list(study.runs)  # who is done stays so, and is not asked again
    with progress(total, "training", "pairs", done=done) as bar:
        while any(worker.poll() is None for worker in workers):
            time.sleep(POLL_SECONDS)
            unfinished = [run for run in unfinished if not run.done]
            finished = len(study.runs) - len(unfinished)
            done = sum(samples_done(run) for run in trained)
            bar.set_postfix_str(f"{finished}/{len(study.runs)} runs done", refresh=False)
            bar.update(done - bar.n)


def forget_failures(study: Study) -> None:
    """Let runs that failed be tried again."""
    for run in study.runs:
        run.failure.unlink(missing_ok=True)


def complain(study: Study, codes: Sequence[int] = ()) -> None:
    """Raise a UserError that names the runs that are not finished, and why, if there are any.

    Args:
        study: the study.
        codes: exit codes of the processes that worked on it.
    """
    failed = [run for run in study.runs if not run.done]
    if not failed:
        return
    reasons = []
    for run in failed:
        text = run.failure.read_text(encoding="utf-8") if run.failure.is_file() else ""
        reasons.append(f"{run.name}: {text.splitlines()[0] if text.strip() else 'not finished'}")
    bad = sorted({code for code in codes if code})
    raise UserError(
        f"{len(failed)} of {len(study.runs)} runs are not finished"
        + (f" (workers ended with code {bad})" if bad else "")
        + "".join(f"\n    {reason}" for reason in reasons),
        where=f"{study.folder / 'logs'} and FAILED in the runs' folders",
        fix="mend the cause and start the same command again: finished work is kept",
    )


def slot_command(arguments: Sequence[str]) -> list[str]:
    """The command line of a worker."""
    return [sys.executable, "-m", "gen.cli", "run", *arguments, "--slot"]
