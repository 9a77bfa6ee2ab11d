import numpy as np
import pytest

from gen.scenes.coverage import Part, split_objects
from gen.scenes.space import ConceptSpace, drawn_scenes, pair_scenes, single_scenes
from gen.scenes.swaps import differs, matched, swapped
from gen.scenes.wording import scene_caption
from splits.errors import UserError

SPACE = ConceptSpace({"colour": ("red", "green", "blue"), "shape": ("cat", "key", "owl", "axe")})


def test_objects_are_numbered_with_the_last_concept_fastest():
    assert SPACE.objects == 12
    assert SPACE.table[5].tolist() == [1, 1]
    assert SPACE.name(5) == "green key"
    assert (SPACE.numbers(SPACE.table) == np.arange(12)).all()


def test_pairs_are_enumerated_exactly():
    assert len(single_scenes(SPACE)) == 12
    assert len(pair_scenes(SPACE, distinct=False)) == 12 * 11
    distinct = pair_scenes(SPACE)
    assert len(distinct) == 12 * 2 * 3
    assert len(np.unique(distinct, axis=0)) == len(distinct)
    values = SPACE.table[distinct]
    assert (values[:, 0] != values[:, 1]).all()


def test_drawn_scenes_hold_allowed_objects_that_differ_in_every_concept():
    allowed = np.array([0, 1, 5, 10, 11])
    scenes = drawn_scenes(SPACE, allowed, 2, 500, np.random.default_rng(0))
    assert scenes.shape == (500, 2)
    assert np.isin(scenes, allowed).all()
    values = SPACE.table[scenes]
    assert (values[:, 0] != values[:, 1]).all()


def test_scenes_that_cannot_be_are_told():
    with pytest.raises(UserError, match="scenes of 4 objects"):
        drawn_scenes(SPACE, np.arange(12), 4, 10, np.random.default_rng(0))


def test_every_value_is_seen_and_splits_of_a_seed_are_nested():
    for seed in range(20):
        few, many = split_objects(SPACE, 0.5, seed), split_objects(SPACE, 0.75, seed)
        assert few.seen.sum() == 6
        assert many.seen.sum() == 9
        assert (many.seen | ~few.seen).all()
        values = SPACE.table[few.train]
        assert [len(np.unique(column)) for column in values.T] == [3, 4]


@pytest.mark.parametrize("sizes", [(12, 12), (24, 6), (10, 10), (8, 6), (2, 5, 3)])
def test_as_many_objects_as_the_largest_concept_has_values_show_every_value(sizes):
    values = {f"concept {k}": tuple(map(str, range(size))) for k, size in enumerate(sizes)}
    space, least = ConceptSpace(values), max(sizes)
    for seed in range(20):
        train = split_objects(space, least / space.objects, seed).train
        assert len(train) == least
        assert [len(np.unique(column)) for column in space.table[train].T] == list(sizes)
    with pytest.raises(UserError, match=f"expected: {least} to {space.objects - 1}"):
        split_objects(space, (least - 1) / space.objects, 0)


def test_a_tenth_of_a_square_world_can_be_shown():
    space = ConceptSpace({"colour": tuple("abcdefghijkl"), "shape": tuple("mnopqrstuvwx")})
    few = split_objects(space, 0.1, 0)
    assert few.seen.sum() == 14
    assert (split_objects(space, 0.6, 0).seen[few.train]).all()
    assert (split_objects(space, 0.1, 0).seen == few.seen).all()
    assert (split_objects(space, 0.1, 1).seen != few.seen).any()


@pytest.mark.parametrize("fraction", [float("nan"), float("inf"), -0.5, 1.5, 0.0])
def test_a_coverage_that_is_no_share_is_told(fraction):
    with pytest.raises(UserError, match="above 0 and below 1"):
        split_objects(SPACE, fraction, 0)


def test_a_split_without_unseen_objects_or_with_hidden_values_is_told():
    with pytest.raises(UserError, match="shows 12 of 12 objects"):
        split_objects(SPACE, 1.0, 0)
    with pytest.raises(UserError, match="shows 1 of 12 objects"):
        split_objects(SPACE, 0.1, 0)


def test_scenes_are_train_unseen_or_mixed():
    split = split_objects(SPACE, 0.5, 0)
    train, unseen = split.train, split.unseen
    scenes = np.array([[train[0], train[1]], [unseen[0], unseen[1]], [train[0], unseen[0]]])
    assert split.parts(scenes).tolist() == [Part.train, Part.unseen, Part.mixed]


def test_a_swap_exchanges_one_concept():
    scene = np.array([[SPACE.numbers(np.array([0, 0])), SPACE.numbers(np.array([2, 1]))]])
    assert scene_caption(SPACE, scene[0]) == "a red cat and a blue key"
    assert scene_caption(SPACE, swapped(SPACE, scene, 0)[0]) == "a blue cat and a red key"
    assert scene_caption(SPACE, swapped(SPACE, scene, 1)[0]) == "a red key and a blue cat"
    assert not differs(swapped(SPACE, scene, 0), swapped(SPACE, scene, 1))[0]
    assert differs(scene, swapped(SPACE, scene, 0))[0]


def test_matched_swaps_keep_a_scene_in_its_part():
    space = ConceptSpace({"colour": tuple("abcdef"), "shape": tuple("ghijkl")})
    split = split_objects(space, 0.5, 0)
    scenes = pair_scenes(space)
    others = swapped(space, scenes, 0)
    kept = matched(split, scenes, others)
    assert 0 < kept.sum() < len(scenes)
    assert (split.seen[scenes[kept]].all(axis=1) == split.seen[others[kept]].all(axis=1)).all()
    assert (split.parts(scenes[kept]) != Part.mixed).all()


def test_captions_of_one_and_of_three_objects():
    assert scene_caption(SPACE, [2]) == "a red owl"
    assert scene_caption(SPACE, [0, 5, 11]) == "a red cat, a green key and a blue axe"
