"""Which scenes a dataset holds: their objects, their parts, and what is paired with its swap.

Scenes of one object go through the objects in turn; larger ones are drawn, their objects differing
pairwise in every concept. Of scenes of two objects a share comes in pairs: a scene and its swap in
the first concept, both built of train objects or both of unseen ones, and drawn under the same
names of randomness, so that the two pictures differ in what is swapped and in nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gen.datasets.scenes.world import SceneWorld
from gen.randomness import generator
from gen.scenes.coverage import Part
from gen.scenes.space import Objects, drawn_scenes
from gen.scenes.swaps import matched, swapped
from gen.schema import ScenesConfig
from splits.errors import UserError

SWAPPED_CONCEPT = 0
TEST_SWAP_SHARE = 0.5
"""share of the test scenes of two objects that come in pairs, as far as there are any"""
SHOWN, UNSEEN = "shown", "unseen"
"""domains of the sample table: scenes of train objects alone, and scenes with unseen objects"""
DRAWS = 100
"""attempts to find scenes that mix train and unseen objects"""
SPLITS = ("train", "test", "test_scenes", "test_mixed")
"""training; test scenes of one object, of several of one part, and of several of both parts"""


@dataclass(frozen=True)
class PlannedScene:
    """A scene that is to be drawn.

    Attributes:
        id: of the sample.
        split: one of SPLITS.
        part: of which objects it is built.
        objects: their numbers, from left to right.
        layout: names its randomness; a pair shares it.
        partner: id of its swap in the data; empty where there is none.
        position: its place among the scenes of its split and domain.
    """

    id: str
    split: str
    part: Part
    objects: tuple[int, ...]
    layout: str
    partner: str
    position: int

    @property
    def domain(self) -> str:
        return SHOWN if self.part is Part.train else UNSEEN


def plan_scenes(world: SceneWorld, config: ScenesConfig) -> list[PlannedScene]:
    """All scenes of a dataset, split by split.

    Raises:
        UserError: there are no scenes of the kind that is asked for, or training shows not every
            value of every concept.
    """
    planned = [
        scene
        for split in SPLITS
        for part, objects, count in _groups(split, config)
        for scene in _group(world, config, split, part, objects, count)
    ]
    _check_values(world, config, shown_objects(planned))
    return list(_numbered(planned))


def shown_objects(planned: Sequence[PlannedScene]) -> list[int]:
    """Numbers of the objects that stand in a training scene."""
    return sorted(
        {number for scene in planned if scene.split == "train" for number in scene.objects}
    )


def _check_values(world: SceneWorld, config: ScenesConfig, shown: list[int]) -> None:
    """Refuse training scenes that miss a value: test scenes would ask for it as a new one."""
    values, train = world.space.table[shown], len(world.split.train)
    missing = [
        f"{concept} {name}"
        for column, (concept, names) in zip(values.T, world.space.values.items(), strict=True)
        for number, name in enumerate(names)
        if number not in column
    ]
    if missing:
        raise UserError(
            f"training scenes show {len(shown)} of {train} train objects, "
            f"and not {', '.join(missing)}",
            expected="every value of every concept in a training scene",
            where=f"key `train` of dataset {config.name}, which is {list(config.train)}",
            fix=f"{train} training scenes of one object show every train object",
        )


def _groups(split: str, config: ScenesConfig) -> Iterator[tuple[Part, int, int]]:
    """Part, number of objects and number of scenes of everything in a split."""
    counts = list(enumerate(config.train if split == "train" else config.test, 1))
    wanted = {
        "train": ((Part.train,), counts),
        "test": ((Part.train, Part.unseen), counts[:1]),
        "test_scenes": ((Part.train, Part.unseen), counts[1:]),
        "test_mixed": ((Part.mixed,), counts[1:]),
    }
    parts, of_split = wanted[split]
    yield from ((part, objects, count) for part in parts for objects, count in of_split if count)


def _group(
    world: SceneWorld, config: ScenesConfig, split: str, part: Part, objects: int, count: int
) -> list[PlannedScene]:
    """The scenes of one part and one number of objects; pairs come first."""
    name = f"{split}_{part.name}_{objects}"
    random = generator(config.seed, "scenes", name)
    pairs = np.empty((0, objects), dtype=np.int64)
    if objects == 2 and part is not Part.mixed:
        pairs = _pairs(world, config, split, part, count, random)
    single = _scenes(world, part, objects, count - 2 * len(pairs), random)
    others = swapped(world.space, pairs, SWAPPED_CONCEPT) if len(pairs) else pairs
    scenes = np.concatenate([np.stack([pairs, others], axis=1).reshape(-1, objects), single])
    found = []
    for number, scene in enumerate(scenes):
        paired = number < 2 * len(pairs)
        layout = number - number % 2 if paired else number
        partner = f"{name}_{number + 1 - 2 * (number % 2):06d}" if paired else ""
        row = tuple(int(value) for value in scene)
        own, shared = f"{name}_{number:06d}", f"{name}_{layout:06d}"
        found.append(PlannedScene(own, split, part, row, shared, partner, 0))
    return found


def _pairs(
    world: SceneWorld,
    config: ScenesConfig,
    split: str,
    part: Part,
    count: int,
    random: np.random.Generator,
) -> Objects:
    """[n, 2] scenes that stand in the data with their swap."""
    share = config.swap_share if split == "train" else TEST_SWAP_SHARE
    wanted = int(share * count / 2)
    found = _matched_scenes(world, part)
    if not len(found) and wanted and split == "train":
        raise UserError(
            "no scene of two train objects has a swap of train objects, and key `swap_share` is "
            f"{config.swap_share:g}",
            expected="pairs of train objects that exchange a concept and stay train objects",
            where=f"dataset {config.name}",
            fix="a larger coverage, or swap_share=0",
        )
    if split != "train":  # what there is, each once: a test scene more would tell nothing new
        found = found[found[:, 0] < swapped(world.space, found, SWAPPED_CONCEPT)[:, 0]]
        return random.permutation(found)[:wanted]
    return random.choice(found, size=wanted) if wanted else found[:0]


def _matched_scenes(world: SceneWorld, part: Part) -> Objects:
    """[n, 2] ordered scenes of a part's objects, different in every concept, with matched swap."""
    allowed = _allowed(world, part)
    first, second = np.meshgrid(allowed, allowed, indexing="ij")
    scenes = np.stack([first.ravel(), second.ravel()], axis=1)
    values = world.space.table[scenes]
    scenes = scenes[(values[:, 0] != values[:, 1]).all(axis=1)]
    others = swapped(world.space, scenes, SWAPPED_CONCEPT)
    return scenes[matched(world.split, scenes, others)]


