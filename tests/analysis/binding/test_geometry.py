from dataclasses import replace

import numpy as np
import pytest

from analysis.binding.geometry import ESTIMATORS, concept_share_of_objects, decompose, permuted
from analysis.binding.planted import PLANTED, bag, memorised, plant, planted_space, product
from analysis.binding.reconstruction import geometry_rows
from analysis.binding.removal import removal_rows, without
from gen.scenes.space import pair_scenes

SPACE = planted_space(5)
PAIRS = pair_scenes(SPACE)
ALL_PAIRS = np.array([[a, b] for a in range(25) for b in range(25)])


def sums(vectors, scenes, offset=0.0):
    """Embeddings that are sums of objects, not brought to length 1."""
    table = vectors(SPACE, 8, np.random.default_rng(0))
    return table, offset + table[scenes].sum(axis=1)


def r2(found, made):
    return 1 - ((found - made) ** 2).sum() / ((found - found.mean(axis=0)) ** 2).sum()


@pytest.mark.parametrize("vectors", [memorised, product, bag])
def test_sums_of_objects_are_decomposed_without_a_rest_whether_bound_by_rule_or_not(vectors):
    _, y = sums(vectors, PAIRS, offset=3.0)
    parts = decompose(SPACE, PAIRS, y, "fitted")
    assert r2(y, parts.mean + parts.object_part(PAIRS)) == pytest.approx(1)


@pytest.mark.parametrize("estimator", ["avg", "avg_pos"])
def test_averages_are_exact_where_objects_are_independent(estimator):
    table, y = sums(memorised, ALL_PAIRS, offset=3.0)
    parts = decompose(SPACE, ALL_PAIRS, y, estimator)
    assert np.allclose(parts.objects, table - table.mean(axis=0))


def test_single_objects_are_the_parts_up_to_one_scale():
    table, y = sums(memorised, PAIRS)
    parts = decompose(SPACE, PAIRS, y, "single", 5 * table)
    assert np.allclose(parts.objects[0], table - table.mean(axis=0))


def test_slots_have_tables_of_their_own_where_the_estimator_knows_slots():
    table = memorised(SPACE, 8, np.random.default_rng(0))
    y = table[ALL_PAIRS[:, 0]] - table[ALL_PAIRS[:, 1]]
    by_slot = decompose(SPACE, ALL_PAIRS, y, "avg_pos")
    assert r2(y, by_slot.mean + by_slot.object_part(ALL_PAIRS)) == pytest.approx(1)
    shared = decompose(SPACE, ALL_PAIRS, y, "avg")
    assert r2(y, shared.mean + shared.object_part(ALL_PAIRS)) == pytest.approx(0)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_common_offset_is_in_the_mean_alone(estimator):
    table, y = sums(product, PAIRS)
    here = decompose(SPACE, PAIRS, y, estimator, table)
    there = decompose(SPACE, PAIRS, y + 7.0, estimator, table + 7.0)
    assert np.allclose(here.objects, there.objects)
    assert np.allclose(here.mean + 7.0, there.mean)


def test_concepts_explain_the_objects_of_a_bag_and_not_those_bound():
    _, y = sums(bag, PAIRS)
    of_bag = concept_share_of_objects(decompose(SPACE, PAIRS, y, "fitted"), seed=0)
    assert (of_bag.value, of_bag.n) == (pytest.approx(1), 25)
    for vectors in (product, memorised):
        _, y = sums(vectors, PAIRS)
        # 8 of 24 directions of the objects are those of concepts
        share = concept_share_of_objects(decompose(SPACE, PAIRS, y, "fitted"), seed=0)
        assert share.value == pytest.approx(8 / 24, abs=0.12)
        assert share.lo < share.value < share.hi


def test_concepts_reach_objects_that_no_fitted_scene_holds():
    _, y = sums(bag, PAIRS)
    fitted = (PAIRS != 7).all(axis=1)
    parts = decompose(SPACE, PAIRS[fitted], y[fitted], "fitted")
    held = PAIRS[~fitted]
    assert not parts.covers(held).any()
    assert np.allclose(parts.mean + parts.concept_part(held), y[~fitted])


def test_permuted_parts_are_those_of_other_objects():
    _, y = sums(memorised, PAIRS)
    parts = decompose(SPACE, PAIRS, y, "fitted")
    other = permuted(parts, np.random.default_rng(0))
    assert (np.abs(other.objects - parts.objects).max(axis=2) > 0.01).all()
    assert np.allclose(np.sort(other.objects, axis=1), np.sort(parts.objects, axis=1))


def test_what_cannot_be_decomposed_is_an_error():
    with pytest.raises(ValueError, match="no scenes"):
        decompose(SPACE, PAIRS[:0], np.zeros((0, 3)), "avg")
    with pytest.raises(ValueError, match="single objects"):
        decompose(SPACE, PAIRS, np.zeros((len(PAIRS), 3)), "single")


def test_removal_of_objects_leaves_the_mean_of_sums():
    _, y = sums(memorised, PAIRS, offset=3.0)
    parts = decompose(SPACE, PAIRS, y, "fitted")
    left = without(y.astype(np.float32), PAIRS, parts, "objects")
    assert np.allclose(left, parts.mean, atol=1e-4)


def rows_of(name, function, **fixed):
    embedded = plant(PLANTED[name], SPACE, None, PAIRS, seed=2)
    images = replace(embedded, texts=embedded.texts[:0], swaps=embedded.swaps[:0])
    rows = function(images)
    assert all(row["value"] is not None or row["reason"] for row in rows)
    return [row for row in rows if all(row[key] == value for key, value in fixed.items())]


def test_removal_takes_what_carries_concepts_or_objects_and_its_control_does_not():
    kept = {
        (row["removed"], row["permuted"], row["kind"]): row["value"]
        for row in rows_of("half_memorised", removal_rows, side="images")
    }
    concepts = {key[:2]: value for key, value in kept.items() if key[2] == "concept"}
    objects = {key[:2]: value for key, value in kept.items() if key[2] == "object"}
    assert concepts["nothing", False] > 0.9
    assert concepts["concepts", False] < 0.3 < concepts["concepts", True]
    assert concepts["interaction", False] > 0.9
    assert objects["nothing", False] > 0.8
    assert objects["concepts", False] > 0.6
    assert objects["objects", False] < 0.1 < objects["objects", True]
    assert objects["interaction", False] <= 0.5


@pytest.mark.parametrize("name", ["memorised", "product"])
def test_rows_of_both_binding_encoders_are_of_additive_objects(name):
    rows = rows_of(name, geometry_rows, estimator="fitted", level=1)
    scores = {row["score"]: row for row in rows}
    assert scores["R2"]["value"] > 0.9
    assert scores["retrieval"]["value"] == 1
    assert scores["retrieval"]["floor"] == 0.5


def test_rows_of_a_bag_are_of_additive_concepts_and_at_the_floor():
    rows = rows_of("bag", geometry_rows, estimator="fitted", level=2)
    scores = {row["score"]: row["value"] for row in rows}
    assert scores["R2"] > 0.9
    assert scores["retrieval"] == pytest.approx(0.5)
    assert scores["concept"] > 0.95
    assert scores["object"] <= 0.5
