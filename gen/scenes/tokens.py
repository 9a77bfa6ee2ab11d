"""Scenes and queries as token ids: the symbolic twin of pictures and captions.

The form of Uselis et al. 2026: a scene is `SOO c_1 … c_K EOO` for every object in the order of its
slots, then `EOS`; a query is one concept value or one object, then `EOS`. Every value of every
concept has an id of its own, so that a number says which concept it is of.

Legend: n scenes, m objects of a scene, K concepts.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gen.scenes.space import ConceptSpace, Objects

PADDING = 0
"""fills up sequences of different lengths; stands in none of those made here"""
OBJECT_START = 1
OBJECT_END = 2
END = 3
FIRST_VALUE = 4
"""id of the first concept's first value"""

Tokens = NDArray[np.int64]


def vocabulary_size(space: ConceptSpace) -> int:
    """Number of ids: padding, three marks, and the values of all concepts."""
    return FIRST_VALUE + sum(space.sizes)


def scene_tokens(space: ConceptSpace, scenes: Objects) -> Tokens:
    """[n, (K + 2) m + 1] ids of scenes [n, m], given as numbers of objects."""
    values = space.table[scenes] + _offsets(space)
    marks = np.ones((*scenes.shape, 1), dtype=np.int64)
    objects = np.concatenate([OBJECT_START * marks, values, OBJECT_END * marks], axis=-1)
    return _ended(objects.reshape(len(scenes), scenes.shape[1] * (len(space.sizes) + 2)))


def object_tokens(space: ConceptSpace, objects: NDArray[np.int64]) -> Tokens:
    """[n, K + 3] ids of the queries for objects, given as numbers [n]."""
    return scene_tokens(space, objects[:, None])


def concept_tokens(space: ConceptSpace) -> Tokens:
    """[values, 2] ids of the queries for every value, concept after concept."""
    return _ended(np.arange(FIRST_VALUE, vocabulary_size(space), dtype=np.int64)[:, None])


def _offsets(space: ConceptSpace) -> NDArray[np.int64]:
    """[K] id of every concept's first value."""
    return FIRST_VALUE + np.cumsum([0, *space.sizes[:-1]], dtype=np.int64)


def _ended(tokens: Tokens) -> Tokens:
    return np.concatenate([tokens, np.full((len(tokens), 1), END)], axis=1)
