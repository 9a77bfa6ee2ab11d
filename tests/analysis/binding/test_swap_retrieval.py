from dataclasses import replace

import numpy as np
import pytest

from analysis.binding.planted import PLANTED, bag, memorised, plant, planted_scenes, planted_space
from analysis.binding.rebindings import rebindings
from analysis.binding.swap_retrieval import (
    balanced,
    bank_retrieval,
    fair,
    preference,
    rebound_accuracy,
    replaced_accuracy,
    swap_accuracy,
    swap_rows,
)
from gen.scenes.coverage import Part, split_objects
from gen.scenes.space import pair_scenes, single_scenes
from gen.scenes.swaps import swapped

SPACE = planted_space(6)
SPLIT = split_objects(SPACE, 0.6, seed=1)
SCENES = planted_scenes(SPACE, SPLIT, seed=0, most=200)
PART = {name: plant(PLANTED[name], SPACE, SPLIT, SCENES, seed=2).of(Part.train) for name in PLANTED}


def test_a_bag_of_concepts_scores_exactly_one_half_on_swaps():
    found = swap_accuracy(PART["bag"])
    assert found.value == 0.5
    assert found.n > 40


@pytest.mark.parametrize("name", ["product", "memorised", "half_memorised"])
def test_an_encoder_that_binds_is_right_on_every_swap(name):
    assert swap_accuracy(PART[name]).value == 1


def test_differences_of_rounding_are_ties_and_larger_ones_are_not():
    own = np.array([0.5, 0.5, 0.5])
    others = np.array([[0.5 + 1e-7], [0.5 + 1e-5], [0.5 - 1e-5]])
    assert preference(own, others).tolist() == [0.5, 0, 1]


def test_several_that_tie_share_the_point():
    assert preference(np.zeros(2), np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])).tolist() == [
        pytest.approx(1 / 3),
        0,
    ]


def test_similarities_that_are_no_numbers_are_refused_and_not_right():
    with pytest.raises(ValueError, match="not finite"):
        preference(np.array([0.2, np.nan]), np.array([[0.1], [0.1]]))
    with pytest.raises(ValueError, match="not finite"):
        preference(np.array([0.2]), np.array([[np.nan]]))


def test_swaps_out_of_the_part_are_not_asked():
    embedded = PART["memorised"]
    asked = embedded.scenes[fair(embedded)]
    assert 0 < len(asked) < len(embedded.scenes)
    assert SPLIT.seen[swapped(SPACE, asked, 0)].all()


def test_scenes_that_share_the_value_have_no_swap():
    scenes = pair_scenes(SPACE, distinct=False)
    embedded = plant(bag, SPACE, None, scenes, seed=0)
    alike = (SPACE.table[scenes][:, 0] == SPACE.table[scenes][:, 1]).any(axis=1)
    assert np.array_equal(fair(embedded), ~alike)


def test_balanced_scenes_have_their_swap_beside_them():
    embedded = PART["bag"]
    rows = np.flatnonzero(fair(embedded))
    assert balanced(embedded, rows).all()
    alone = rows[:1]
    assert not balanced(embedded, alone).any()


def test_a_bag_scores_one_in_k_plus_one_against_k_rebindings_of_three_objects():
    space = planted_space(4)
    values = np.array([[0, 1, 2]] * 2).T
    scene = space.numbers(values)[None]
    scenes = np.concatenate([scene, rebindings(space, scene)[0]])
    for k in (1, 3, 5):
        found = rebound_accuracy(plant(bag, space, None, scenes, seed=0), k, seed=0)
        assert (found.value, found.n) == (pytest.approx(1 / (k + 1)), 6)
    bound = plant(memorised, space, None, scenes, seed=0)
    assert rebound_accuracy(bound, 5, seed=0).value == 1


def test_scenes_with_too_few_rebindings_are_left_out_and_told():
    found = rebound_accuracy(PART["bag"], 2, seed=0)
    assert (found.value, found.n) == (None, 0)
    assert "rebindings" in found.reason


def test_a_bag_knows_that_a_value_was_replaced():
    assert replaced_accuracy(PART["bag"], seed=0).value == 1


def test_the_bank_of_a_bag_is_at_its_floor_and_that_of_a_binding_encoder_is_not():
    of_bag, of_memory = bank_retrieval(PART["bag"]), bank_retrieval(PART["memorised"])
    assert of_bag["R@1"].value == pytest.approx(of_bag["R@1"].floor)
    assert of_bag["R@1"].value < 1
    assert of_bag["reversed"].value == pytest.approx(0.5)
    assert of_memory["R@1"].value == 1
    assert of_memory["reversed"].value == 0


def test_an_encoder_that_takes_every_caption_for_its_swap_is_reversed():
    embedded = PART["memorised"]
    chosen = embedded.rows(np.flatnonzero(fair(embedded)))
    found = bank_retrieval(replace(chosen, texts=chosen.swaps, swaps=chosen.texts))
    assert (found["R@1"].value, found["reversed"].value) == (0, 1)
    assert swap_accuracy(replace(chosen, texts=chosen.swaps, swaps=chosen.texts)).value == 0


def test_rows_keep_parts_apart_and_say_why_there_is_no_score():
    rows = swap_rows(plant(bag, SPACE, SPLIT, SCENES, seed=0))
    assert {row["part"] for row in rows} == {"train", "unseen"}
    assert all((row["value"] is None) == (row["reason"] is not None) for row in rows)
    single = plant(bag, SPACE, SPLIT, single_scenes(SPACE), seed=0)
    reasons = [row["reason"] for row in swap_rows(single) if row["score"] == "swap"]
    assert reasons == ["no scene has a swap of the same part"] * 2


def test_models_of_unknown_training_are_scored_on_all_scenes():
    rows = swap_rows(plant(bag, SPACE, None, SCENES, seed=0))
    assert {row["part"] for row in rows} == {"all"}


def test_models_without_texts_have_no_scores_but_reasons():
    embedded = PART["bag"]
    none = replace(embedded, texts=embedded.texts[:0], swaps=embedded.swaps[:0])
    assert all(row["value"] is None and row["reason"] for row in swap_rows(none))


def test_a_caption_of_the_same_objects_is_no_rebinding():
    scenes = pair_scenes(SPACE, distinct=False)
    one_colour = scenes[(SPACE.table[scenes][:, 0, 0] == SPACE.table[scenes][:, 1, 0])]
    embedded = plant(memorised, SPACE, None, one_colour, seed=0)
    assert rebound_accuracy(embedded, 1, seed=0).n == 0
