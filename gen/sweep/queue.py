"""sweeps/ID.json: which runs somebody is going to do, so that anybody can tell `queued` from `new`.

A sweep on this machine holds a lock as long as it lives. One on Slurm lives in Slurm; its runs
count as queued until their job has ended.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from gen.locks import check_locks, lock_is_held
from gen.runs import utc_now
from splits.files import write_json

FOLDER = "sweeps"


@contextmanager
def announced(study_folder: Path, runs: Sequence[str]) -> Iterator[None]:
    """While active, these runs count as queued by a sweep of this process.

    Args:
        study_folder: of the study.
        runs: names of the runs that it is going to do.

    Raises:
        UserError: the file system knows no locks.
    """
    _forget_dead(study_folder)
    path = study_folder / FOLDER / f"{socket.gethostname()}-{os.getpid()}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    by = f"sweep {os.getpid()} on {socket.gethostname()}"
    lock = path.with_suffix(".lock")
    check_locks(lock)
    with FileLock(lock):
        try:
            write_json(path, {"by": by, "since": utc_now(), "runs": dict.fromkeys(runs, "")})
            yield
        finally:
            path.unlink(missing_ok=True)
            lock.unlink(missing_ok=True)


def announce_jobs(study_folder: Path, runs: Mapping[str, str], ended: str) -> None:
    """Write that runs were submitted to Slurm.

    Args:
        study_folder: of the study.
        runs: number of its job by the name of each run.
        ended: pattern of the path below the study's folder that is there once a job has ended,
            with `{job}`.
    """
    first = next(iter(runs.values())).split("_")[0]
    content = {"by": "Slurm", "since": utc_now(), "runs": dict(runs), "ended": ended}
    write_json(study_folder / FOLDER / f"slurm-{first}.json", content)


def queued(study_folder: Path) -> dict[str, str]:
    """By whom each run is queued (`sweep 812 on HOST`, `Slurm job 12_3`); others are not there."""
    found: dict[str, str] = {}
    for path in sorted((study_folder / FOLDER).glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):  # gone, or written by a process that a full disk stopped
            continue
        if "ended" in content:
            for run, job in content["runs"].items():
                if not (study_folder / content["ended"].format(job=job)).exists():
                    found[run] = f"{content['by']} job {job}"
        elif lock_is_held(path.with_suffix(".lock")):
            found |= dict.fromkeys(content["runs"], content["by"])
    return found


def _forget_dead(study_folder: Path) -> None:
    """Delete what sweeps of this machine left that were killed."""
    for path in (study_folder / FOLDER).glob(f"{socket.gethostname()}-*.lock"):
        with suppress(Timeout), FileLock(path, blocking=False):
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
