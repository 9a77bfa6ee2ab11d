"""Tables for other programs: what was found, and beside it what was left out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from gen.use.photos import Skipped, shown
from splits.files import write_text


def write_csv(table: pl.DataFrame, path: Path) -> None:
    """Write a table as a whole, UTF-8, with a line of titles."""
    write_text(path, table.write_csv())


def write_skipped(skipped: Sequence[Skipped], beside: Path) -> Path:
    """Write what was left out, with reasons, as NAME.skipped.csv; without rows if nothing was.

    Args:
        skipped: files.
        beside: NAME.csv.

    Returns:
        Where it stands.
    """
    path = beside.with_name(f"{beside.stem}.skipped.csv")
    columns = {"path": pl.String, "reason": pl.String}
    rows = [(shown(file), reason) for file, reason in skipped]
    write_csv(pl.DataFrame(rows, schema=columns, orient="row"), path)
    return path
