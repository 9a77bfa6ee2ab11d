"""Known answers of planted encoders: E4 of the plan for binding, in miniature.

The signatures ask for 16 values of each concept in 32 dimensions: with fewer objects than a table
has numbers even a true product cannot be told from a table.
"""

from functools import cache

import numpy as np
import pytest

from analysis.binding.approximators import Approximator
from analysis.binding.binding_function import binding_rows
from analysis.binding.planted import PLANTED, plant, planted_space
from gen.scenes.coverage import Part, split_objects
from gen.scenes.space import pair_scenes

ADDITIVE, PER_OBJECT = Approximator("additive"), Approximator("per_object")
GLOBAL, MLP = Approximator("global"), Approximator("mlp", 64)


def _planted(name: str, values: int, width: int):
    space = planted_space(values)
    return plant(PLANTED[name], space, None, pair_scenes(space), seed=0, width=width)


@cache
def _bag() -> list[dict]:
    embedded = _planted("bag", 5, 8)
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
    assert _value(rows, "r2", None)["value"] > 0.9
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
    assert sum(_value(rows, "concept", None, part)["n"] for part in ("train", "unseen")) < 400


def test_a_share_of_objects_that_cannot_be_split_is_a_row_with_a_reason():
    rows = [row for row in _bag() if row["fraction"] == 0.04]
    assert {row["value"] for row in rows} == {None}
    assert "a coverage of 0.04 shows 1 of 25 objects" in rows[0]["reason"]


def test_scenes_that_hide_a_value_from_a_slot_are_a_row_with_a_reason():
    embedded = _planted("bag", 4, 8)
    one_sided = embedded.rows(np.flatnonzero(embedded.scenes[:, 0] < 4))
    rows = binding_rows(one_sided, "images", approximators=[ADDITIVE], fractions=[0.7], seeds=[0])
    assert {row["reason"] for row in rows} == {
        "fitted scenes do not show every value in every slot"
    }


def test_a_part_without_scenes_is_a_row_with_a_reason():
    embedded = _planted("bag", 4, 8)
    parts = split_objects(embedded.space, 0.7, 0).parts(embedded.scenes)
    rows = binding_rows(
        embedded.rows(np.flatnonzero(parts == Part.train)),
        "images",
        approximators=[ADDITIVE],
        fractions=[0.7],
        seeds=[0],
    )
    assert [row["value"] is None for row in rows if row["part"] == "train"] == [False] * 3
    assert {row["reason"] for row in rows if row["part"] != "train"} == {
        "there are no scenes of this part"
    }


def test_a_side_without_embeddings_is_refused():
    embedded = _planted("bag", 4, 8)
    bare = type(embedded)(**{**vars(embedded), "texts": np.zeros((0, 8), np.float32)})
    with pytest.raises(ValueError, match="no embeddings of texts"):
        binding_rows(bare, "texts")


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
