"""The world of one condition: objects that training shows, scenes that it draws, scenes that test.

Four steps away from training: scenes that training may draw (`trained`), new scenes of the same
objects (`new`), scenes that mix shown and unseen objects (`mixed`), and scenes of unseen objects
alone (`unseen`). What is kept out as new is whole bags of concepts: a scene, its reversals and its
swaps are kept out together, else a swap would be known by its twin.

Legend: n scenes, m objects of a scene, K concepts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from analysis.binding.controlled.condition import Condition
from gen.randomness import batch_uniforms, generator
from gen.scenes.coverage import ObjectSplit, Part, split_objects
from gen.scenes.space import ConceptSpace, Objects, drawn_scenes, pair_scenes
from gen.scenes.swaps import matched, swapped
from splits.errors import UserError

KEPT_OUT = 0.1
"""share of the bags of concepts that no training scene shows"""
FEW_OBJECTS = 200
"""up to which the scenes of two objects are listed, not drawn"""
ROUNDS = 200
"""of a draw of scenes, after which there are taken to be none"""
STEPS_AT_ONCE = 50
"""whose scenes are drawn together, which is faster"""


class Familiarity(IntEnum):
    """How far a scene is from what training shows."""

    trained = 0
    new = 1
    unseen = 2
    mixed = 3


@dataclass(frozen=True)
class World:
    """Concepts, the objects that training shows, and the scenes that it does not."""

    space: ConceptSpace
    split: ObjectSplit

    def familiarity(self, scenes: Objects) -> NDArray[np.int64]:
        """[n] `Familiarity` of scenes [n, m]."""
        parts = self.split.parts(scenes)
        of_parts = np.array([Familiarity.trained, Familiarity.unseen, Familiarity.mixed])[parts]
        is_new = (parts == int(Part.train)) & self.is_kept_out(scenes)
        return np.where(is_new, int(Familiarity.new), of_parts)

    def is_kept_out(self, scenes: Objects) -> NDArray[np.bool_]:
        """[n] whether training leaves out the scenes' bags; scenes of one object never."""
        if scenes.shape[1] < 2:
            return np.zeros(len(scenes), dtype=bool)
        keys = bags(self.space, scenes)
        uniforms = batch_uniforms(self.split.seed, np.zeros(len(keys), np.int64), keys, 1)
        return np.asarray(uniforms[:, 0] < KEPT_OUT)


def world_of(condition: Condition) -> World:
    """The world of a condition.

    Raises:
        UserError: the coverage shows not every value, or every object.
    """
    space = ConceptSpace(
        {
            f"concept_{number}": tuple(f"{number}_{value}" for value in range(size))
            for number, size in enumerate(condition.sizes)
        }
    )
    return World(space, split_objects(space, condition.coverage, condition.split_seed))


def bags(space: ConceptSpace, scenes: Objects) -> NDArray[np.uint64]:
    """[n] a number for the concepts of every scene, whatever object they are bound to."""
    values = np.sort(space.table[scenes], axis=1).astype(np.uint64)
    key = np.zeros(len(scenes), dtype=np.uint64)
    for concept, size in enumerate(space.sizes):
        for slot in range(scenes.shape[1]):
            key = key * np.uint64(size) + values[:, slot, concept]
    return key


def training_scenes(world: World, condition: Condition) -> Iterator[list[Objects]]:
    """Endless batches: scenes of two objects, and those of one where the condition has some.

    Of the first, `swap_share` of the whole batch stands at the start, every scene followed by its
    swap in one concept, drawn evenly among the concepts.

    Raises:
        UserError: no scene of train objects, or none whose swap is one too, could be drawn.
    """
    random = generator("binding", "scenes", condition.seed, condition.split_seed)
    batch = condition.training.batch
    singles = round(batch * condition.training.single_share)
    pairs = round(batch * condition.swap_share / 2)
    plain = max(0, batch - singles - 2 * pairs)
    while True:
        alone = random.choice(world.split.train, size=(STEPS_AT_ONCE, singles, 1))
        apart = _drawn(world, STEPS_AT_ONCE * plain, random).reshape(STEPS_AT_ONCE, plain, 2)
        twins = _drawn_twins(world, STEPS_AT_ONCE * pairs, random)
        twins = twins.reshape(STEPS_AT_ONCE, 2 * pairs, 2)
        doubles = np.concatenate([twins, apart], axis=1)
        for step in range(STEPS_AT_ONCE):
            groups = [doubles[step], alone[step]]
            yield [scenes for scenes in groups if len(scenes)]


