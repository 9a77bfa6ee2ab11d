"""Run a study on this machine: a worker in every slot takes open runs until none is left.

Each worker is a `clipgen run` command that claims runs by file locks, so that any number of them,
started by anybody, never work on the same run. Several threads in one process would slow each
other down on a small machine; several processes do not.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tqdm import tqdm

from gen.progress import progress
from gen.sweep.attempts import Tally, tally
from gen.sweep.queue import announced
from gen.sweep.slots import slots_here
from gen.sweep.status import samples_done
from gen.sweep.study import Study
from gen.sweep.work import complain, forget_failures, samples_kept, unfinished, units
from gen.sweep.workers import Seat
from gen.training.schedule import total_samples
from splits.errors import TEMPORARY, Stopped
from splits.files import is_full_disk

POLL_SECONDS = 0.5
PAUSES = (5.0, 10.0, 20.0, 40.0, 60.0)
"""seconds for which a full disk is waited for, the first time and after; the last one again"""
PATIENCE = 900.0
"""seconds without a state that was written, while workers stop, after which the sweep ends"""
PROBE_BYTES = 1 << 20
"""that a disk must take to have room"""


def run_sweep(
    study: Study, command: Sequence[str], *, slots: int | None = None, retries: int = 2
) -> None:
    """Finish every run of a study; return when all are done.

    Args:
        study: the study.
        command: of a worker (`slot_command`).
        slots: runs at a time; None: as many as the machine has room for.
        retries: how often a run is tried again that failed without a step ahead.

    Raises:
        UserError: runs failed; the message names them and why.
        OSError: the disk is full, and stays so.
        KeyboardInterrupt: Ctrl-C; every worker has ended, and so it is with
        Stopped: SIGTERM, or workers are stopped again and again without a step ahead.
    """
    forget_failures(study)
    left = unfinished(study)
    if not left:
        return
    planned = slots_here(study.config.resources, slots, most=len(units(left)))
    command = [*command, "--retries", str(retries)]
    logs = study.folder / "logs"
    seats = [Seat(slot, command, logs / f"slot-{slot.number}.log") for slot in planned]
    with announced(study.folder, [run.name for run in left]), _Shown(study) as shown:
        _Sweep(study, seats, shown.tell).until_all_is_done(shown.renew)
    complain(study, [line for seat in seats if seat.deaths for line in _of_given_up(seat)])


def slot_command(arguments: Sequence[str]) -> list[str]:
    """The command line of a worker.

    Args:
        arguments: of `clipgen run`: the study, its overrides and folders.
    """
    return [sys.executable, "-m", "gen.cli", "run", *arguments, "--slot"]


class _Sweep:
    """The seats of a sweep, and what is done when one is free.

    Args:
        study: whose runs.
        seats: in which workers sit.
        tell: prints a line for whoever watches.
    """

    def __init__(self, study: Study, seats: Sequence[Seat], tell: Callable[[str], None]) -> None:
        self._study, self._seats, self._tell = study, seats, tell
        self._room = _Room(study, tell)

    def until_all_is_done(self, shown: Callable[[], None]) -> None:
        """Keep every seat taken while there is work; `shown` is called now and then."""
        with _noting_signals() as signals:
            try:
                while not signals and not all(seat.is_over for seat in self._seats):
                    for seat in self._seats:
                        self._look_at(seat)
                    shown()
                    time.sleep(POLL_SECONDS)
            finally:
                self._end_workers(signals)
        if signal.SIGINT in signals:
            raise KeyboardInterrupt
        if signals:
            raise Stopped("asked to end")

    def _look_at(self, seat: Seat) -> None:
        now = time.monotonic()
        code = seat.ended()
        if code == 0:
            seat.is_over = True
        elif code is not None:
            self._replace(seat, code, now)
        elif not seat.is_taken and not seat.is_over and seat.due <= now:
            if not unfinished(self._study):
                seat.is_over = True
            elif self._room.may_be_used(seat):
                self._start(seat)

    def _replace(self, seat: Seat, code: int, now: float) -> None:
        """Decide when another worker follows one that did not end well."""
        attempts = self._attempts()
        stopped = code == TEMPORARY or seat.was_stopped(attempts)
        if stopped or not has_room(self._study.folder):
            self._room.wait_for(seat)
        else:
            seat.died(attempts, now)
            follows = "no other follows" if seat.is_over else "another one follows"
            why = f" ({reason})" if (reason := seat.reason()) else ""
            self._tell(f"{seat.name}: its worker ended with code {code}{why}; {follows}")

    def _start(self, seat: Seat) -> None:
        try:
            seat.start(self._attempts())
        except OSError as error:
            if not is_full_disk(error):
                raise
            self._room.wait_for(seat)

    def _attempts(self) -> Tally:
        return tally(run.folder for run in self._study.runs)

    def _end_workers(self, signals: list[int]) -> None:
        """Ask all workers to end and wait for them; a second signal kills them."""
        working = [seat for seat in self._seats if seat.is_taken]
        for seat in working:
            seat.hang_up()
        if signals and working:
            number = f"{len(working)} worker" + ("s write" if len(working) > 1 else " writes")
            self._tell(f"stopping: {number} what is not written yet (Ctrl-C again: at once)")
        while any(seat.is_taken for seat in working):
            for seat in working:
                if len(signals) > 1:
                    seat.kill()
                seat.ended()
            time.sleep(POLL_SECONDS / 10)


class _Room:
    """Waits while the disk is full, or workers are stopped, longer each time; then gives up.

    Args:
        study: on whose disk.
        tell: prints a line for whoever watches.
    """

    def __init__(self, study: Study, tell: Callable[[str], None]) -> None:
        self._study, self._tell = study, tell
        self._since: float | None = None
        self._last = 0.0
        self._kept = self._waits = 0

    def wait_for(self, seat: Seat) -> None:
        """Let a seat stay free for a while.

        Raises:
            OSError: nothing could be written for too long.
            Stopped: there is room, and yet no state was written for too long.
        """
        now, kept = time.monotonic(), sum(samples_kept(run) for run in self._study.runs)
        if self._since is None or kept > self._kept or now - self._last > PATIENCE:
            self._since, self._kept, self._waits = now, kept, 0
            self._tell(self._reason(seat))
        elif now - self._since > PATIENCE:
            if has_room(self._study.folder):
                minutes = PATIENCE / 60
                raise Stopped(f"no run got further for {minutes:.0f} minutes: {seat.reason()}")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._study.folder))
        seat.due = now + PAUSES[min(self._waits, len(PAUSES) - 1)]
        self._waits, self._last = self._waits + 1, now

    def may_be_used(self, seat: Seat) -> bool:
        """Whether a worker may start; where the disk is known to be full, it is asked first."""
        if self._since is None or has_room(self._study.folder):
            return True
        self.wait_for(seat)
        return False

    def _reason(self, seat: Seat) -> str:
        if has_room(self._study.folder):  # it was asked to end, or needs more than is there
            return f"{seat.name} stopped, and goes on: {seat.reason()}".removesuffix(": ")
        return f"the disk of {self._study.folder} is full: waiting until there is room"


class _Shown:
    """A line for whoever watches: samples over all runs, time left, runs done and failed."""

    def __init__(self, study: Study) -> None:
        trained = [run for run in study.runs if run.pretrained is None and run.twin is None]
        self._runs, self._trained = study.runs, trained
        self._left = list(study.runs)  # who is done stays so, and is not asked again
        self._done = {run.name: samples_done(run) for run in trained}
        self._bar: tqdm = progress(
            sum(total_samples(run.training) for run in trained),
            "training",
            "pairs",
            done=sum(self._done.values()),
        )

    def __enter__(self) -> _Shown:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def renew(self) -> None:
        """Show how things are."""
        was_left, self._left = self._left, [run for run in self._left if not run.done]
        names = {run.name for run in was_left}
        self._done |= {run.name: samples_done(run) for run in self._trained if run.name in names}
        failed = sum(run.failure.is_file() for run in self._left)
        told = f"{len(self._runs) - len(self._left)}/{len(self._runs)} runs done"
        self._bar.set_postfix_str(told + (f", {failed} failed" if failed else ""), refresh=False)
        self._bar.update(sum(self._done.values()) - self._bar.n)

    def tell(self, text: str) -> None:
        """Print a line."""
        with suppress(OSError):  # a log on a full disk
            tqdm.write(text, file=sys.stderr)


def has_room(folder: Path) -> bool:
    """Whether a folder's disk takes a file of PROBE_BYTES."""
    probe = folder / f".room-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with probe.open("wb") as file:
            file.write(bytes(PROBE_BYTES))
            os.fsync(file.fileno())
    except OSError as error:
        if not is_full_disk(error):
            raise
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True


@contextmanager
def _noting_signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are noted in the yielded list instead of ending the process."""
    noted: list[int] = []
    before = {
        number: signal.signal(number, lambda got, _: noted.append(got))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _of_given_up(seat: Seat) -> list[str]:
    """What to tell of a seat whose workers died before they began a run."""
    return [f"{seat.log}: its workers died before they began a run", *seat.last_words()]
