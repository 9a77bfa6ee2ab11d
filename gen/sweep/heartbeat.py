"""heartbeat.json: who works on a run, and that the process is alive: the file's age tells.

Locks do not reach across all file systems; a heartbeat does.
"""

from __future__ import annotations

import json
import os
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
def beating(folder: Path, stage: str) -> Iterator[None]:
    """While active, a thread renews the heartbeat of a run; a full disk does not stop the run."""
    content = {"host": socket.gethostname(), "pid": os.getpid(), "job": slurm_job()}
    path, over = folder / NAME, threading.Event()

    def beat() -> None:
        while not over.wait(SECONDS):
            with suppress(OSError):
                os.utime(path)

    with suppress(OSError):
        path.unlink(missing_ok=True)  # of who was killed: it must not beat on
        write_json(path, content | {"stage": stage, "since": utc_now()})
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with suppress(OSError):
            path.unlink(missing_ok=True)


def read_heartbeat(folder: Path) -> Heartbeat | None:
    """The heartbeat of a run; None where nobody works on it, or it is not readable."""
    path = folder / NAME
    try:
        age = time.time() - path.stat().st_mtime
        return Heartbeat(**json.loads(path.read_text(encoding="utf-8")), age=age)
    except (OSError, ValueError, TypeError):
        return None
