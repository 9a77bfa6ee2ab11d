"""Progress bars that are a live line on a terminal and a line now and then in a log."""

from __future__ import annotations

import sys
from contextlib import suppress

from tqdm import tqdm

SECONDS_BETWEEN_LOG_LINES = 15.0


class _Lines:
    """A stream that ends a line where a terminal would go back to its start."""

    def write(self, text: str) -> None:
        text = text.replace("\r", "").strip()
        if text:
            with suppress(OSError):  # a full disk: work does not end for want of a line
                sys.stderr.write(text + "\n")

    def flush(self) -> None:
        sys.stderr.flush()


def progress(total: int, what: str, unit: str, *, done: int = 0) -> tqdm:
    """A bar with rate and estimated time left, of which `done` units are done already."""
    live = sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=done,
        desc=what,
        unit=unit,
        unit_scale=True,
        file=None if live else _Lines(),
        mininterval=0.2 if live else SECONDS_BETWEEN_LOG_LINES,
        dynamic_ncols=live,
    )
