"""Locks of the operating system (flock): whoever works on a run holds its lock while alive."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from splits.errors import UserError

if TYPE_CHECKING:
    from gen.runs import Run

LOOK_SECONDS = 1.0
"""how long a run's lock is waited for: a look at it (`lock_is_held`) holds it for a moment"""
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""error numbers of file systems that know no locks"""


@contextmanager
def claim(run: Run) -> Iterator[bool]:
    """Hold a run while working on it; yields False where another process holds it.

    The lock is the operating system's (flock): it goes with its owner, even after `kill -9`.

    Raises:
        UserError: the file system knows no locks.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    check_locks(run.folder / "lock")
    lock = FileLock(run.folder / "lock")
    try:
        held = lock.acquire(timeout=LOOK_SECONDS)
    except Timeout:
        yield False
        return
    with held:
        yield True


def lock_is_held(path: Path) -> bool:
    """Whether a process holds the lock at `path`; looks do not hinder each other.

    Raises:
        UserError: the file system knows no locks.
    """
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        raise UserError(
            f"files cannot be locked: {error.strerror}",
            expected="a file system with `flock`, at least among the processes of a machine",
            where=str(path.parent),
            fix="mount it with locks (of Lustre: `-o flock`), or choose another place with --runs",
        ) from None
    finally:
        os.close(file)
    return False


def check_locks(path: Path) -> None:
    """Refuse a place without locks, where filelock would make do with a file that outlives a kill.

    Args:
        path: of a lock; it is made.

    Raises:
        UserError: the file system knows no locks.
    """
    path.touch()
    lock_is_held(path)
