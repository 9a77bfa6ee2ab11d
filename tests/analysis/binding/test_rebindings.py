import numpy as np
import pytest

from analysis.binding.planted import planted_space
from analysis.binding.rebindings import families, object_sets, places, rebindings
from gen.scenes.space import pair_scenes
from gen.scenes.swaps import swapped


def test_the_only_rebinding_of_two_objects_of_two_concepts_is_the_swap():
    space = planted_space(4)
    scenes = pair_scenes(space)
    found = rebindings(space, scenes)
    assert found.shape == (len(scenes), 1, 2)
    assert np.array_equal(found[:, 0], swapped(space, scenes, 0))


@pytest.mark.parametrize(("concepts", "objects", "count"), [(2, 3, 5), (3, 2, 3), (3, 3, 35)])
def test_rebindings_are_all_ways_to_bind_and_each_is_another(concepts, objects, count):
    space = planted_space(3, concepts)
    values = np.repeat(np.arange(objects)[:, None], concepts, axis=1)
    scene = space.numbers(values)[None]
    found = rebindings(space, scene)[0]
    assert len({tuple(sorted(row)) for row in found.tolist()}) == count
    assert (families(space, np.concatenate([scene, found])) == 0).all()
    assert (space.table[found][..., -1] == np.arange(objects)).all()


def test_a_family_of_distinct_pairs_is_a_scene_its_swap_and_both_reversed():
    space = planted_space(4)
    scenes = pair_scenes(space)
    assert set(np.bincount(families(space, scenes)).tolist()) == {4}
    assert set(np.bincount(object_sets(scenes)).tolist()) == {2}


def test_no_scenes_have_no_families():
    none = np.empty((0, 2), dtype=np.int64)
    assert families(planted_space(4), none).tolist() == object_sets(none).tolist() == []


def test_places_are_the_first_rows_of_the_same_scene_in_the_same_order():
    bank = np.array([[3, 1], [1, 3], [3, 1]])
    assert places(np.array([[1, 3], [3, 1], [1, 1]]), bank).tolist() == [1, 0, -1]


def test_scenes_that_cannot_be_numbered_are_an_error():
    with pytest.raises(ValueError, match="cannot be told"):
        places(np.full((1, 6), 10**12), np.full((1, 6), 10**12))
