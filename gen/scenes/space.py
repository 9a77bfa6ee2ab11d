"""The world of scenes: concepts, objects that combine them, and scenes that hold objects.

Words and notation of Uselis et al. 2026: concepts C_1 … C_K, each with its values; an object is one
value of every concept, o = (c_1 … c_K); a scene is a list of objects, s = (o_1 … o_m). Objects are
numbered by place value, the last concept running fastest, so that tables of objects need no names.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from splits.errors import UserError

Objects = NDArray[np.int64]
"""[n, K] values of objects, or [n, m] numbers of the objects of scenes"""


@dataclass(frozen=True)
class ConceptSpace:
    """Concepts and the values that each can take."""

    values: dict[str, tuple[str, ...]]
    """names of the values by the concept's name, in the order in which captions say them; the last
    concept is the noun of a caption (`colour`, `shape`)"""

    def __post_init__(self) -> None:
        for concept, names in self.values.items():
            if len(names) < 2 or len(set(names)) < len(names):
                raise UserError(
                    f"concept `{concept}` has the values {', '.join(names) or 'none'}",
                    expected="two or more, all different",
                    where="the scenes' concepts",
                )
        if len(self.values) < 2:
            raise UserError(
                f"scenes have {len(self.values)} concepts",
                expected="two or more: with one there is nothing to bind",
                where="the scenes' concepts",
            )

    @property
    def concepts(self) -> tuple[str, ...]:
        return tuple(self.values)

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Number of values of every concept."""
        return tuple(len(names) for names in self.values.values())

    @property
    def objects(self) -> int:
        """How many objects there are: the product of `sizes`."""
        return int(np.prod(self.sizes))

    @cached_property
    def table(self) -> Objects:
        """[objects, K] value of every concept of every object."""
        return np.array(list(product(*(range(size) for size in self.sizes))), dtype=np.int64)

    def numbers(self, values: Objects) -> Objects:
        """[…] number of the objects whose values are `values` [… , K]."""
        return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(values, -1, 0)), self.sizes))

    def name(self, number: int) -> str:
        """Words of an object: "red cat"."""
        names = self.values.values()
        row = self.table[number]
        return " ".join(words[value] for words, value in zip(names, row, strict=True))


def single_scenes(space: ConceptSpace) -> Objects:
    """[objects, 1] every scene of one object."""
    return np.arange(space.objects, dtype=np.int64)[:, None]


def pair_scenes(space: ConceptSpace, *, distinct: bool = True) -> Objects:
    """Every ordered scene of two objects.

    Args:
        space: the world.
        distinct: only pairs that differ in every concept, in which every swap of an attribute
            makes two other objects; else all pairs of two different objects.

    Returns:
        [n, 2] numbers of objects, in the order of the first, then of the second.
    """
    pairs = np.array(list(permutations(range(space.objects), 2)), dtype=np.int64)
    if not distinct:
        return pairs
    values = space.table[pairs]
    return pairs[(values[:, 0] != values[:, 1]).all(axis=1)]


def drawn_scenes(
    space: ConceptSpace,
    allowed: NDArray[np.int64],
    objects: int,
    count: int,
    random: np.random.Generator,
    *,
    distinct: bool = True,
) -> Objects:
    """Scenes of allowed objects, drawn with replacement, all of one number of objects.

    Args:
        space: the world.
        allowed: [n] numbers of the objects that may stand in a scene.
        objects: of a scene.
        count: of scenes.
        random: state of the draw.
        distinct: whether the objects of a scene differ pairwise in every concept, or are just
            different objects.

    Returns:
        [count, objects] numbers of objects.

    Raises:
        UserError: no scene of that many allowed objects was found.
    """
    scenes: list[Objects] = []
    found = 0
    for _ in range(100):
        draw = random.choice(allowed, size=(max(count, 64), objects))
        kept = draw[_are_apart(space, draw, distinct=distinct)]
        scenes.append(kept)
        found += len(kept)
        if found >= count:
            return np.concatenate(scenes)[:count]
    raise UserError(
        f"no {count} scenes of {objects} objects could be drawn from {len(allowed)} objects",
        expected="objects enough that differ in every concept" if distinct else "more objects",
        where="the scenes' draw",
        fix="fewer objects in a scene, more values of the concepts, or a larger coverage",
    )


def _are_apart(space: ConceptSpace, scenes: Objects, *, distinct: bool) -> NDArray[np.bool_]:
    """[n] whether the objects of every scene differ pairwise as asked."""
    values = space.table[scenes] if distinct else scenes[..., None]
    apart = np.ones(len(scenes), dtype=bool)
    for first in range(scenes.shape[1]):
        for second in range(first + 1, scenes.shape[1]):
            apart &= (values[:, first] != values[:, second]).all(axis=1)
    return apart
