"""The process that works in a slot of a sweep: started, asked to end, and started again.

A worker has a session of its own, so that Ctrl-C at a terminal reaches the scheduler alone, and
ends by itself when its standard input closes: also after `kill -9` of the scheduler.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from itertools import takewhile
from pathlib import Path

from gen.sweep.attempts import Tally
from gen.sweep.slots import Slot

MOST_DEATHS = 3
"""of workers of a slot, one after another, while which no run was begun"""
LONGEST_PAUSE = 60.0
"""seconds before a worker is started again"""
LAST_LINES = 5
"""of a worker's log that are told"""
TORCHRUN = re.compile(r"[EWI]\d{4} \S+ \d+ torch/distributed/")
"""how lines begin that torchrun logs"""


class Seat:
    """A slot, and the worker that sits in it now.

    Attributes:
        deaths: workers that died in a row without a run being begun.
        due: time from which a worker may be started.
        is_over: whether none is started any more.

    Args:
        slot: of the machine.
        command: of a worker.
        log: file to which it prints what belongs to no run.
    """

    def __init__(self, slot: Slot, command: Sequence[str], log: Path) -> None:
        self.log = log
        self.deaths, self.due, self.is_over = 0, 0.0, False
        self._slot, self._command = slot, slot.command(command)
        self._worker: subprocess.Popen | None = None
        self._log_start, self._before = 0, Tally(0, 0)

    @property
    def name(self) -> str:
        """As its log has it."""
        return self.log.stem

    @property
    def is_taken(self) -> bool:
        """Whether there is a worker, alive or not yet missed."""
        return self._worker is not None

    def start(self, attempts: Tally) -> None:
        """Start a worker.

        Args:
            attempts: at all runs, up to now.

        Raises:
            OSError: its log cannot be written.
        """
        self._before = attempts
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._log_start = output.tell()
            self._worker = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | self._slot.environment,
                start_new_session=True,
            )

    def ended(self) -> int | None:
        """Exit code of a worker that has ended and is not missed yet, whose seat is free then."""
        if self._worker is None or (code := self._worker.poll()) is None:
            return None
        self.hang_up()  # torchrun's processes may outlive it; they end, too
        self._worker = None
        return code

    def was_stopped(self, attempts: Tally) -> bool:
        """Whether a worker that has ended was asked to, or had no room, whatever its exit code.

        Torchrun has one of its own. It may also be the worker of another seat that was stopped.

        Args:
            attempts: as in `start`.
        """
        return self._slot.processes > 1 and attempts.stopped > self._before.stopped

    def died(self, attempts: Tally, now: float) -> None:
        """Take note of a worker that died of something, which the next may not die of.

        Args:
            attempts: as in `start`.
            now: seconds of the clock of `due`.
        """
        self.deaths = 0 if attempts.begun > self._before.begun else self.deaths + 1
        self.is_over = self.deaths == MOST_DEATHS
        self.due = now + min(LONGEST_PAUSE, 2.0**self.deaths)

    def hang_up(self) -> None:
        """Ask the worker to end; a training writes its state first."""
        if self._worker is not None and self._worker.stdin is not None:
            with suppress(OSError):
                self._worker.stdin.close()

    def kill(self) -> None:
        """End the worker at once; torchrun's processes, whose sessions are their own, follow."""
        if self._worker is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._worker.pid, signal.SIGKILL)

    def last_words(self) -> list[str]:
        """The last lines that the worker of this seat has printed, torchrun's report left out."""
        return self._lines()[-LAST_LINES:]

    def reason(self) -> str:
        """The mistake that the worker told last, else its last line; empty where there is none."""
        lines = self._lines()
        mistakes = [place for place, line in enumerate(lines) if line.startswith("error: ")]
        return "; ".join(line.strip() for line in lines[(mistakes or [-1])[-1] :])

    def _lines(self) -> list[str]:
        if not self.log.is_file():
            return []
        with self.log.open("rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode("utf-8", errors="replace").splitlines()
        return [line for line in takewhile(_is_no_report, lines) if not TORCHRUN.match(line)]


def _is_no_report(line: str) -> bool:
    """Whether a line does not begin torchrun's report of a failure, which has no more to tell."""
    return not (TORCHRUN.match(line) and "failed (exitcode" in line)
