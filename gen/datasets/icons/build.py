"""Build an icons dataset: plan the samples, render them on all cores, write shards and tables.

A shard is rendered whole by one process; `gen.datasets.packing` does the rest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gen.config import resolved
from gen.datasets.captions import captions, captions_sha256, domain_nouns
from gen.datasets.icons.domains import DOMAINS
from gen.datasets.icons.drawings import FAMILIES, Drawing, IconClass, font_licences, load_classes
from gen.datasets.icons.render import render
from gen.datasets.images import phash
from gen.datasets.packing import (
    SAMPLES_PER_SHARD,
    WHOLE,
    Sample,
    build,
    join_parts,
    run_jobs,
    set_aside,
    write_part,
)
from gen.datasets.samples import SCHEMA_VERSION
from gen.datasets.shards import encode_png
from gen.randomness import generator
from gen.schema import CaptionStyle, IconsConfig
from splits.errors import UserError, unknown
from splits.files import write_json
from splits.held_out import draw_held_out

GENERATOR_VERSION = 1
"""raised whenever the same configuration gives other pixels or captions"""

SPLITS = ("train", "test", "test_unseen_drawing")
STYLE = CaptionStyle.short
MIN_FAMILIES_TO_RESERVE = 3


@dataclass(frozen=True)
class Shard:
    """One unit of work: the samples of one split and domain for a run of classes."""

    name: str
    split: str
    domain: str
    classes: tuple[str, ...]
    samples: int
    """at most; a class may have no drawing for a split"""


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
    classes, plan = _checked_plan(config)
    fill = partial(_fill, config=config, classes=classes, plan=plan, workers=workers)
    return build(data / config.name, plan, fill, workers=workers)


def set_aside_other(config: IconsConfig, data: Path) -> tuple[Path, list[str]] | None:
    """Rename what stands in `data/NAME` where it is not what this code would render of `config`.

    Returns:
        Its new place, and what differs; None where there is nothing to render.

    Raises:
        UserError: the configuration is impossible, or what stands cannot be read.
    """
    return set_aside(data / config.name, _checked_plan(config)[1])


def _checked_plan(config: IconsConfig) -> tuple[tuple[IconClass, ...], dict[str, Any]]:
    """The classes of a configuration that is possible, and what decides its dataset's bytes."""
    classes = select_classes(config)
    check_domains(config)
    check_numbers(config)
    return classes, _plan(config, classes)


def _fill(
    building: Path,
    config: IconsConfig,
    classes: tuple[IconClass, ...],
    plan: dict[str, Any],
    workers: int,
) -> None:
    """Render all shards, then write the sample table and the manifest."""
    shards = list(plan_shards(config, [item.name for item in classes]))
    run_jobs(building, partial(render_shard, config), shards, workers)
    reserved = {item.name: reserved_family(item, config.seed) for item in classes}
    manifest = plan | {
        "domains": list(config.domains),
        "natural": config.natural,
        "classes": [item.name for item in classes],
        "super_categories": {item.name: item.super_category for item in classes},
        "reserved_family": {name: family for name, family in reserved.items() if family},
        "licences": {family: font_licences()[family] for family in FAMILIES},
    }
    write_json(building / WHOLE / "manifest.json", manifest | join_parts(building, shards))


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
        domain_nouns(domain, STYLE)
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
                part = tuple(classes[start : start + step])
                yield Shard(name, split, domain, part, len(part) * per_cell)


def render_shard(config: IconsConfig, shard: Shard, building: Path) -> None:
    """Render and write one shard and its rows."""
    write_part(building, shard.name, _samples(config, shard))


def _samples(config: IconsConfig, shard: Shard) -> Iterator[Sample]:
    classes = {item.name: (number, item) for number, item in enumerate(select_classes(config))}
    for name in shard.classes:
        class_id, item = classes[name]
        if drawings_of(item, shard.split, config):
            for index in range(getattr(config, shard.split)):
                yield _sample(config, shard, item, class_id, index)


def _sample(
    config: IconsConfig, shard: Shard, item: IconClass, class_id: int, index: int
) -> Sample:
    """Render one sample."""
    drawings = drawings_of(item, shard.split, config)
    name = f"{shard.split}_{shard.domain}_{item.name.replace(' ', '-')}_{index:05d}"
    rng = generator(config.seed, shard.split, shard.domain, item.name, index)
    families = sorted({drawing.family for drawing in drawings})
    family = families[rng.integers(len(families))]  # a family with many variants is not favoured
    variants = [drawing for drawing in drawings if drawing.family == family]
    drawing = variants[rng.integers(len(variants))]
    image = render(drawing, shard.domain, config.pixels, rng)
    png = encode_png(image)
    words = captions(config.seed, name, item.name, domain_nouns(shard.domain, STYLE), STYLE)
    row = {
        "id": name,
        "domain": shard.domain,
        "class_name": item.name,
        "super_category": item.super_category,
        "class_id": class_id,
        "split": shard.split,
        "instance": f"{drawing.name}/{name}",
        "drawing": drawing.name,
        "family": family,
        "position": index,
        "shard": f"{shard.name}.tar",
        "width": config.pixels,
        "height": config.pixels,
        "sha256": hashlib.sha256(png).hexdigest(),
        "phash": phash(image),
    }
    members = {"txt": words["caption"].encode(), "cls": str(class_id).encode()}
    return Sample(row | words, name, "png", png, members)


def drawings_of(item: IconClass, split: str, config: IconsConfig) -> tuple[Drawing, ...]:
    """The drawings of a class that a split may show."""
    reserved = reserved_family(item, config.seed)
    wanted = [f for f in item.families if (f == reserved) == (split == "test_unseen_drawing")]
    by_family = ([d for d in item.drawings if d.family == family] for family in wanted)
    count = config.drawings_per_family or None
    return tuple(drawing for drawings in by_family for drawing in drawings[:count])


def _plan(config: IconsConfig, classes: tuple[IconClass, ...]) -> dict[str, Any]:
    """What decides the bytes of a dataset; two builds with equal plans are the same build."""
    drawings = json.dumps([asdict(item) for item in classes], sort_keys=True)
    return {
        "schema_version": SCHEMA_VERSION,
        "generator_version": GENERATOR_VERSION,
        "drawings_sha256": hashlib.sha256(drawings.encode()).hexdigest(),
        "captions_sha256": captions_sha256(config.domains, STYLE),
        "config": resolved(config),
    }
