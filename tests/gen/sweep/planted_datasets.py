"""Datasets of tables alone: what planning a study reads, without a single image."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from gen.config import load_config, resolved
from gen.datasets.icons.build import SPLITS, drawings_of, select_classes
from gen.datasets.samples import COLUMNS, SCHEMA_VERSION, content_sha256
from gen.datasets.scenes.plan import SHOWN, UNSEEN
from gen.datasets.scenes.world import scene_world
from gen.schema import IconsConfig, ScenesConfig

Cell = tuple[str, str, str, int]
"""split, domain, class, number of samples"""
PACS = {
    "photo": (189, 202, 182, 186, 199, 280, 432),
    "art_painting": (379, 255, 285, 184, 201, 295, 449),
    "cartoon": (389, 457, 346, 135, 324, 288, 405),
    "sketch": (772, 740, 753, 608, 816, 80, 160),
}
"""images of every class, as published"""
PACS_CLASSES = ("dog", "elephant", "giraffe", "guitar", "horse", "house", "person")
DOMAINNET_CLASSES = 345
CAPTIONED = 5
MOST_PER_CELL = 16
"""samples of icons in a cell"""


def plant(data: Path, name: str) -> None:
    """Write the tables of a dataset of configs/datasets.

    Icons and DomainNet get all of their classes, and a few samples in every cell; PACS all of its
    images, whose numbers differ; bases a few captions; scenes a few samples of every class, without
    their own table.
    """
    config = load_config("datasets", name)
    if isinstance(config, IconsConfig):
        classes = {item.name: item.super_category for item in select_classes(config)}
        _write(data, config, _icon_cells(config), classes)
    elif isinstance(config, ScenesConfig):
        shown = scene_world(config).classes
        cells = _scene_cells([item.name for item in shown])
        classes = {item.name: item.super_category for item in shown}
        _write(data, config, cells, classes)
    elif name == "pacs":
        _write(data, config, _pacs_cells(), dict.fromkeys(PACS_CLASSES, ""))
    elif name == "domainnet":
        published = load_config("held_out", "kempf2025").classes
        made_up = [f"thing {number}" for number in range(DOMAINNET_CLASSES - len(published))]
        classes = dict.fromkeys(sorted([*published, *made_up]), "")
        _write(data, config, _uneven_cells(config.domains, classes), classes)
    else:
        _write(data, config, [("train", name, "", CAPTIONED)], {})


def _icon_cells(config: IconsConfig) -> Iterable[Cell]:
    for split in SPLITS:
        for domain in config.domains:
            for item in select_classes(config):
                if drawings_of(item, split, config):
                    yield split, domain, item.name, min(MOST_PER_CELL, getattr(config, split))


def _scene_cells(classes: Iterable[str]) -> Iterable[Cell]:
    for split, domain in (("train", SHOWN), ("test", SHOWN), ("test", UNSEEN)):
        yield from ((split, domain, name, MOST_PER_CELL) for name in classes)


def _pacs_cells() -> Iterable[Cell]:
    for domain, counts in PACS.items():
        for name, count in zip(PACS_CLASSES, counts, strict=True):
            yield "train", domain, name, count - round(0.2 * count)
            yield "test", domain, name, round(0.2 * count)


def _uneven_cells(domains: Iterable[str], classes: Iterable[str]) -> Iterable[Cell]:
    for place, domain in enumerate(domains):
        for label, name in enumerate(classes):
            yield "train", domain, name, 4 + place + label % 3
            yield "test", domain, name, 2


def _write(data: Path, config: Any, cells: Iterable[Cell], classes: Mapping[str, str]) -> None:
    """Write samples.parquet and manifest.json of a dataset with so many samples in every cell."""
    folder = data / config.name
    folder.mkdir(parents=True)
    rows = pl.DataFrame(list(cells), schema=["split", "domain", "class_name", "n"], orient="row")
    rows = rows.with_columns(position=pl.int_ranges("n")).explode("position")
    name = pl.concat_str("split", "domain", "class_name", "position", separator="/")
    numbers = {label: number for number, label in enumerate(classes)}
    class_id = pl.col("class_name").replace_strict(numbers, default=-1)
    filled = rows.with_columns(id=name, class_id=class_id, caption=name, caption_aligned=name)
    empty = {
        key: pl.lit("" if kind == pl.String else 0, kind)
        for key, kind in COLUMNS.items()
        if key not in filled.columns
    }
    table = filled.with_columns(**empty).select(list(COLUMNS)).cast(COLUMNS)
    table.write_parquet(folder / "samples.parquet")
    is_scenes = isinstance(config, ScenesConfig)
    domains = [SHOWN, UNSEEN] if is_scenes else list(getattr(config, "domains", []))
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "samples": table.height,
        "sha256": content_sha256(folder / "samples.parquet"),
        "domains": domains if classes else [config.name],
        "natural": SHOWN if is_scenes else config.natural,
        "classes": list(classes),
        "super_categories": dict(classes),
        "config": resolved(config),
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
