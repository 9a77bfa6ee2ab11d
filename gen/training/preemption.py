"""A termination that is announced (SIGTERM) is waited for, so that the state can be written."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from splits.errors import TEMPORARY, Stopped


class Preempted(Stopped):
    """Training stopped because the process was asked to end; its state is written.

    Args:
        samples_seen: of the state from which training goes on.
    """

    def __init__(self, samples_seen: int) -> None:
        self.samples_seen = samples_seen
        super().__init__(f"asked to end; what was learned from {samples_seen} samples is written")


class TerminationWatch:
    """Whether the process was asked to end, and when processes last told each other."""

    requested = False
    _told = 0

    def is_telling_due(self, step: int, every: int) -> bool:
        """Whether `every` steps or more have passed since this last said yes (first: step 0).

        Not at multiples of `every`: where it changes with the pace, none might come for long.
        """
        if step - self._told < every:
            return False
        self._told = step
        return True


@contextmanager
def watching_sigterm() -> Iterator[TerminationWatch]:
    """Note SIGTERM in the yielded watch instead of dying of it; schedulers send it some time ahead.

    Where nobody heeded the request, because the training came to another end, the signal is raised
    again. Only the main thread gets signals; in another one the watch stays as it is.
    """
    watch = TerminationWatch()
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return

    def note(*_: object) -> None:
        watch.requested = True

    before = signal.signal(signal.SIGTERM, note)
    is_heeded = False
    try:
        yield watch
    except Preempted:
        is_heeded = True
        raise
    finally:
        # None: a handler that was not set from Python, which cannot be put back.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
        if watch.requested and not is_heeded:
            signal.raise_signal(signal.SIGTERM)


@contextmanager
def ending_at_sigterm() -> Iterator[None]:
    """Let SIGTERM end the main thread by SystemExit, so that all that is held is given back.

    A training waits for its next step instead (`watching_sigterm`).
    """

    def end(*_: object) -> None:
        raise SystemExit(TEMPORARY)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
