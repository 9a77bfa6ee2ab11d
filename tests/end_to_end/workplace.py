"""A folder of its own in which a test types clipgen commands."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from gen.cli import main

ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Workplace:
    """A folder with its own data/ and runs/, and the command line in it."""

    folder: Path

    @property
    def study(self) -> Path:
        return self.folder / "runs" / "debug"

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "gen.cli", *arguments],
            cwd=self.folder,
            env=os.environ | ONE_THREAD,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def clipgen(self, *arguments: str, code: int = 0) -> str:
        """Run a command to its end, in this process; return what it printed on both streams."""
        printed = io.StringIO()
        with (
            contextlib.chdir(self.folder),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            returned = main(arguments)
        assert returned == code, printed.getvalue()
        return printed.getvalue()
