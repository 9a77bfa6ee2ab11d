"""Build an icons dataset: plan the samples, render them on all cores, write shards and tables.

The work is cut into shards; a shard is written whole by one process, with its rows beside it. So
a build that was killed goes on where it stopped, and the bytes do not depend on the number of
processes. The folder gets its name only when everything is in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import cv2
import polars as pl
from filelock import FileLock

from gen.config import IconsConfig, resolved
from gen.datasets.captions import NOUNS_FILE, caption, domain_nouns
from gen.datasets.icons.domains import DOMAINS
from gen.datasets.icons.drawings import FAMILIES, Drawing, IconClass, font_licences, load_classes
from gen.datasets.icons.render import render
from gen.datasets.samples import COLUMNS, SCHEMA_VERSION, load_dataset, table_sha256
from gen.datasets.shards import encode_png, write_shard
from gen.progress import progress
from gen.randomness import generator
from splits.errors import UserError, unknown
from splits.files import replacing, write_json
from splits.held_out import draw_held_out

GENERATOR_VERSION = 1
"""raised whenever the same configuration gives other pixels or captions"""

SPLITS = ("train", "test", "test_unseen_drawing")
SAMPLES_PER_SHARD = 1000
WHOLE = "dataset"
"""what the folder of a build holds beside its plan and the rows of its shards"""
MIN_FAMILIES_TO_RESERVE = 3


@dataclass(frozen=True)
class Shard:
    """One unit of work: the samples of one split and domain for a run of classes."""

    name: str
    split: str
    domain: str
    classes: tuple[str, ...]


def build_icons(config: IconsConfig, data: Path, *, workers: int) -> Path:
    """Build the dataset that `config` describes in `data/NAME`; do nothing where it stands.

    Args:
        config: the dataset's configuration.
        data: folder of all datasets.
        workers: processes that render.

    Returns:
        The dataset's folder.

    Raises:
        UserError: the configuration is impossible, or another dataset has the name already.
    """
    classes = select_classes(config)
    check_domains(config)
    check_numbers(config)
    target, plan = data / config.name, _plan(config, classes)
    if not target.exists():
        data.mkdir(parents=True, exist_ok=True)
        with FileLock(data / f".{config.name}.lock"):
            if not target.exists():  # nobody else has built it in the meantime
                _build(config, classes, plan, target, workers)
    _check_same(target, plan)
    return target


def _build(
    config: IconsConfig,
    classes: tuple[IconClass, ...],
    plan: dict[str, Any],
    target: Path,
    workers: int,
) -> None:
    building, start = target.with_name(f".{target.name}.building"), time.monotonic()
    _enter(building, plan)
    shards = list(plan_shards(config, [item.name for item in classes]))
    _render_all(config, shards, building, workers)
    _finish(config, classes, shards, building, plan)
    seconds = round(time.monotonic() - start, 1)  # of this start, if there were several
    write_json(building / WHOLE / "build.json", {"seconds": seconds, "workers": workers})
    os.replace(building / WHOLE, target)
    shutil.rmtree(building)


def select_classes(config: IconsConfig) -> tuple[IconClass, ...]:
    """The classes of a dataset: all, or a draw spread evenly over the super-categories."""
    everything = load_classes()
    if config.classes == 0:
        return everything
    if not 1 <= config.classes <= len(everything):
        raise UserError(
            f"key `classes` is {config.classes}",
            expected=f"0 (all) or 1 to {len(everything)}",
            where=f"dataset {config.name}",
        )
    if config.classes == len(everything):
        return everything
    categories = {item.name: item.super_category for item in everything}
    chosen = set(draw_held_out(categories, config.classes, config.seed))
    return tuple(item for item in everything if item.name in chosen)


def check_numbers(config: IconsConfig) -> None:
    """Every count of a dataset is at least what makes sense."""
    least = {"train": 1, "test": 0, "test_unseen_drawing": 0, "drawings_per_family": 0, "pixels": 8}
    for key, value in least.items():
        if getattr(config, key) < value:
            raise UserError(
                f"key `{key}` is {getattr(config, key)}",
                expected=f"at least {value}",
                where=f"dataset {config.name}",
            )


def check_domains(config: IconsConfig) -> None:
    """Every domain of a dataset has a renderer and nouns, and one of them is natural."""
    for domain in config.domains:
        if domain not in DOMAINS:
            raise unknown("domain", domain, DOMAINS, where=f"dataset {config.name}")
        if config.domains.count(domain) > 1:
            raise UserError(f"domain `{domain}` is named twice", where=f"dataset {config.name}")
        domain_nouns(domain)
    if config.natural not in config.domains:
        raise unknown("natural domain", config.natural, config.domains, where=config.name)


def reserved_family(item: IconClass, seed: int) -> str | None:
    """The artist family that training never shows, for a class with three or more families."""
    if len(item.families) < MIN_FAMILIES_TO_RESERVE:
        return None
    return str(generator(seed, "reserved family", item.name).choice(item.families))


def plan_shards(config: IconsConfig, classes: list[str]) -> Iterator[Shard]:
    """Cut the dataset into shards of about SAMPLES_PER_SHARD samples, in canonical order."""
    for split in SPLITS:
        per_cell = getattr(config, split)
        step = max(1, SAMPLES_PER_SHARD // max(1, per_cell))
        for domain in config.domains if per_cell else ():
            for start in range(0, len(classes), step):
                name = f"{split}-{domain}-{start // step:04d}"
                yield Shard(name, split, domain, tuple(classes[start : start + step]))


def render_shard(config: IconsConfig, shard: Shard, folder: Path) -> int:
    """Render and write one shard and its rows; return the number of samples."""
    cv2.setNumThreads(1)
    classes = {item.name: (number, item) for number, item in enumerate(select_classes(config))}
    rows, members = [], []
    for name in shard.classes:
        class_id, item = classes[name]
        for index in range(getattr(config, shard.split)):
            sample = _sample(config, shard, item, index)
            if sample is not None:
                row, png = sample
                rows.append(row | {"class_id": class_id, "shard": f"{shard.name}.tar"})
                members.append(_member(row, png, class_id))
    places = write_shard(folder / WHOLE / "shards" / f"{shard.name}.tar", members) if rows else {}
    for row in rows:
        row["offset"], row["size"] = places[f"{row['id']}.png"]
    with replacing(folder / "rows" / f"{shard.name}.parquet") as temporary:
        pl.DataFrame(rows, schema=COLUMNS).write_parquet(temporary)
    return len(rows)


def _sample(
    config: IconsConfig, shard: Shard, item: IconClass, index: int
) -> tuple[dict[str, Any], bytes] | None:
    """One sample's row and PNG; None where the class has no drawing for this split."""
    drawings = drawings_of(item, shard.split, config)
    if not drawings:
        return None
    name = f"{shard.split}_{shard.domain}_{item.name.replace(' ', '-')}_{index:05d}"
    rng = generator(config.seed, shard.split, shard.domain, item.name, index)
    families = sorted({drawing.family for drawing in drawings})
    family = families[rng.integers(len(families))]  # a family with many variants is not favoured
    variants = [drawing for drawing in drawings if drawing.family == family]
    drawing = variants[rng.integers(len(variants))]
    image = render(drawing, shard.domain, config.pixels, rng)
    png = encode_png(image)
    captions = {
        column: caption(config.seed, name, shard.domain, item.name, aligned=aligned)
        for column, aligned in (("caption", False), ("caption_aligned", True))
    }
    row = {
        "id": name,
        "domain": shard.domain,
        "class_name": item.name,
        "super_category": item.super_category,
        "split": shard.split,
        "instance": f"{drawing.name}/{name}",
        "drawing": drawing.name,
        "family": family,
        "width": config.pixels,
        "height": config.pixels,
        "sha256": hashlib.sha256(png).hexdigest(),
    }
    return row | captions, png