def _scenes(
    world: SceneWorld, part: Part, objects: int, count: int, random: np.random.Generator
) -> Objects:
    """[count, objects] scenes without regard to swaps."""
    allowed = _allowed(world, part)
    if objects == 1:
        return np.resize(random.permutation(allowed), count)[:, None]
    if part is not Part.mixed:
        return drawn_scenes(world.space, allowed, objects, count, random)
    return _mixed_scenes(world, objects, count, random)


def _mixed_scenes(
    world: SceneWorld, objects: int, count: int, random: np.random.Generator
) -> Objects:
    """[count, objects] scenes of both train and unseen objects."""
    everything = _allowed(world, Part.mixed)
    found = np.empty((0, objects), dtype=np.int64)
    for _ in range(DRAWS):
        drawn = drawn_scenes(world.space, everything, objects, 4 * count, random)
        found = np.concatenate([found, drawn[world.split.parts(drawn) == int(Part.mixed)]])
        if len(found) >= count:
            return found[:count]
    raise UserError(
        f"no {count} scenes of {objects} objects mix train and unseen objects",
        expected="train objects that differ in every concept from an unseen one",
        where="the scenes' draw",
        fix="another coverage_seed, or more values of the concepts",
    )


def _allowed(world: SceneWorld, part: Part) -> NDArray[np.int64]:
    """Numbers of the objects of which a part's scenes are built."""
    every = np.arange(world.space.objects, dtype=np.int64)
    return {Part.train: world.split.train, Part.unseen: world.split.unseen}.get(part, every)


def _numbered(planned: list[PlannedScene]) -> Iterator[PlannedScene]:
    """The scenes with their positions."""
    count: Counter[tuple[str, str]] = Counter()
    for scene in planned:
        key = scene.split, scene.domain
        yield replace(scene, position=count[key])
        count[key] += 1
