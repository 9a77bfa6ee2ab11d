"""Reading the files of a study's folder; what cannot be read becomes a sentence, not an error."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from analysis.report.schemas import REMEDIES, RUN_COLUMNS, STORED, Schema

UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    AttributeError,  # a line that is JSON, but no object
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
)
MOST_NAMED = 6
"""runs that one sentence names"""
NUMBER = (int, float, type(None))
OBJECT = (dict, type(None))
MANIFEST_KEYS = ("domains", "classes", "realised")
MANIFEST = {
    **dict.fromkeys(["domains", "classes", "held_out", "realised", "exposure", "available"], list),
    **dict.fromkeys(["rule", "budget", "base"], OBJECT),
    "size": NUMBER,
    "sha256": str,
}
"""kind of the values of a manifest that the report reads; below, of those within them"""
WITHIN: dict[str, dict[str, Any]] = {
    "rule": {"description": (str, type(None))},
    "budget": {"rule": str, "size": NUMBER},
    "base": {"samples": NUMBER},
}
MATRICES = ("realised", "exposure", "available")
RECORD = {
    **dict.fromkeys(["seconds", "versions"], dict),
    **dict.fromkeys(["samples_seen", "samples_per_second"], NUMBER),
}
"""kind of the values of a run.json that the report computes with"""


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
        problems: a sentence is added for all runs whose table is not there, and for those whose
            cannot be read.
    """
    parts = [pl.DataFrame(schema=RUN_COLUMNS | schema)]
    found: dict[str, list[str]] = {}
    for run in runs:
        path = folder / run["run"] / name
        if not path.is_file():
            found.setdefault("is not there", []).append(run["run"])
            continue
        try:
            table = read(path, schema)
        except UNREADABLE as error:
            reason = str(error).strip().replace(str(path), path.name).split("\n")[0][:120]
            found.setdefault(f"cannot be read ({reason})", []).append(run["run"])
            continue
        columns = [pl.lit(run[key], dtype=kind).alias(key) for key, kind in RUN_COLUMNS.items()]
        parts.append(table.select(*columns, *schema))
    told = (_of_runs(name, names, what) for what, names in found.items())
    problems += [f"{text}; {REMEDIES[name]}" for text in told]
    return pl.concat(parts)


def _of_runs(name: str, runs: Sequence[str], what: str) -> str:
    """What is wrong with a table, of all the runs of which the same is to be said."""
    if len(runs) == 1:
        return f"{runs[0]}/{name} {what}"
    rest = len(runs) - MOST_NAMED
    others = f" and {rest} other{'s' if rest > 1 else ''}" if rest > 0 else ""
    return f"{name} {what} in {len(runs)} runs: {', '.join(runs[:MOST_NAMED])}{others}"


def read_parquet(
    path: Path, schema: Schema, rows: pl.Expr | None = None, **made: pl.Expr
) -> pl.DataFrame:
    """The columns of a Parquet file that a schema names, in its types.

    Args:
        path: of the file.
        schema: type by column; those of `schemas.STORED` have another name in the file.
        rows: which to take; may use columns that the schema does not name.
        made: columns of the schema that are made of the file's; these may be others too.
    """
    table = pl.scan_parquet(path, glob=False)
    renamed = {name: pl.col(stored) for name, stored in STORED.items() if name in schema}
    wanted = (table if rows is None else table.filter(rows)).with_columns(**made, **renamed)
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


def read_record(path: Path, problems: list[str]) -> dict[str, Any] | None:
    """The run.json of a run, without values that are of another kind than they must be."""
    record = read_object(path, problems)
    if record is None:
        return None
    odd = _of_other_kind(record, RECORD)
    stages: dict[str, Any] = {} if "seconds" in odd else record.get("seconds", {})
    if _of_other_kind(stages, dict.fromkeys(stages, NUMBER)):
        odd.append("seconds")
    if odd:
        problems.append(f"{path.parent.name}/{path.name} has no usable {', '.join(odd)}")
    return {key: value for key, value in record.items() if key not in odd}


def _of_other_kind(content: Mapping[str, Any], kinds: Mapping[str, Any]) -> list[str]:
    """Keys whose values are of another kind than they must be."""
    return [k for k, kind in kinds.items() if k in content and not isinstance(content[k], kind)]


def read_manifests(
    folder: Path, wanted: Mapping[str, tuple[str, str]], problems: list[str]
) -> dict[str, dict[str, Any]]:
    """Manifest by name of the mixture's folder.

    Args:
        folder: of the study's mixtures.
        wanted: by name, the sha256 that the manifest must state (anything where empty), and the
            test domain.
        problems: a sentence is added for every manifest that cannot be used.
    """
    manifests = {}
    for name, (sha256, test_domain) in wanted.items():
        manifest = read_object(folder / name / "manifest.json", problems)
        if manifest is None:
            continue
        if damage := _damage(manifest, test_domain, hashed=bool(sha256)):
            problems.append(f"{name}/manifest.json {damage}")
        elif sha256 and manifest["sha256"] != sha256:
            problems.append(f"{name}/manifest.json is that of another mixture than the runs'")
        else:
            manifests[name] = manifest
    return manifests


def _damage(manifest: Mapping[str, Any], test_domain: str, *, hashed: bool) -> str:
    """Why a manifest cannot be used; empty where it can."""
    needed = (*MANIFEST_KEYS, *(["sha256"] if hashed else []))
    if lacking := [key for key in needed if key not in manifest]:
        return f"lacks {', '.join(lacking)}"
    odd = _of_other_kind(manifest, MANIFEST) or [
        key for key, kinds in WITHIN.items() if _of_other_kind(manifest.get(key) or {}, kinds)
    ]
    if odd:
        return f"has no usable {', '.join(odd)}"
    shape = len(manifest["domains"]), len(manifest["classes"])
    if askew := [key for key in MATRICES if key in manifest and _shape(manifest[key]) != shape]:
        return f"has no number for every domain and class in {', '.join(askew)}"
    return "" if test_domain in manifest["domains"] else f"has no domain {test_domain}"


def _shape(rows: Any) -> tuple[int, ...]:
    """Shape of a matrix of numbers; empty of what is none."""
    try:
        return np.array(rows, dtype=float).shape
    except (TypeError, ValueError):
        return ()
