import numpy as np

from gen.scenes.space import ConceptSpace, pair_scenes
from gen.scenes.tokens import (
    END,
    FIRST_VALUE,
    OBJECT_END,
    OBJECT_START,
    PADDING,
    concept_tokens,
    object_tokens,
    scene_tokens,
    vocabulary_size,
)

SPACE = ConceptSpace({"colour": ("red", "green", "blue"), "shape": ("cat", "key", "owl", "axe")})


def test_a_scene_is_its_objects_between_marks_and_an_end():
    scene = SPACE.numbers(np.array([[[0, 1], [2, 3]]]))
    red, blue, key, axe = FIRST_VALUE, FIRST_VALUE + 2, FIRST_VALUE + 4, FIRST_VALUE + 6
    assert scene_tokens(SPACE, scene).tolist() == [
        [OBJECT_START, red, key, OBJECT_END, OBJECT_START, blue, axe, OBJECT_END, END]
    ]


def test_queries_are_one_object_or_one_value():
    assert object_tokens(SPACE, np.array([5])).tolist() == [
        [OBJECT_START, FIRST_VALUE + 1, FIRST_VALUE + 4, OBJECT_END, END]
    ]
    assert concept_tokens(SPACE).tolist() == [[FIRST_VALUE + v, END] for v in range(7)]


def test_every_scene_has_ids_of_its_own_within_the_vocabulary():
    space = ConceptSpace({"size": ("small", "large"), **SPACE.values})
    tokens = scene_tokens(space, pair_scenes(space, distinct=False))
    assert tokens.shape == (24 * 23, 11)
    assert tokens.dtype == np.int64
    assert len(np.unique(tokens, axis=0)) == len(tokens)
    assert vocabulary_size(space) == FIRST_VALUE + 2 + 3 + 4
    assert (tokens > PADDING).all()
    assert tokens.max() == vocabulary_size(space) - 1
