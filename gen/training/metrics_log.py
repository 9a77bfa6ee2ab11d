"""metrics.jsonl: one line per logged step, appended; a torn last line is passed over."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from splits.files import write_text

NAME = "metrics.jsonl"
TAIL_BYTES = 4096
"""of the file that are read where only its end matters: some twenty lines"""


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's metrics.jsonl, each with its `step`; none where there is no file.

    A last line that a kill cut off is no row. Any other line that cannot be read is named in a
    warning.
    """
    path = folder / NAME
    lines = path.read_bytes().splitlines() if path.is_file() else []
    rows = [_parse(line) for line in lines]
    for number, row in enumerate(rows[:-1], start=1):
        if row is None:
            warnings.warn(f"line {number} of {path} is damaged; it is left out", stacklevel=2)
    return [row for row in rows if row is not None]


def newest_metrics(folder: Path) -> list[dict[str, Any]]:
    """The last rows of a run's metrics.jsonl, however long it is; none where there is no file."""
    path = folder / NAME
    try:
        with path.open("rb") as file:
            start = max(0, path.stat().st_size - TAIL_BYTES)
            file.seek(start)
            lines = file.read().splitlines()
    except FileNotFoundError:
        return []
    rows = [_parse(line) for line in lines[1 if start else 0 :]]
    return [row for row in rows if row is not None]


def forget_after(folder: Path, step: int) -> None:
    """Drop the lines of steps after `step`, which are going to be done again."""
    rows = [row for row in read_metrics(folder) if row["step"] <= step]
    write_text(folder / NAME, "".join(json.dumps(row) + "\n" for row in rows))


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except ValueError:  # also bytes that are no text
        return None
    return row if isinstance(row, dict) and "step" in row else None
