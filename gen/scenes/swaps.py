"""Hard negatives by attribute swap: the same concepts, bound to other objects.

A bag of concepts cannot tell a scene from its swap. A swap is matched if it changes nothing else: a
scene of train objects must swap into one of train objects, a scene of unseen objects into one of
unseen objects. Without that rule an encoder that merely prefers what it has seen scores below or
above chance without binding anything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gen.scenes.coverage import ObjectSplit, Part
from gen.scenes.space import ConceptSpace, Objects


def swapped(
    space: ConceptSpace, scenes: Objects, concept: int, first: int = 0, second: int = 1
) -> Objects:
    """[n, m] scenes in which two objects have exchanged their value of a concept.

    Args:
        space: the world.
        scenes: [n, m] numbers of objects.
        concept: whose values are exchanged.
        first, second: slots of the two objects.
    """
    values = space.table[scenes].copy()
    kept = values[:, first, concept].copy()
    values[:, first, concept] = values[:, second, concept]
    values[:, second, concept] = kept
    return space.numbers(values)


def differs(scenes: Objects, others: Objects) -> NDArray[np.bool_]:
    """[n] whether two lists of scenes hold different objects, whatever their order."""
    return np.asarray((np.sort(scenes, axis=1) != np.sort(others, axis=1)).any(axis=1))


def matched(split: ObjectSplit, scenes: Objects, others: Objects) -> NDArray[np.bool_]:
    """[n] whether scenes and their swaps are both built of train objects or both of unseen ones."""
    parts = split.parts(scenes)
    return np.asarray((parts == split.parts(others)) & (parts != int(Part.mixed)))
