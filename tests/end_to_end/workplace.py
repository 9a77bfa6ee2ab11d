"""A folder of its own in which a test types clipgen commands."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

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
        """Run a command to its end; return what it printed on both streams."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, out + err
        return out + err
