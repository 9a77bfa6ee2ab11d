"""Scenes of the same concepts: what a bag of concepts cannot tell from one another.

A rebinding of a scene gives its objects' values to one another: the values of every concept but
the last (the noun of a caption) move between the slots. A family is a scene with all its rebindings
and with all of these in other orders of the slots.

Legend: n scenes, m objects of a scene, K concepts, R rebindings of a scene.
"""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
from numpy.typing import NDArray

from gen.scenes.space import ConceptSpace, Objects


def families(space: ConceptSpace, scenes: Objects) -> NDArray[np.int64]:
    """[n] number of the family of every scene: the same for the same bag of concepts."""
    slots, concepts = scenes.shape[1], len(space.sizes)
    values = np.sort(space.table[scenes], axis=1).reshape(len(scenes), slots * concepts)
    return np.unique(values, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def object_sets(scenes: Objects) -> NDArray[np.int64]:
    """[n] number of the set of objects of every scene: the same whatever their order."""
    ordered = np.sort(scenes, axis=1)
    return np.unique(ordered, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def rebindings(space: ConceptSpace, scenes: Objects) -> Objects:
    """[n, R, m] every other way to bind the concepts of a scene, nouns in their slots.

    R is (m!)^(K-1) - 1. Where objects share values some rebindings hold the objects of the scene
    itself or of each other: see `gen.scenes.swaps.differs`.
    """
    slots = range(scenes.shape[1])
    free = len(space.sizes) - 1
    ways = list(product(permutations(slots), repeat=free))[1:]
    values = space.table[scenes]
    found = np.empty((len(scenes), len(ways), scenes.shape[1]), dtype=np.int64)
    for number, way in enumerate(ways):
        moved = values.copy()
        for concept, order in enumerate(way):
            moved[:, :, concept] = values[:, list(order), concept]
        found[:, number] = space.numbers(moved)
    return found


def places(scenes: Objects, bank: Objects) -> NDArray[np.int64]:
    """[…] row of the bank [b, m] that is the same scene in the same order, or -1; the first one.

    Args:
        scenes: […, m] numbers of objects.
        bank: [b, m] numbers of objects, not empty.

    Raises:
        ValueError: the bank is empty, or scenes are too many to be numbered.
    """
    base = 1 + max(scenes.max(initial=0), bank.max(initial=0))
    if not len(bank) or int(base) ** bank.shape[1] >= 2**63:
        raise ValueError(f"{len(bank)} scenes of {bank.shape[1]} of {base} objects cannot be told")
    weights = int(base) ** np.arange(bank.shape[1], dtype=np.int64)
    sought, known = scenes @ weights, bank @ weights
    order = np.argsort(known, kind="stable")
    place = np.searchsorted(known, sought, sorter=order).clip(max=len(bank) - 1)
    rows = order[place]
    return np.where(known[rows] == sought, rows, -1)