def exam_scenes(world: World, most: int, seed: int) -> tuple[Objects, NDArray[np.bool_]]:
    """Scenes of two objects to test with, of every familiarity.

    Scenes whose swap is matched may be rare, so that a plain sample would hold too few: there are
    as many plainly sampled scenes and as many matched ones, at most.

    Args:
        world: of the scenes.
        most: scenes of a familiarity that are sampled plainly, and of matched ones.
        seed: of the samples.

    Returns:
        scenes [n, 2], all different, and [n] whether each belongs to the plain sample.
    """
    random = generator("binding", "test", seed)
    listed = _candidates(world, most, random)
    listed = listed[random.permutation(len(listed))]
    known = world.familiarity(listed)
    is_matched = has_matched_swap(world, listed)
    plain, chosen = np.zeros(len(listed), dtype=bool), np.zeros(len(listed), dtype=bool)
    for kind in Familiarity:
        plain[np.flatnonzero(known == kind)[:most]] = True
        chosen[np.flatnonzero((known == kind) & is_matched)[:most]] = True
    chosen |= plain
    return listed[chosen], plain[chosen]


def has_matched_swap(world: World, scenes: Objects) -> NDArray[np.bool_]:
    """[n] whether a scene and its swap of the first concept are equally familiar."""
    others = swapped(world.space, scenes, 0)
    same = world.familiarity(scenes) == world.familiarity(others)
    return np.asarray(same & matched(world.split, scenes, others))


def _candidates(world: World, most: int, random: np.random.Generator) -> Objects:
    space = world.space
    if space.objects <= FEW_OBJECTS:
        return pair_scenes(space)
    allowed = [world.split.train, world.split.unseen, np.arange(space.objects)]
    drawn = [drawn_scenes(space, objects, 2, 20 * most, random) for objects in allowed]
    return np.unique(np.concatenate(drawn), axis=0)


def _drawn(world: World, count: int, random: np.random.Generator) -> Objects:
    """[count, 2] training scenes."""
    found: list[Objects] = [np.empty((0, 2), dtype=np.int64)]
    for _ in range(ROUNDS):
        if sum(map(len, found)) >= count:
            return np.concatenate(found)[:count]
        scenes = drawn_scenes(world.space, world.split.train, 2, 2 * count + 64, random)
        found.append(scenes[~world.is_kept_out(scenes)])
    raise _nothing(world, "scenes")


def _drawn_twins(world: World, count: int, random: np.random.Generator) -> Objects:
    """[2 count, 2] training scenes, each followed by its swap, which is one as well."""
    found: list[Objects] = [np.empty((0, 2, 2), dtype=np.int64)]
    for _ in range(ROUNDS):
        if sum(map(len, found)) >= count:
            return np.concatenate(found)[:count].reshape(-1, 2)
        scenes = drawn_scenes(world.space, world.split.train, 2, 4 * count + 64, random)
        scenes = scenes[~world.is_kept_out(scenes)]
        concepts = random.integers(len(world.space.sizes), size=len(scenes))
        for concept in range(len(world.space.sizes)):
            firsts = scenes[concepts == concept]
            others = swapped(world.space, firsts, concept)
            both = matched(world.split, firsts, others)
            found.append(np.stack([firsts[both], others[both]], axis=1))
    raise _nothing(world, "scenes whose swap is one of train objects too")


def _nothing(world: World, what: str) -> UserError:
    return UserError(
        f"no {what} can be drawn from {len(world.split.train)} of {world.space.objects} objects",
        expected="objects enough that training shows",
        where=f"a coverage of {world.split.fraction:g}, split seed {world.split.seed}",
        fix="a larger coverage, more values of the concepts, or a swap share of 0",
    )
