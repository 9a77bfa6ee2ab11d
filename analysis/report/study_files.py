"""Reading the files of a study's folder; what cannot be read becomes a sentence, not an error."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import polars as pl

Schema = dict[str, Any]
RUN_COLUMNS: Schema = {"run": pl.String, "setting": pl.String, "seed": pl.Int64}
UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,  # a line that is JSON, but no object
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
)
EVALUATED = "`clipgen evaluate STUDY --run …` makes it again"
ANALYZED = "`clipgen analyze STUDY --run …` makes it again"
REMEDIES = {
    "predictions.parquet": EVALUATED,
    "evaluation.parquet": EVALUATED,
    "cells.parquet": EVALUATED,
    "analysis/similarity.parquet": ANALYZED,
    "analysis/probes.parquet": ANALYZED,
    "metrics.jsonl": "it was written while training and cannot be made again",
}
MANIFEST_KEYS = ("domains", "classes", "realised")


def collect(
    folder: Path,
    runs: Sequence[dict[str, Any]],
    name: str,
    schema: Schema,
    read: Callable[[Path, Schema], pl.DataFrame],
    problems: list[str],
) -> pl.DataFrame:
    """One table of all runs that have it, with the columns that name the run in front.

    Args:
        folder: of the study.
        runs: the values of RUN_COLUMNS of each.
        name: path of the table below a run's folder.
        schema: its columns; others are left out.
        read: reads one file.
        problems: a sentence is added for every table that is not there or cannot be read.
    """
    parts = [pl.DataFrame(schema=RUN_COLUMNS | schema)]
    for run in runs:
        path = folder / run["run"] / name
        if not path.is_file():
            problems.append(f"{run['run']}/{name} is not there; {REMEDIES[name]}")
            continue
        try:
            table = read(path, schema)
        except UNREADABLE as error:
            reason = str(error).strip().split("\n")[0][:120]
            problems.append(f"{run['run']}/{name} cannot be read ({reason}); {REMEDIES[name]}")
            continue
        columns = [pl.lit(run[key], dtype=kind).alias(key) for key, kind in RUN_COLUMNS.items()]
        parts.append(table.select(*columns, *schema))
    return pl.concat(parts)


def read_parquet(path: Path, schema: Schema, rows: pl.Expr | None = None) -> pl.DataFrame:
    """The columns of a Parquet file that a schema names, in its types.

    Args:
        path: of the file.
        schema: type by column.
        rows: which to take; may use columns that the schema does not name.
    """
    table = pl.scan_parquet(path, glob=False)
    wanted = table if rows is None else table.filter(rows)
    return wanted.select(*schema).cast(schema).collect()  # type: ignore[arg-type]


def read_lines(path: Path, schema: Schema) -> pl.DataFrame:
    """The lines of a JSONL file; a torn last line is what a killed writer leaves, and no damage."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines[:-1]]
    with suppress(ValueError):
        rows += [json.loads(line) for line in lines[-1:]]
    return pl.DataFrame([{key: row.get(key) for key in schema} for row in rows], schema=schema)


def read_object(path: Path, problems: list[str]) -> dict[str, Any] | None:
    """The object in a JSON file; None, and a problem more, where there is none."""
    label = f"{path.parent.name}/{path.name}"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        problems.append(f"{label} is not there")
        return None
    except (OSError, ValueError) as error:
        problems.append(f"{label} cannot be read ({error})")
        return None
    if not isinstance(content, dict):
        problems.append(f"{label} holds no JSON object")
        return None
    return content


def read_manifests(
    folder: Path, wanted: dict[str, str], problems: list[str]
) -> dict[str, dict[str, Any]]:
    """Manifest by name of the mixture's folder.

    Args:
        folder: of the study's mixtures.
        wanted: by name, the sha256 that the manifest must state; anything where empty.
        problems: a sentence is added for every manifest that cannot be used.
    """
    manifests = {}
    for name, sha256 in wanted.items():
        manifest = read_object(folder / name / "manifest.json", problems)
        if manifest is None:
            continue
        lacking = [word for word in MANIFEST_KEYS if word not in manifest]
        if lacking:
            problems.append(f"{name}/manifest.json lacks {', '.join(lacking)}")
        elif sha256 and manifest["sha256"] != sha256:
            problems.append(f"{name}/manifest.json is that of another mixture than the runs'")
        else:
            manifests[name] = manifest
    return manifests
