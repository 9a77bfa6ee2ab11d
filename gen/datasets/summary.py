"""What an import made, told in a few lines."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from gen.datasets.wording import counted

SHOWN = 5
"""names that a line lists"""
REJECTED_FILE = "rejected.parquet"


def summary(folder: Path) -> list[str]:
    """What an import made, in a few lines for people."""
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    lines = [_headline(folder, manifest)]
    for split, cells in manifest["empty_cells"].items():
        if cells:
            lines.append(f"cells without an image in {split}: {len(cells)} ({_first(cells)})")
    if alike := _alike(manifest["classes"]):
        lines.append(f"classes whose names differ in capitals only: {_first(alike)}")
    lines += _enlarged(folder / "samples.parquet", manifest["config"]["pixels"])
    if reasons := manifest["rejected"]:
        text = ", ".join(f"{number} × {reason}" for reason, number in reasons.items())
        lines.append(f"left out: {text}; listed in {folder / REJECTED_FILE}")
    return lines + _not_taken(manifest)


def _headline(folder: Path, manifest: dict[str, Any]) -> str:
    splits = ", ".join(f"{n} {split}" for split, n in manifest["samples_per_split"].items())
    domains = counted(len(manifest["domains"]), "domain")
    classes = counted(len(manifest["classes"]), "class")
    world = f"{domains} × {classes}" if manifest["classes"] else "without classes"
    samples = counted(manifest["samples"], "sample")
    return f"{folder}: {samples} ({splits}), {world}, sha256 {manifest['sha256'][:12]}"


def _not_taken(manifest: dict[str, Any]) -> list[str]:
    """What was there, but was not asked for."""
    lines, source = [], manifest["source"]
    if without := source.get("without"):
        lines.append(f"of the classes in `without`: {counted(without, 'file')} not taken")
    if unlisted := source.get("unlisted"):
        lines.append(f"in no list, therefore not in the dataset: {counted(unlisted, 'file')}")
    if ignored := source.get("ignored"):
        lines.append(f"hidden files and folders, not looked at: {ignored}")
    return lines


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + ", …" * (len(names) > SHOWN)


def _alike(classes: Sequence[str]) -> list[str]:
    """Classes that are one when capitals do not count: `Dog = dog`."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        groups[name.casefold()].append(name)
    return [" = ".join(group) for group in groups.values() if len(group) > 1]


def _enlarged(samples: Path, pixels: int) -> list[str]:
    """How many images are smaller than models see them."""
    side = pl.min_horizontal("width", "height")
    small = pl.scan_parquet(samples, glob=False).filter(side < pixels)
    count = small.select(pl.len()).collect().item()
    if not count:
        return []
    name, width, height = (
        small.sort(side, "id").select("id", "width", "height").first().collect().row(0)
    )
    are = "is" if count == 1 else "are"
    return [
        f"{counted(count, 'image')} {are} smaller than `pixels` ({pixels}) and will be enlarged; "
        f"the smallest has {width} × {height} ({name})"
    ]
