"""metrics.jsonl: one line per logged step, appended; a torn last line is passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from splits.files import write_text

NAME = "metrics.jsonl"


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The readable lines of a run's metrics.jsonl; none where there is no file."""
    path = folder / NAME
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return [row for line in lines if (row := _parse(line)) is not None]


def forget_after(folder: Path, step: int) -> None:
    """Drop the lines of steps after `step`, which are going to be done again."""
    rows = [row for row in read_metrics(folder) if row["step"] <= step]
    write_text(folder / NAME, "".join(json.dumps(row) + "\n" for row in rows))


def _parse(line: str) -> dict[str, Any] | None:
    try:
        return json.loads(line)
    except ValueError:
        return None
