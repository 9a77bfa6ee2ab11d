"""Build a scenes dataset: plan the scenes, draw them on all cores, write shards and tables.

Beside the sample table stands `scenes.parquet`, a row per sample in the same order: what the scene
holds, how its swap is said, and where the swap is in the data.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gen.config import resolved
from gen.datasets.icons.drawings import font_licences
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
from gen.datasets.samples import SCHEMA_VERSION, table_sha256
from gen.datasets.scenes.plan import (
    SHOWN,
    SWAPPED_CONCEPT,
    UNSEEN,
    PlannedScene,
    plan_scenes,
    shown_objects,
)
from gen.datasets.scenes.world import SceneWorld, scene_world
from gen.datasets.shards import encode_png
from gen.randomness import generator
from gen.scenes.drawing import Canvas, Picture, draw_scene
from gen.scenes.swaps import matched, swapped
from gen.scenes.wording import scene_caption
from gen.schema import ScenesConfig
from splits.files import replacing, write_json

GENERATOR_VERSION = 2
"""raised whenever the same configuration gives other pixels or captions"""
SCENES_FILE = "scenes.parquet"
COLUMNS: dict[str, Any] = {
    "id": pl.String,
    "split": pl.String,
    "part": pl.String,
    "objects": pl.List(pl.Int64),
    "caption": pl.String,
    "swapped_caption": pl.String,
    "swap_matched": pl.Boolean,
    "swap_partner": pl.String,
    "boxes": pl.List(pl.List(pl.Int64)),
}
"""of SCENES_FILE; docs/formats.md says what they mean"""


@dataclass(frozen=True)
class Shard:
    """One unit of work: some scenes of one split and domain."""

    name: str
    scenes: tuple[PlannedScene, ...]

    @property
    def samples(self) -> int:
        return len(self.scenes)


def build_scenes(config: ScenesConfig, data: Path, *, workers: int) -> Path:
    """Make the dataset `data/NAME`, or go on where that stopped.

    Args:
        config: of the dataset.
        data: folder of all datasets.
        workers: processes that draw.

    Returns:
        The dataset's folder.

    Raises:
        UserError: the configuration is impossible, or another dataset has the name.
    """
    world = scene_world(config)
    plan = _plan(config, world)
    fill = partial(_fill, config=config, world=world, plan=plan, workers=workers)
    return build(data / config.name, plan, fill, workers=workers)


def set_aside_other(config: ScenesConfig, data: Path) -> tuple[Path, list[str]] | None:
    """Rename what stands in `data/NAME` where it is not what this code would draw of `config`.

    Returns:
        Its new place, and what differs; None where there is nothing to draw.

    Raises:
        UserError: the configuration is impossible, or what stands cannot be read.
    """
    return set_aside(data / config.name, _plan(config, scene_world(config)))


def _plan(config: ScenesConfig, world: SceneWorld) -> dict[str, Any]:
    """What decides the bytes of a dataset; two builds with equal plans are the same build."""
    looks = json.dumps([asdict(look) for look in world.looks], sort_keys=True)
    return {
        "schema_version": SCHEMA_VERSION,
        "generator_version": GENERATOR_VERSION,
        "looks_sha256": hashlib.sha256(looks.encode()).hexdigest(),
        "concepts": {name: list(words) for name, words in world.space.values.items()},
        "config": resolved(config),
    }


def _fill(
    building: Path, config: ScenesConfig, world: SceneWorld, plan: dict[str, Any], workers: int
) -> None:
    """Draw all shards, then write the tables and the manifest."""
    scenes = plan_scenes(world, config)
    shards = list(_shards(scenes))
    run_jobs(building, partial(draw_shard, config), shards, workers)
    joined = join_parts(building, shards)
    path = building / WHOLE / SCENES_FILE
    with replacing(path) as temporary:
        rows = scene_rows(world, scenes, _boxes(building, shards))
        rows.write_parquet(temporary)
    families = {drawing.family for look in world.looks for drawing in look.drawings}
    licences = font_licences()
    manifest = plan | {
        "domains": [SHOWN, UNSEEN],
        "natural": SHOWN,
        "classes": [item.name for item in world.classes],
        "super_categories": {item.name: item.super_category for item in world.classes},
        "train_objects": world.split.train.tolist(),
        "train_objects_shown": len(shown_objects(scenes)),
        "scenes": _counts(rows),
        "scenes_sha256": table_sha256(path),
        "licences": {family: licences[family] for family in sorted(families)},
    }
    write_json(building / WHOLE / "manifest.json", manifest | joined)


def _shards(scenes: Sequence[PlannedScene]) -> Iterator[Shard]:
    """Scenes of one split and domain, in their order, SAMPLES_PER_SHARD at a time."""
    for (split, domain), group in groupby(scenes, key=lambda scene: (scene.split, scene.domain)):
        members = tuple(group)
        for start in range(0, len(members), SAMPLES_PER_SHARD):
            name = f"{split}-{domain}-{start // SAMPLES_PER_SHARD:04d}"
            yield Shard(name, members[start : start + SAMPLES_PER_SHARD])


def draw_shard(config: ScenesConfig, shard: Shard, building: Path) -> None:
    """Draw and write one shard, its rows, and the boxes of its objects."""
    world = _world_of(json.dumps(resolved(config)))
    pictures = [_draw(config, world, scene) for scene in shard.scenes]
    boxes = [picture.boxes.tolist() for picture in pictures]
    write_json(_boxes_of(building, shard.name), boxes)
    pairs = zip(shard.scenes, pictures, strict=True)
    samples = (_sample(config, world, shard, scene, picture) for scene, picture in pairs)
    write_part(building, shard.name, samples)  # last: where it stands, the shard is done


@lru_cache(maxsize=1)
def _world_of(config: str) -> SceneWorld:
    """The world of a configuration given as JSON: once per process, not once per shard."""
    content = {key: value for key, value in json.loads(config).items() if key != "kind"}
    return scene_world(ScenesConfig(**content))


def _draw(config: ScenesConfig, world: SceneWorld, scene: PlannedScene) -> Picture:
    canvas = Canvas(config.pixels, config.object_pixels, config.overlap)
    looks = [world.looks[number] for number in scene.objects]
    return draw_scene(looks, canvas, config.seed, scene.layout)


def _sample(
    config: ScenesConfig, world: SceneWorld, shard: Shard, scene: PlannedScene, picture: Picture
) -> Sample:
    """A scene on its way into its shard; its class is that of the object named first."""
    png = encode_png(picture.image)
    class_id = int(world.space.table[scene.objects[0], -1])
    shuffled = generator(config.seed, "order", scene.id).permutation(len(scene.objects))
    caption = scene_caption(world.space, scene.objects)
    row = {
        "id": scene.id,
        "domain": scene.domain,
        "class_name": world.classes[class_id].name,
        "super_category": world.classes[class_id].super_category,
        "class_id": class_id,
        "split": scene.split,
        "instance": scene.id,
        "drawing": " + ".join(drawing.name for drawing in picture.shown),
        "family": " + ".join(drawing.family for drawing in picture.shown),
        "caption": caption,
        "caption_aligned": scene_caption(world.space, [scene.objects[slot] for slot in shuffled]),
        "position": scene.position,
        "shard": f"{shard.name}.tar",
        "width": config.pixels,
        "height": config.pixels,
        "sha256": hashlib.sha256(png).hexdigest(),
        "phash": phash(picture.image),
    }
    members = {"txt": caption.encode(), "cls": str(class_id).encode()}
    return Sample(row, scene.id, "png", png, members)


def scene_rows(
    world: SceneWorld, scenes: Sequence[PlannedScene], boxes: Sequence[list[list[int]]]
) -> pl.DataFrame:
    """The table of scenes, with the boxes [m, 3] of their objects."""
    rows = [
        {
            "id": scene.id,
            "split": scene.split,
            "part": scene.part.name,
            "objects": list(scene.objects),
            "caption": scene_caption(world.space, scene.objects),
            "swap_partner": scene.partner or None,
            "boxes": places,
            **_swap(world, scene),
        }
        for scene, places in zip(scenes, boxes, strict=True)
    ]
    return pl.DataFrame(rows, schema=COLUMNS)


def _counts(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """How many scenes there are of every kind, with matched swaps, and with their swap beside."""
    kind = ["split", "part", pl.col("objects").list.len().alias("objects_per_scene")]
    counts = rows.group_by(kind, maintain_order=True).agg(
        pl.len().alias("scenes"),
        pl.col("swap_matched").sum().alias("matched"),
        pl.col("swap_partner").count().alias("paired"),
    )
    return counts.to_dicts()


def _swap(world: SceneWorld, scene: PlannedScene) -> dict[str, Any]:
    """How the swap of a scene is said, and whether it is matched; a single object has none."""
    if len(scene.objects) < 2:
        return {"swapped_caption": None, "swap_matched": None}
    own = np.array([scene.objects], dtype=np.int64)
    other = swapped(world.space, own, SWAPPED_CONCEPT)
    return {
        "swapped_caption": scene_caption(world.space, other[0]),
        "swap_matched": bool(matched(world.split, own, other)[0]),
    }


def _boxes(building: Path, shards: Sequence[Shard]) -> list[list[list[int]]]:
    """The boxes that the shards left behind, in the order of the scenes."""
    found = (json.loads(_boxes_of(building, shard.name).read_text()) for shard in shards)
    return [boxes for of_shard in found for boxes in of_shard]


def _boxes_of(building: Path, name: str) -> Path:
    return building / "boxes" / f"{name}.json"
