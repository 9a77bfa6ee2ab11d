"""Files that are whole or absent: every result is written beside its place and renamed onto it."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FULL_BYTES = 1 << 16
FULL_ERRORS = (errno.ENOSPC, errno.EDQUOT)
"""error numbers of a disk without room, or of a quota that is used up"""
DISK_ERRORS = (
    *FULL_ERRORS,
    *(errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
)
"""error numbers of folders and disks, which the user can mend"""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path; on success flush it to disk and rename it onto `path`.

    A process killed at any moment leaves either the old file or the new one, never half of one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()  # so that a folder without write access is told in the system's words
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except Exception as error:
        if (
            shutil.disk_usage(path.parent).free < FULL_BYTES
        ):  # libraries hide it in errors of theirs
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` as a whole."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def text_of(path: Path) -> str | None:
    """Text of a file that another process may delete at any moment; None where there is none.

    One that cannot be read counts as none.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


def first_line(path: Path) -> str:
    """First line with a word in it, if there is such a file."""
    lines = (text_of(path) or "").strip().splitlines()
    return lines[0] if lines else ""


def write_json(path: Path, content: Any) -> None:
    """Write `content` to `path` as a whole, as JSON that is pleasant to read and to compare."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def is_full_disk(error: BaseException) -> bool:
    """Whether an error, or one that led to it, is that of a full disk.

    Libraries hide it in errors of theirs, of which only the words tell.
    """
    words = [os.strerror(number) for number in FULL_ERRORS]
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in FULL_ERRORS:
            return True
        if any(text in str(cause) for text in words):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _flush_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
