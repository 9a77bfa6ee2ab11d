from dataclasses import replace

import numpy as np
import pytest

from analysis.binding.editing import drawn_edits, edited, editing_rows
from analysis.binding.geometry import decompose
from analysis.binding.planted import PLANTED, memorised, plant, planted_space
from analysis.binding.set_retrieval import bag_levels, first_places
from gen.scenes.space import pair_scenes

SPACE = planted_space(5)
PAIRS = pair_scenes(SPACE)
EVERY = np.arange(len(PAIRS))


def test_an_edit_of_an_object_changes_one_slot():
    edits = drawn_edits(SPACE, PAIRS, EVERY, "object", seed=0)
    assert len(edits.rows) == len(PAIRS)
    assert ((PAIRS[edits.rows] != edits.targets).sum(axis=1) == 1).all()


def test_an_edit_of_a_concept_changes_one_value_to_one_that_the_scene_has_not():
    edits = drawn_edits(SPACE, PAIRS, EVERY, "concept", seed=0)
    before, after = SPACE.table[PAIRS[edits.rows]], SPACE.table[edits.targets]
    assert ((before != after).sum(axis=(1, 2)) == 1).all()
    assert (after[:, 0] != after[:, 1]).all()


def test_edits_are_drawn_by_their_seed():
    one, again, other = (drawn_edits(SPACE, PAIRS, EVERY, "object", seed=s) for s in (0, 0, 1))
    assert np.array_equal(one.targets, again.targets)
    assert not np.array_equal(one.targets, other.targets)


def test_scenes_without_a_target_are_not_edited():
    edits = drawn_edits(SPACE, PAIRS[:1], EVERY[:1], "object", seed=0)
    assert edits.rows.shape == (0,)
    assert edits.targets.shape == (0, 2)


def test_an_edited_sum_is_the_sum_of_the_target():
    y = memorised(SPACE, 8, np.random.default_rng(0))[PAIRS].sum(axis=1)
    parts = decompose(SPACE, PAIRS, y, "fitted")
    edits = drawn_edits(SPACE, PAIRS, EVERY, "object", seed=0)
    made = edited(y, PAIRS, edits.targets, parts, "object")
    assert first_places(made, edits.targets, y, PAIRS).tolist() == [1] * len(PAIRS)


def values(name, edit, score):
    embedded = plant(PLANTED[name], SPACE, None, PAIRS, seed=2)
    rows = editing_rows(replace(embedded, texts=embedded.texts[:0], swaps=embedded.swaps[:0]))
    return {
        row["estimator"]: row["value"]
        for row in rows
        if (row["side"], row["edit"], row["score"]) == ("images", edit, score)
    }


def test_edits_of_objects_follow_in_an_encoder_that_binds():
    found = values("memorised", "object", "retrieval")
    assert found[None] == 0
    assert all(found[estimator] > 0.9 for estimator in ("avg", "avg_pos", "single", "fitted"))


def test_edits_of_concepts_move_a_bag_to_its_floor_and_a_memory_nowhere():
    assert values("bag", "concept", "retrieval")["fitted"] == pytest.approx(0.5, abs=0.02)
    assert values("memorised", "concept", "retrieval")["fitted"] < 0.2


def test_a_target_that_the_bank_lacks_has_no_first_place():
    y = np.eye(4)
    scenes = np.array([[0, 1], [1, 0], [2, 3], [3, 4]])
    targets = np.array([[1, 0], [0, 1], [7, 8]])
    assert first_places(y[[0, 1, 2]], targets, y, scenes).tolist() == [1, 1, 0]


def test_bags_share_the_first_place_with_the_sets_of_the_same_concepts():
    scene = SPACE.numbers(np.array([[[0, 0], [1, 1]], [[0, 1], [1, 0]], [[2, 2], [3, 3]]]))
    both = np.concatenate([scene, scene[:, ::-1]])
    assert bag_levels(SPACE, scene, both).tolist() == [0.5, 0.5, 1]
