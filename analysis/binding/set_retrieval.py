"""Which scene is nearest to an embedding that was made, not seen: a reconstruction, or an edit.

Scenes that show the same objects in other orders, or in other images, are one answer.

Legend: q queries, b scenes of a bank, m objects of a scene, d dimensions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analysis.binding.rebindings import families, object_sets
from analysis.binding.swap_retrieval import CHUNK, TIE, unit
from gen.scenes.space import ConceptSpace, Objects


def first_places(
    queries: NDArray[np.floating],
    targets: Objects,
    bank: NDArray[np.floating],
    scenes: Objects,
) -> NDArray[np.float64]:
    """[q] the target's share of the first place among the sets of objects of a bank, by cosine.

    Args:
        queries: [q, d].
        targets: [q, m] the objects that should be nearest.
        bank: [b, d].
        scenes: [b, m] objects of the bank's embeddings.

    Returns:
        1 or 0, or a part of a tie; 0 where the bank has no such scene.
    """
    numbers = object_sets(np.concatenate([scenes, targets]))
    sets, sought = numbers[: len(scenes)], numbers[len(scenes) :]
    order = np.argsort(sets, kind="stable")
    present, starts = np.unique(sets[order], return_index=True)
    known = unit(bank[order]).T
    found = []
    for start in range(0, len(queries), CHUNK):
        here = slice(start, start + CHUNK)
        scores = np.maximum.reduceat(unit(queries[here]) @ known, starts, axis=1)
        best = scores >= scores.max(axis=1, keepdims=True) - TIE
        hit = best & (present[None, :] == sought[here, None])
        found.append(hit.sum(axis=1) / best.sum(axis=1))
    return np.concatenate(found) if found else np.zeros(0)


def bag_levels(space: ConceptSpace, targets: Objects, scenes: Objects) -> NDArray[np.float64]:
    """[q] how often a bag of concepts is right: one in the sets of the bank that hold the concepts.

    Args:
        space: the world.
        targets: [q, m] scenes that should be nearest, all of them in the bank.
        scenes: [b, m] scenes of the bank.
    """
    both = np.concatenate([scenes, targets])
    family, sets = families(space, both), object_sets(both)
    first = np.unique(sets[: len(scenes)], return_index=True)[1]
    alike = np.bincount(family[: len(scenes)][first], minlength=family.max(initial=0) + 1)
    return 1 / np.maximum(alike[family[len(scenes) :]], 1)
