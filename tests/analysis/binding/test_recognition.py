import numpy as np
import pytest

from analysis.binding.attribute_probes import attribute_answers, attribute_rows
from analysis.binding.planted import PLANTED, bag, memorised, plant, planted_scenes, planted_space
from analysis.binding.rebindings import families
from analysis.binding.recognition import (
    bag_best,
    concept_share,
    divided,
    fit_scene_probes,
    in_parts,
    object_share,
    query_rows,
    recognition_rows,
)
from gen.scenes.coverage import split_objects
from gen.scenes.space import pair_scenes

SPACE = planted_space(5)
SPLIT = split_objects(SPACE, 0.6, seed=1)
PAIRS = pair_scenes(SPACE)


def asked(name, **options):
    """Scores of object probes of all pairs, with whoever trains not known."""
    embedded = plant(PLANTED[name], SPACE, None, PAIRS, seed=2, **options)
    fit, ask = divided(SPACE, PAIRS, seed=0)
    probes = fit_scene_probes(SPACE, PAIRS[fit], embedded.images[fit], seed=0)
    return object_share(SPACE, PAIRS[ask], embedded.images[ask] @ probes.objects.T)


def test_a_bag_reaches_no_more_than_one_binding_of_every_bag():
    found, best = asked("bag")
    assert (found.floor, best) == (pytest.approx(1 / 6), 0.5)
    assert found.value <= 0.5


def test_an_encoder_that_binds_is_recognised_above_the_best_of_a_bag():
    found, best = asked("memorised")
    assert found.lo > best


def test_no_scenes_are_no_score_with_a_reason():
    probes = fit_scene_probes(SPACE, PAIRS[:20], np.ones((20, 4), np.float32), seed=0)
    concepts = concept_share(SPACE, PAIRS[:0], probes.concept_scores(np.ones((0, 4), np.float32)))
    objects, best = object_share(SPACE, PAIRS[:0], np.ones((0, SPACE.objects)))
    assert (concepts.value, objects.value, best) == (None, None, None)
    assert "there are none" in concepts.reason


def test_families_are_fitted_or_asked_and_never_both():
    fit, ask = divided(SPACE, PAIRS, seed=3)
    family = families(SPACE, PAIRS)
    assert not set(family[fit].tolist()) & set(family[ask].tolist())
    assert sorted([*fit, *ask]) == list(range(len(PAIRS)))
    assert len(fit) / len(PAIRS) == pytest.approx(0.4, abs=0.01)


def test_the_best_of_a_bag_counts_the_bindings_that_the_bank_allows():
    scene = SPACE.numbers(np.array([[[0, 0], [1, 1]]]))
    everything = np.arange(SPACE.objects)
    without_swap = np.setdiff1d(everything, SPACE.numbers(np.array([[0, 1]])))
    assert bag_best(SPACE, scene, everything).tolist() == [0.5]
    assert bag_best(SPACE, scene, without_swap).tolist() == [1]
    one_colour = SPACE.numbers(np.array([[[0, 0], [0, 1]]]))
    assert bag_best(SPACE, one_colour, everything).tolist() == [1]


def test_rows_hold_every_protocol_with_floors_and_reasons():
    scenes = planted_scenes(SPACE, SPLIT, seed=0, most=100)
    rows = recognition_rows(plant(bag, SPACE, SPLIT, scenes, seed=0))
    assert {row["protocol"] for row in rows} == {"scenes", "objects", "transfer", "queries"}
    assert all((row["value"] is None) == (row["reason"] is not None) for row in rows)
    even = [r for r in rows if r["balanced"] and r["value"] is not None]
    assert all(row["value"] <= 0.5 for row in even if row["bank"] == "full")
    concepts = [r for r in rows if r["kind"] == "concept" and r["protocol"] == "scenes"]
    assert all(row["value"] > 0.9 for row in concepts)
    unseen = [r for r in rows if r["kind"] == "object" and r["protocol"] == "objects"]
    assert all("no weights" in row["reason"] for row in unseen)


def test_queries_of_a_binding_encoder_find_unseen_objects():
    embedded = plant(memorised, SPACE, SPLIT, PAIRS, seed=0, width=256)
    rows = query_rows(embedded)
    unseen = [r for r in rows if (r["part"], r["kind"], r["bank"]) == ("unseen", "object", "full")]
    assert len(unseen) == 6
    assert all(row["value"] > 0.9 for row in unseen if not row["balanced"])


def test_parts_divide_the_rows():
    embedded = plant(memorised, SPACE, SPLIT, PAIRS, seed=0)
    rows = np.arange(0, len(PAIRS), 2)
    parts = list(in_parts(embedded, rows))
    assert [name for name, _ in parts] == ["train", "unseen", "mixed"]
    assert sorted(np.concatenate([part for _, part in parts])) == rows.tolist()


def test_a_bag_tells_the_attribute_of_a_noun_at_its_floor():
    embedded = plant(bag, SPACE, None, PAIRS, seed=0)
    rows = attribute_rows(embedded)
    assert {row["floor"] for row in rows} == {0.5}
    assert all(row["value"] == pytest.approx(0.5, abs=0.02) for row in rows)


def test_a_binding_encoder_tells_the_attribute_of_a_noun():
    embedded = plant(memorised, SPACE, None, PAIRS, seed=0)
    answers = attribute_answers(SPACE, PAIRS, embedded.images, seed=0)
    fit, ask = divided(SPACE, PAIRS, seed=0)
    assert np.isnan(answers[fit]).all()
    assert answers[ask].mean() > 0.9
