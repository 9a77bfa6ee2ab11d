"""Which objects training may show, and what that makes of a scene.

The split is one of objects, not of scenes (Uselis et al. 2026): training scenes are built of train
objects alone, test scenes of unseen objects alone, and scenes that mix both are set aside. Every
value of every concept stands in some train object, so that an unseen object is a new combination
and never a new value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from gen.scenes.space import ConceptSpace, Objects
from splits.errors import UserError


class Part(IntEnum):
    """Of which objects a scene is built."""

    train = 0
    unseen = 1
    mixed = 2


@dataclass(frozen=True)
class ObjectSplit:
    """Objects that training shows and objects that it does not."""

    seen: NDArray[np.bool_]
    """[objects] whether training may show the object"""
    fraction: float
    """share of objects that was asked for"""
    seed: int

    @property
    def train(self) -> NDArray[np.int64]:
        """Numbers of the objects that training may show."""
        return np.flatnonzero(self.seen)

    @property
    def unseen(self) -> NDArray[np.int64]:
        """Numbers of the others."""
        return np.flatnonzero(~self.seen)

    def parts(self, scenes: Objects) -> NDArray[np.int64]:
        """[n] `Part` of every scene [n, m]."""
        seen = self.seen[scenes]
        mixed = np.where(seen.any(axis=1), int(Part.mixed), int(Part.unseen))
        return np.where(seen.all(axis=1), int(Part.train), mixed)


def split_objects(space: ConceptSpace, fraction: float, seed: int) -> ObjectSplit:
    """Draw the objects that training shows: the first ones of a drawn order.

    The order begins with as many objects as the largest concept has values, and these show every
    value of every concept. Splits of one seed are nested: a larger fraction shows all objects of a
    smaller one.

    Args:
        space: the world.
        fraction: share of the objects, above 0 and below 1; rounded to whole objects.
        seed: of the draw, 0 or more.

    Raises:
        UserError: the fraction is no share, leaves no unseen object, or cannot show every value.
    """
    count = train_count(space.sizes, fraction)
    seen = np.zeros(space.objects, dtype=bool)
    seen[_order(space, seed)[:count]] = True
    return ObjectSplit(seen, fraction, seed)


def train_count(sizes: Sequence[int], fraction: float) -> int:
    """How many objects training may show.

    Args:
        sizes: number of values of every concept.
        fraction: share of the objects.

    Raises:
        UserError: the fraction is no share, leaves no unseen object, or cannot show every value.
    """
    if not 0 < fraction <= 1:  # 1 is refused below, where the objects are counted
        raise UserError(
            f"a coverage of {fraction:g}",
            expected="a share of the objects, above 0 and below 1",
            where="the coverage of scenes",
        )
    objects, least = math.prod(sizes), max(sizes)
    count = round(fraction * objects)
    if not least <= count < objects:
        raise UserError(
            f"a coverage of {fraction:g} shows {count} of {objects} objects",
            expected=f"{least} to {objects - 1}: every value of a concept is shown, "
            "and an object is left to test",
            where="the coverage of scenes",
            fix=f"a coverage from {least / objects:g} to "
            f"{(objects - 1) / objects:g}, or concepts of more values",
        )
    return count


def _order(space: ConceptSpace, seed: int) -> NDArray[np.int64]:
    """[objects] all objects: a diagonal that goes through the values of every concept in drawn
    order, and again where there are fewer than in the largest; then the others as drawn."""
    random = np.random.default_rng([seed, space.objects])
    turns = np.arange(max(space.sizes))
    diagonal = [random.permutation(size)[turns % size] for size in space.sizes]
    first = space.numbers(np.stack(diagonal, axis=1))
    rest = np.setdiff1d(np.arange(space.objects), first)
    return np.concatenate([first, random.permutation(rest)])
