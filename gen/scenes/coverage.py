"""Which objects training may show, and what that makes of a scene.

The split is one of objects, not of scenes (Uselis et al. 2026): training scenes are built of train
objects alone, test scenes of unseen objects alone, and scenes that mix both are set aside. Every
value of every concept stands in some train object, so that an unseen object is a new combination
and never a new value.
"""

from __future__ import annotations

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
    """Draw the objects that training shows.

    First a cover: objects in drawn order, each taken if it shows a value that none before it shows.
    Then others in the same order until the fraction is reached. Splits of one seed are nested: a
    larger fraction shows all objects of a smaller one.

    Args:
        space: the world.
        fraction: share of the objects, above 0 and below 1; rounded to whole objects.
        seed: of the draw.

    Raises:
        UserError: the fraction leaves no unseen object, or cannot show every value.
    """
    count = round(fraction * space.objects)
    order = np.random.default_rng([seed, space.objects]).permutation(space.objects)
    cover = _cover(space, order)
    if count >= space.objects or count < len(cover):
        raise UserError(
            f"a coverage of {fraction:g} shows {count} of {space.objects} objects",
            expected=f"{len(cover)} to {space.objects - 1}: every value of a concept is shown, "
            "and an object is left to test",
            where="the coverage of scenes",
            fix=f"a coverage from {len(cover) / space.objects:.2f} to "
            f"{(space.objects - 1) / space.objects:.2f}, or concepts of more values",
        )
    rest = order[~np.isin(order, cover)]
    seen = np.zeros(space.objects, dtype=bool)
    seen[np.concatenate([cover, rest])[:count]] = True
    return ObjectSplit(seen, fraction, seed)


def _cover(space: ConceptSpace, order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Objects, in `order`, of which each shows a value that none before it shows."""
    shown = [np.zeros(size, dtype=bool) for size in space.sizes]
    taken = []
    for number in order:
        row = space.table[number]
        if all(values[value] for values, value in zip(shown, row, strict=True)):
            continue
        taken.append(number)
        for values, value in zip(shown, row, strict=True):
            values[value] = True
    return np.array(taken, dtype=np.int64)