def drawings_of(item: IconClass, split: str, config: IconsConfig) -> tuple[Drawing, ...]:
    """The drawings of a class that a split may show."""
    reserved = reserved_family(item, config.seed)
    wanted = [f for f in item.families if (f == reserved) == (split == "test_unseen_drawing")]
    by_family = ([d for d in item.drawings if d.family == family] for family in wanted)
    count = config.drawings_per_family or None
    return tuple(drawing for drawings in by_family for drawing in drawings[:count])


def _member(row: dict[str, Any], png: bytes, class_id: int) -> dict[str, bytes | str]:
    text = {"txt": row["caption"].encode(), "cls": str(class_id).encode()}
    return {"__key__": row["id"], "png": png, **text}


def _render_all(config: IconsConfig, shards: list[Shard], folder: Path, workers: int) -> None:
    """Render the shards that are not there yet."""
    todo = [s for s in shards if not (folder / "rows" / f"{s.name}.parquet").is_file()]
    sizes = {s.name: len(s.classes) * getattr(config, s.split) for s in shards}
    total, left = sum(sizes.values()), sum(sizes[s.name] for s in todo)
    bar = progress(total, f"rendering {config.name}", "images", done=total - left)
    # Fresh processes, not forks: a fork of a process with threads may hang.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_end_with_parent)
    with bar, pool:
        waiting = {pool.submit(render_shard, config, shard, folder): shard for shard in todo}
        for done in as_completed(waiting):
            done.result()
            bar.update(sizes[waiting[done].name])


