"""heartbeat.json: who works on a run, and that the process is alive: the file's age tells.

Locks do not reach across all file systems; a heartbeat does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gen.runs import utc_now
from gen.sweep.attempts import slurm_job
from splits.files import write_json

NAME = "heartbeat.json"
SECONDS = 5.0
"""between two beats"""
FRESH = 60.0
"""age in seconds from which a process on another machine is taken for dead"""
SETTLING = 2.0
"""seconds within which machines that find the same dead heartbeat have put theirs in its place"""


@dataclass(frozen=True)
class Heartbeat:
    """Who works, or worked, on a run.

    Attributes:
        age: seconds since the last beat.
        stage: `train`, `evaluate` or `analyze`.
        since: when the stage began.
    """

    host: str
    pid: int
    job: str
    stage: str
    since: str
    age: float

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is a fresh one of another machine, whose locks may not be seen here."""
        return self.host != socket.gethostname() and self.age < FRESH


@contextmanager
def beating(folder: Path) -> Iterator[bool]:
    """While active, a thread renews the heartbeat of a run; a full disk does not stop the run.

    Yields False where a process on another machine has the run, which sees no lock from here. The
    thread asks this process to end (SIGTERM) when one takes the run over: it saw no sign of life
    here for too long.

    Args:
        folder: of a run that this process has locked.
    """
    over = threading.Event()

    def beat() -> None:
        while not over.wait(SECONDS):
            if _is_anothers(folder):
                os.kill(os.getpid(), signal.SIGTERM)
                return
            with suppress(OSError):
                os.utime(folder / NAME)

    if not _begin(folder):
        yield False
        return
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield True
    finally:
        over.set()
        thread.join()
        with suppress(OSError):
            if not _is_anothers(folder):
                (folder / NAME).unlink(missing_ok=True)


def tell_stage(folder: Path, stage: str) -> None:
    """Say at what stage of a run this process works, whose heart beats there."""
    with suppress(OSError):
        if not _is_anothers(folder):
            write_json(folder / NAME, _who() | {"stage": stage, "since": utc_now()})


def _begin(folder: Path) -> bool:
    """Put the heartbeat of this process in the place of a dead one's; False where one lives."""
    path, left = folder / NAME, read_heartbeat(folder)
    if left is not None and left.is_elsewhere:
        return False
    is_contested = left is not None and (left.host != socket.gethostname() or left.age > FRESH / 2)
    content = json.dumps(_who() | {"stage": "train", "since": utc_now()})
    try:
        path.unlink(missing_ok=True)  # of who was killed: it must not beat on
        with path.open("x", encoding="utf-8") as file:  # of several machines one succeeds
            file.write(content)
    except FileExistsError:
        return False
    except OSError:
        with suppress(OSError):  # half of it
            path.unlink(missing_ok=True)
    if is_contested:  # another machine may have deleted ours in place of the dead one's
        time.sleep(SETTLING)
    return not _is_anothers(folder)


def _is_anothers(folder: Path) -> bool:
    """Whether the heartbeat there is that of another process."""
    beat = read_heartbeat(folder)
    return beat is not None and (beat.host, beat.pid) != (socket.gethostname(), os.getpid())


def _who() -> dict[str, str | int]:
    return {"host": socket.gethostname(), "pid": os.getpid(), "job": slurm_job()}


def read_heartbeat(folder: Path) -> Heartbeat | None:
    """The heartbeat of a run; None where nobody works on it, or it is not readable."""
    path = folder / NAME
    try:
        age = time.time() - path.stat().st_mtime
        return Heartbeat(**json.loads(path.read_text(encoding="utf-8")), age=age)
    except (OSError, ValueError, TypeError):
        return None
