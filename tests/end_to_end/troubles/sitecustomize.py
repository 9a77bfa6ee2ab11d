"""Troubles for the processes of a test, which Python imports at their start: from outside.

The folder TROUBLES stands beside `runs`, which it spoils: while a file `full` is there, the disk is
full, and the run that the file `unlucky` names cannot be trained. `writes` gets a line per file
that is written in a run's folder.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
TROUBLES = Path(os.environ["TROUBLES"])
RUNS = f"{TROUBLES.parent}/runs/"


def trouble(event: str, arguments: tuple) -> None:
    """Note or forbid what Python is about to do (an audit hook)."""
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, str) and flags & WRITING and path.startswith(("runs/", RUNS)):
            write(path)
    elif event == "os.rename" and os.path.abspath(arguments[1]).startswith(RUNS):
        fail_if_full(os.fspath(arguments[1]))


def write(path: str) -> None:
    """Note a file that is opened for writing, if it can be."""
    *_, run, name = path.rsplit("/", 2)
    run = path.rsplit("/", 3)[1] if run in ("checkpoints", "analysis") else run
    if name == "lock":  # also taken by who only looks at it
        return
    fail_if_full(path)
    if name == "metrics.jsonl" and run == UNLUCKY:
        raise RuntimeError("no luck at all")
    os.write(WRITES, f"{os.getpid()} {run} {name}\n".encode())


def fail_if_full(path: str) -> None:
    """Raise what a full disk raises."""
    if os.access(FULL, os.F_OK):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


FULL = str(TROUBLES / "full")
UNLUCKY = (TROUBLES / "unlucky").read_text()
WRITES = os.open(TROUBLES / "writes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
sys.addaudithook(trouble)
