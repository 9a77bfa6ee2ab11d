import numpy as np
import pytest

from analysis.binding.object_probes import (
    askable,
    bag_floor,
    chance,
    concept_presence,
    fit_probe,
    object_presence,
    recognised,
)
from gen.scenes.space import ConceptSpace, pair_scenes

SPACE = ConceptSpace({"colour": ("red", "green", "blue"), "shape": ("cat", "key", "owl")})


def test_presence_tells_what_a_scene_holds():
    scenes = np.array([[0, 4], [0, 1]])  # red cat and green key; red cat and red key
    colour, shape = concept_presence(SPACE, scenes)
    assert colour.tolist() == [[True, True, False], [True, False, False]]
    assert shape.tolist() == [[True, True, False], [True, True, False]]
    assert [np.flatnonzero(row).tolist() for row in object_presence(SPACE, scenes)] == [
        [0, 4],
        [0, 1],
    ]


def test_a_tie_is_not_recognised():
    scores = np.array([[2.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
    held = np.array([[True, False, False], [True, False, False], [False, True, True]])
    assert recognised(scores, held).tolist() == [True, False, True]


def test_a_scene_that_leaves_nothing_to_tell_apart_is_refused():
    everything = np.array([[True, True], [True, False]])
    assert askable(everything).tolist() == [False, True]
    with pytest.raises(ValueError, match="nothing is to be told apart"):
        recognised(np.zeros((2, 2)), everything)


def test_probes_find_objects_that_have_a_direction_of_their_own():
    scenes = pair_scenes(SPACE)
    held = object_presence(SPACE, scenes)
    embeddings = held.astype(np.float32) / np.float32(1000)
    weights = fit_probe(embeddings, held)
    assert recognised(embeddings @ weights.T, held).all()
    assert (fit_probe(embeddings, held) == weights).all()
    assert (fit_probe(embeddings, held, seed=1) != weights).any()


def test_probes_of_a_scene_without_an_item_are_refused():
    with pytest.raises(ValueError, match="none of the items"):
        fit_probe(np.ones((2, 3), np.float32), np.array([[True, False], [False, False]]))


def test_a_bag_guesses_one_pair_of_four_objects_and_knows_pairs_of_one_colour():
    scenes = np.array([[0, 4], [0, 1]])
    assert bag_floor(SPACE, scenes).tolist() == [1 / 6, 1.0]
    # of the four, only 0 and 1 are in the bank, and the scene holds 0 of them
    assert bag_floor(SPACE, scenes[:1], np.array([0, 1, 8])).tolist() == [1 / 2]


def test_chance_is_one_over_the_sets_of_that_many_items():
    assert chance(object_presence(SPACE, np.array([[0, 4]]))).tolist() == [1 / 36]
