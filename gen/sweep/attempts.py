"""attempts.jsonl: every start of work on a run and how it ended, one line each, appended.

A start that no end follows was killed, or still goes on: the run's lock tells which.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from gen.runs import ATTEMPTS, utc_now

FORGIVEN = "forgiven"
"""key of the line from which failures are counted anew"""


class Outcome(Enum):
    """How an attempt ended."""

    done = "done"
    failed = "failed"
    """by an error, which the attempt tells"""
    stopped = "stopped"
    """somebody asked for it; its state is written"""
    killed = "killed"
    """without a word, or it still goes on"""


@dataclass(frozen=True)
class Attempt:
    """One start of work on a run.

    Attributes:
        started, ended: as `utc_now` writes them; `ended` is empty after a kill.
        host, pid, job: who worked; `job` is that of Slurm, if any.
        samples_seen: of the state from which it went on.
        error: first line of what was wrong.
    """

    started: str
    host: str = ""
    pid: int = 0
    job: str = ""
    samples_seen: int = 0
    ended: str = ""
    outcome: Outcome = Outcome.killed
    error: str = ""


def note_start(folder: Path, samples_seen: int) -> None:
    """Write that this process begins to work on a run."""
    who = {"host": socket.gethostname(), "pid": os.getpid(), "job": slurm_job()}
    _append(folder, {"started": utc_now(), **who, "samples_seen": samples_seen})


def note_end(folder: Path, outcome: Outcome, error: str = "") -> None:
    """Write how the attempt that began last ended."""
    _append(folder, {"ended": utc_now(), "outcome": outcome.name, "error": error})


def forgive(folder: Path) -> None:
    """Let earlier failures of a run count no more."""
    if (folder / ATTEMPTS).is_file():
        _append(folder, {FORGIVEN: utc_now()})


def read_attempts(folder: Path) -> list[Attempt]:
    """Every attempt at a run, in order; lines that a kill or a full disk cut off are left out."""
    return [attempt for attempt in _read(folder) if attempt is not None]


def failures_in_a_row(folder: Path) -> int:
    """Attempts since the last forgiveness that failed or were killed, none of which got further.

    An attempt that began with more samples seen than the one before shows that that one got
    further, and starts the count anew. An attempt that still goes on counts, too.
    """
    count, seen = 0, 0
    for attempt in _read(folder):
        if attempt is None:
            count = 0
            continue
        if attempt.outcome in (Outcome.done, Outcome.stopped):
            count = 0
        else:
            count = 1 if attempt.samples_seen > seen else count + 1
        seen = attempt.samples_seen
    return count


class Tally(NamedTuple):
    """Attempts at several runs that were ever begun, and those of them that stopped."""

    begun: int
    stopped: int


def tally(folders: Iterable[Path]) -> Tally:
    """Count the attempts at the runs in these folders."""
    outcomes = [attempt.outcome for folder in folders for attempt in read_attempts(folder)]
    return Tally(len(outcomes), outcomes.count(Outcome.stopped))


def slurm_job() -> str:
    """Number of the Slurm job that this process belongs to, with its place in an array; or none."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{key}_ID", "") for key in ("JOB", "TASK"))
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", "")


def is_queued_again() -> bool:
    """Whether this process belongs to a Slurm job that began before."""
    return int(os.environ.get("SLURM_RESTART_COUNT", 0)) > 0


def _read(folder: Path) -> Sequence[Attempt | None]:
    """Attempts, and None where earlier ones were forgiven."""
    path = folder / ATTEMPTS
    found: list[Attempt | None] = []
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if FORGIVEN in row:
            found.append(None)
        elif "started" in row:
            found.append(Attempt(**row))
        elif found and found[-1] is not None:
            found[-1] = replace(found[-1], **row | {"outcome": Outcome[row["outcome"]]})
    return found


def _append(folder: Path, row: dict) -> None:
    """Add a line by one write, which no other process's write splits.

    Raises:
        OSError: the disk has no room for all of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / ATTEMPTS
    torn = path.is_file() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    line = (("\n" if torn else "") + json.dumps(row) + "\n").encode()
    with path.open("ab", buffering=0) as file:
        if file.write(line) < len(line):  # the system tells nothing where a part of it went in
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