def _end_with_parent() -> None:
    """End this process when the one that started it is gone, however it went."""
    parent = parent_process()
    assert parent is not None

    def wait_for_end() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait_for_end, daemon=True).start()


def _finish(
    config: IconsConfig,
    classes: tuple[IconClass, ...],
    shards: list[Shard],
    folder: Path,
    plan: dict[str, Any],
) -> None:
    """Join the shards' rows into the sample table and write the manifest."""
    parts = [pl.read_parquet(folder / "rows" / f"{shard.name}.parquet") for shard in shards]
    samples = pl.concat(parts)
    with replacing(folder / WHOLE / "samples.parquet") as temporary:
        samples.write_parquet(temporary)
    counts = dict(samples.group_by("shard").len().iter_rows())
    reserved = {item.name: reserved_family(item, config.seed) for item in classes}
    manifest = plan | {
        "classes": [item.name for item in classes],
        "reserved_family": {name: family for name, family in reserved.items() if family},
        "samples": samples.height,
        "samples_per_split": dict(samples.group_by("split").len().sort("split").iter_rows()),
        "shards": [
            _shard_record(folder / WHOLE / "shards" / name, counts[name]) for name in sorted(counts)
        ],
        "licences": {family: font_licences()[family] for family in FAMILIES},
        "sha256": table_sha256(samples),
    }
    write_json(folder / WHOLE / "manifest.json", manifest)


def _shard_record(path: Path, count: int) -> dict[str, Any]:
    content = path.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    return {"name": path.name, "bytes": len(content), "sha256": sha256, "count": count}


def _plan(config: IconsConfig, classes: tuple[IconClass, ...]) -> dict[str, Any]:
    """What decides the bytes of a dataset; two builds with equal plans are the same build."""
    drawings = json.dumps([asdict(item) for item in classes], sort_keys=True)
    return {
        "schema_version": SCHEMA_VERSION,
        "generator_version": GENERATOR_VERSION,
        "drawings_sha256": hashlib.sha256(drawings.encode()).hexdigest(),
        "nouns_sha256": hashlib.sha256(NOUNS_FILE.read_bytes()).hexdigest(),
        "config": resolved(config),
    }


def _check_same(target: Path, plan: dict[str, Any]) -> None:
    manifest = load_dataset(target.name, target.parent).manifest
    different = [key for key in plan if manifest.get(key) != plan[key]]
    if different:
        raise UserError(
            f"{target} holds another dataset of that name (it differs in {', '.join(different)})",
            where=str(target / "manifest.json"),
            fix=f"delete {target}, or give the new dataset another `name=`",
        )


def _enter(building: Path, plan: dict[str, Any]) -> None:
    """Go on in a half-built folder of the same plan; start afresh in any other."""
    path = building / "plan.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) == plan:
        return
    shutil.rmtree(building, ignore_errors=True)
    write_json(path, plan)
