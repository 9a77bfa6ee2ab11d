"""What the manifests of a study's mixtures say, checked: a manifest that does not fit is named.

Legend: D domains, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

MATRICES = ("exposure", "available", "requested", "realised", "trimmed")
FACTS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(["setting", "test_domain", "natural", "caption"], str),
    **dict.fromkeys(["dataset_sha256", "sha256"], str),
    **dict.fromkeys(["domains", "classes", "held_out", "notes"], list),
    **dict.fromkeys(["rule", "budget"], dict),
    **dict.fromkeys(["draw", "size"], int),
    "base": (dict, type(None)),
}


@dataclass(frozen=True)
class Manifest:
    """The manifest of one mixture.

    Attributes:
        name: of the mixture's folder.
        facts: content of manifest.json (docs/formats.md) but for the matrices.
        cells: one row per cell, domain by domain in the order of the manifest: `domain`,
            `class_name`, `held_out` (is the class), and the numbers `exposure`, `available`,
            `requested`, `realised`, `trimmed`.
    """

    name: str
    facts: dict[str, Any]
    cells: pl.DataFrame

    @property
    def domains(self) -> list[str]:
        return self.facts["domains"]

    @property
    def classes(self) -> list[str]:
        return self.facts["classes"]

    @property
    def held_out(self) -> list[str]:
        return self.facts["held_out"]

    @property
    def effective_domains(self) -> float:
        """Exponential of the entropy of the domains' shares: D where all are equal; 0 of none."""
        counts_D = self.cells["realised"].to_numpy().reshape(len(self.domains), -1).sum(axis=1)
        shares_D = counts_D[counts_D > 0] / max(1, counts_D.sum())
        return float(np.exp(-(shares_D * np.log(shares_D)).sum())) if len(shares_D) else 0.0


def read_manifests(
    mixtures: Path, names: Iterable[str]
) -> tuple[dict[str, Manifest], dict[str, str]]:
    """Read `mixtures/NAME/manifest.json` of every name.

    Returns:
        The manifests that are whole, by name; and for the other names, what is wrong.
    """
    manifests, problems = {}, {}
    for name in names:
        try:
            manifests[name] = read_manifest(mixtures / name)
        except (OSError, ValueError) as error:
            problems[name] = str(error)
    return manifests, problems


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of one mixture.

    Raises:
        OSError: the file is not there or cannot be read; the message says so.
        ValueError: it is no manifest of a mixture, or contradicts itself; the message says how.
    """
    label = f"{folder.name}/manifest.json"
    try:
        content = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise OSError(f"{label} cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise ValueError(f"{label} is no JSON ({error})") from None
    if not isinstance(content, dict):
        raise ValueError(f"{label} holds no JSON object")
    lacking = [key for key in (*FACTS, *MATRICES) if key not in content]
    if lacking:
        raise ValueError(f"{label} lacks {', '.join(lacking)}")
    strange = [key for key, kind in FACTS.items() if not isinstance(content[key], kind)]
    if strange:
        raise ValueError(f"{label} holds {content[strange[0]]!r:.60} as `{strange[0]}`")
    try:
        cells = _cells(content)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"{label} is not a mixture's: {error}") from None
    return Manifest(folder.name, {key: content[key] for key in FACTS}, cells)


def _cells(content: dict[str, Any]) -> pl.DataFrame:
    domains, classes = content["domains"], content["classes"]
    numbers = {}
    for key in MATRICES:
        matrix_DC = np.array(content[key], dtype=np.float64 if key == "exposure" else np.int64)
        if matrix_DC.shape != (len(domains), len(classes)):
            shape = " × ".join(map(str, matrix_DC.shape))
            raise ValueError(f"`{key}` is {shape}, not {len(domains)} × {len(classes)}")
        numbers[key] = matrix_DC.ravel()
    total = int(numbers["realised"].sum())
    if total != content["size"]:
        raise ValueError(f"its cells sum to {total}, its size is {content['size']}")
    if content["test_domain"] not in domains or not set(content["held_out"]) <= set(classes):
        raise ValueError("its test domain or a held-out class is not among its own")
    columns = {
        "domain": np.repeat(domains, len(classes)).tolist(),
        "class_name": list(classes) * len(domains),
    }
    is_held_out = pl.col("class_name").is_in(content["held_out"])
    return pl.DataFrame(columns | numbers).with_columns(held_out=is_held_out)
