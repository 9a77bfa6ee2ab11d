"""Encoders of scenes with known answers: the controls beside which models are read.

An object has a vector, a scene is the sum of the vectors of its objects, brought to length 1:

    bag             u_o = (1/√K) Σ_k u_k[c_k]      concepts are known, and not which belong together
    product         u_o = ∏_k u_k[c_k]             binds by a rule, so also objects never seen
    memorised       u_o = r_o                      binds, by a vector of its own for every object
    half_memorised  u_o = bag + ½ r_o              reads as bag across modalities, binds within one

with u_k[c] and r_o of independent standard normal numbers, so that all have coordinates of variance
1 before lengths are taken. None of them knows what a train object is. Images and texts are the same
function; each side may have noise of its own. 16 values of each of two concepts and 32 dimensions:
there must be far fewer dimensions than train objects, else tables of objects fit everything.

Legend: n scenes, m objects of a scene, K concepts, d dimensions.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from analysis.binding.embedded import EmbeddedScenes
from analysis.binding.rebindings import families
from gen.scenes.coverage import ObjectSplit, Part
from gen.scenes.space import ConceptSpace, Objects, pair_scenes, single_scenes
from gen.scenes.swaps import swapped

VALUES = 16
WIDTH = 32
SCENES = 2000
"""of a part, at most"""

ObjectVectors = Callable[[ConceptSpace, int, np.random.Generator], NDArray[np.float64]]
"""draws the vectors [objects, d] of all objects"""


def planted_space(values: int = VALUES, concepts: int = 2) -> ConceptSpace:
    """Concepts with numbered values: "a0", "a1", …, "b0", …"""
    names = [chr(ord("a") + concept) for concept in range(concepts)]
    return ConceptSpace(
        {name: tuple(f"{name}{value}" for value in range(values)) for name in names}
    )


def planted_scenes(
    space: ConceptSpace, split: ObjectSplit, seed: int, most: int = SCENES
) -> Objects:
    """[n, 2] scenes of two objects that differ in every concept, at most so many of every part.

    Scenes come in whole families: with a scene all orders and rebindings of the same part.
    """
    pairs = pair_scenes(space)
    family = families(space, pairs)
    order = np.random.default_rng(seed).permutation(family.max() + 1)[family]
    parts = split.parts(pairs)
    kept = [_first(np.flatnonzero(parts == int(part)), order, most) for part in Part]
    return pairs[np.sort(np.concatenate(kept))]


def _first(rows: Objects, order: Objects, most: int) -> Objects:
    """The rows of the first families, at most so many."""
    rows = rows[np.argsort(order[rows], kind="stable")]
    if len(rows) <= most:
        return rows
    return rows[:most][order[rows[:most]] != order[rows[most]]]


def bag(space: ConceptSpace, width: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Objects are sums of concepts: the scene forgets which belong together."""
    parts = [table[values] for table, values in _concepts(space, width, random)]
    return np.asarray(sum(parts) / np.sqrt(len(parts)))


def product(space: ConceptSpace, width: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Objects are products of concepts, coordinate by coordinate: bound, by a rule."""
    vectors = np.ones((space.objects, width))
    for table, values in _concepts(space, width, random):
        vectors = vectors * table[values]
    return vectors


def memorised(space: ConceptSpace, width: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Every object has a vector of its own: bound, without a rule."""
    return random.standard_normal((space.objects, width))


def half_memorised(
    space: ConceptSpace, width: int, random: np.random.Generator
) -> NDArray[np.float64]:
    """A bag of concepts with half a memory of its objects."""
    return bag(space, width, random) + memorised(space, width, random) / 2


PLANTED: dict[str, ObjectVectors] = {
    "bag": bag,
    "product": product,
    "memorised": memorised,
    "half_memorised": half_memorised,
}


def plant(
    vectors: ObjectVectors,
    space: ConceptSpace,
    split: ObjectSplit | None,
    scenes: Objects,
    *,
    seed: int,
    width: int = WIDTH,
    noise: float = 0.0,
) -> EmbeddedScenes:
    """Scenes as a planted encoder embeds them.

    Args:
        vectors: one of the encoders above.
        space, split, scenes: the world; scenes [n, m].
        seed: of the vectors and of the noise.
        width: d.
        noise: standard deviation of a coordinate's noise, in those of an object's; drawn anew for
            every image and every text.
    """
    random = np.random.default_rng([seed, width])
    table = vectors(space, width, random)

    def embedded(objects: Objects) -> NDArray[np.float32]:
        sums = table[objects].sum(axis=1)
        sums = sums + noise * random.standard_normal(sums.shape)
        return (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float32)

    # a scene of one object has no swap
    swaps = swapped(space, scenes, 0) if scenes.shape[1] > 1 else scenes[:0]
    return EmbeddedScenes(
        space=space,
        split=split,
        scenes=scenes,
        images=embedded(scenes),
        texts=embedded(scenes),
        swaps=embedded(swaps),
        single_images=embedded(single_scenes(space)),
        single_texts=embedded(single_scenes(space)),
    )


def _concepts(
    space: ConceptSpace, width: int, random: np.random.Generator
) -> list[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Of every concept its table [values, d], and the value [objects] that every object has."""
    tables = [random.standard_normal((size, width)) for size in space.sizes]
    return list(zip(tables, space.table.T, strict=True))
