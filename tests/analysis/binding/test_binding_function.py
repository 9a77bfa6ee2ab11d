"""Known answers of planted encoders: E4 of the plan for binding, in miniature.

The signatures ask for 16 values of each concept in 32 dimensions: with fewer objects than a table
has numbers even a true product cannot be told from a table.
"""

from functools import cache

import numpy as np
import pytest

from analysis.binding.approximators import Approximator
from analysis.binding.binding_function import NONE_ASKED, binding_rows, fit_held_out, own_split
from analysis.binding.complexity import complexity
from analysis.binding.planted import PLANTED, plant, planted_space
from analysis.binding.rebindings import families, object_sets
from analysis.binding.recognition import fit_scene_probes, object_share
from analysis.statistics import Refused
from gen.scenes.coverage import Part, split_objects
from gen.scenes.space import pair_scenes

ADDITIVE, PER_OBJECT = Approximator("additive"), Approximator("per_object")
GLOBAL, MLP = Approximator("global"), Approximator("mlp", 64)


def _planted(name: str, values: int, width: int):
    space = planted_space(values)
    return plant(PLANTED[name], space, None, pair_scenes(space), seed=0, width=width)


@cache
def _bag() -> list[dict]:
    embedded = _planted("bag", 6, 12)
    return binding_rows(
        embedded, "images", approximators=[ADDITIVE], fractions=[0.04, 0.7], seeds=[0]
    )


def _value(rows: list[dict], kind: str, bank: str | None, part: str = "unseen", name: str = ""):
    (row,) = (
        row
        for row in rows
        if (row["kind"], row["bank"], row["part"]) == (kind, bank, part)
        and row["fraction"] == 0.7
        and row["class"] == (name or row["class"])
    )
    return row


def test_a_bag_is_a_sum_which_extends_to_unseen_objects():
    rows = _bag()
    assert _value(rows, "r2", None)["value"] > 0.7  # of some 30 scenes: 0.71 to 0.93 over draws
    concept = _value(rows, "concept", None)
    assert concept["ceiling"] > 0.8
    assert concept["value"] >= 0.9 * concept["ceiling"]


def test_every_part_is_scored_apart_with_its_ceiling_and_floors():
    rows = [row for row in _bag() if row["fraction"] == 0.7]
    assert [(row["part"], row["kind"], row["bank"]) for row in rows] == [
        ("train", "concept", None),
        ("train", "object", "full"),
        ("train", "r2", None),
        ("unseen", "concept", None),
        ("unseen", "object", "full"),
        ("unseen", "object", "held_out"),
        ("unseen", "r2", None),
        ("mixed", "concept", None),
        ("mixed", "object", "full"),
        ("mixed", "r2", None),
    ]
    full, held_out = (_value(rows, "object", bank) for bank in ("full", "held_out"))
    assert full["floor"] == pytest.approx(1 / 6)
    assert full["bag_best"] == 0.5
    assert held_out["floor"] > full["floor"]
    assert full["lo"] <= full["value"] <= full["hi"]
    assert full["ceiling"] <= 0.5
    assert full["n"] > full["clusters"]
    assert sum(_value(rows, "concept", None, part)["n"] for part in ("train", "unseen")) < 900
    assert {row["known"] for row in rows} == {None}


def test_a_share_of_objects_that_cannot_be_split_is_a_row_with_a_reason():
    rows = [row for row in _bag() if row["fraction"] == 0.04]
    assert {row["value"] for row in rows} == {None}
    assert "a coverage of 0.04 shows 1 of 36 objects" in rows[0]["reason"]


def test_scenes_that_hide_a_value_from_a_slot_are_a_row_with_a_reason():
    embedded = _planted("bag", 4, 8)
    one_sided = embedded.rows(np.flatnonzero(embedded.scenes[:, 0] < 4))
    rows = binding_rows(one_sided, "images", approximators=[ADDITIVE], fractions=[0.7], seeds=[0])
    assert {row["reason"] for row in rows} == {
        "fitted scenes do not show every value in every slot"
    }


def test_a_part_without_scenes_is_a_row_with_a_reason():
    embedded = _planted("bag", 4, 8)
    parts = own_split(embedded.space, 0.7, 0).parts(embedded.scenes)
    rows = binding_rows(
        embedded.rows(np.flatnonzero(parts == Part.train)),
        "images",
        approximators=[ADDITIVE],
        fractions=[0.7],
        seeds=[0],
    )
    assert [row["value"] is None for row in rows if row["part"] == "train"] == [False] * 3
    assert {row["reason"] for row in rows if row["part"] != "train"} == {NONE_ASKED}


def test_a_side_without_embeddings_is_refused():
    embedded = _planted("bag", 4, 8)
    bare = type(embedded)(**{**vars(embedded), "texts": np.zeros((0, 8), np.float32)})
    with pytest.raises(ValueError, match="no embeddings of texts"):
        binding_rows(bare, "texts")


def test_probes_do_not_know_by_heart_how_the_scenes_that_they_read_are_bound():
    space = planted_space(5)
    scenes = pair_scenes(space)
    noise = np.random.default_rng(0).normal(size=(len(scenes), 256)).astype(np.float32)
    learned = fit_scene_probes(space, scenes, noise, seed=0)
    by_heart, _ = object_share(space, scenes, learned.object_scores(noise))
    held_out = fit_held_out(space, scenes, noise, seed=0)
    everything = np.arange(len(scenes))
    told, _ = object_share(space, scenes, held_out.object_scores(everything, noise))
    assert by_heart.value > 0.9
    assert told.value < 0.1


def test_families_of_scenes_are_never_divided_among_folds():
    space = planted_space(5)
    scenes = pair_scenes(space)
    fold = fit_held_out(space, scenes, np.ones((len(scenes), 4), np.float32), seed=0).fold
    family = families(space, scenes)
    assert all(len(set(fold[family == one].tolist())) == 1 for one in set(family.tolist()))
    assert set(fold.tolist()) == set(range(5))


def test_scores_of_a_scene_are_those_of_its_own_fold():
    embedded = _planted("bag", 4, 8)
    held_out = fit_held_out(embedded.space, embedded.scenes, embedded.images, seed=0)
    rows = np.array([7, 3, 20])
    objects = held_out.object_scores(rows, embedded.images[rows])
    concepts = held_out.concept_scores(rows, embedded.images[rows])
    for place, row in enumerate(rows):
        probes = held_out.probes[held_out.fold[row]]
        x = embedded.images[row]
        np.testing.assert_allclose(objects[place], probes.objects @ x, rtol=1e-4, atol=1e-5)
        for found, weights in zip(concepts, probes.concepts, strict=True):
            np.testing.assert_allclose(found[place], weights @ x, rtol=1e-4, atol=1e-5)


def test_only_scenes_whose_swap_is_there_are_asked_and_a_bag_has_nothing_to_carry():
    embedded = _planted("bag", 6, 12)
    sets = object_sets(embedded.scenes)
    family = families(embedded.space, embedded.scenes)
    shown_once = family % 2 == 0
    first = np.array([sets[family == one].min() for one in family])
    some = embedded.rows(np.flatnonzero(~shown_once | (sets == first)))
    kept = families(some.space, some.scenes)
    rows = binding_rows(some, "images", approximators=[ADDITIVE], fractions=[0.7], seeds=[0, 1, 2])
    asked = sum(row["n"] for row in rows if row["kind"] == "concept" and row["split_seed"] == 0)
    assert len(embedded.scenes) > len(some.scenes) > asked == (~shown_once).sum()
    assert len(set(kept.tolist())) == len(set(family.tolist()))
    assert isinstance(complexity(rows), Refused)


def test_splits_of_functions_are_no_splits_of_models_and_say_what_a_model_knows():
    space = planted_space(6)
    trained = split_objects(space, 0.5, 0)
    own = own_split(space, 0.7, 0)
    known = np.isin(own.unseen, trained.train).mean()
    embedded = plant(PLANTED["bag"], space, trained, pair_scenes(space), seed=0, width=8)
    rows = binding_rows(embedded, "images", approximators=[ADDITIVE], fractions=[0.7], seeds=[0])
    assert {row["known"] for row in rows} == {known}
    assert known > 0  # splits of one seed hold one another: none would be known
    assert not np.isin(split_objects(space, 0.7, 0).unseen, trained.train).any()


def _signature(name: str) -> dict[str, tuple[float, float]]:
    """Concepts and objects of scenes of unseen objects, by class."""
    classes = [ADDITIVE, PER_OBJECT, GLOBAL, MLP]
    rows = binding_rows(
        _planted(name, 16, 32), "images", approximators=classes, fractions=[0.7], seeds=[0]
    )
    found = {
        c.kind: (
            _value(rows, "concept", None, name=c.kind)["value"],
            _value(rows, "object", "full", name=c.kind)["value"],
        )
        for c in classes
    }
    ceiling = _value(rows, "object", "full", name="additive")["ceiling"]
    return found | {"ceiling": (1.0, ceiling)}


@pytest.mark.slow
def test_products_are_carried_by_products_and_not_by_sums():
    found = _signature("product")
    assert found["additive"][1] <= 0.05
    assert found["per_object"][1] >= 0.7 * found["ceiling"][1]


@pytest.mark.slow
def test_objects_learned_by_heart_are_carried_by_nothing():
    found = _signature("memorised")
    assert found["ceiling"][1] >= 0.5
    assert max(objects for name, (_, objects) in found.items() if name != "ceiling") <= 0.05


@pytest.mark.slow
def test_half_a_memory_shows_its_concepts_and_not_its_objects():
    found = _signature("half_memorised")
    del found["ceiling"]
    assert min(concepts for concepts, _ in found.values()) >= 0.8
    assert max(objects for _, objects in found.values()) <= 0.25


@pytest.mark.slow
def test_a_bag_is_bound_by_no_class():
    found = _signature("bag")
    assert max(objects for _, objects in found.values()) <= 0.5
