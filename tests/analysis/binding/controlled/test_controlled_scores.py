"""Scores of embeddings whose answers are known, and a training that learns."""

import numpy as np
import pytest
import torch

from analysis.binding.controlled.condition import Condition
from analysis.binding.controlled.embedding import Examined, examined
from analysis.binding.controlled.scoring import NO_CONCEPTS, NO_OBJECTS, score_rows
from analysis.binding.controlled.training import trained
from analysis.binding.controlled.world import world_of
from analysis.binding.embedded import EmbeddedScenes
from gen.scenes.space import pair_scenes
from gen.scenes.swaps import swapped
from gen.schema import ControlledTraining, Variant

WORLD = world_of(Condition(Variant.symbols, (6, 5), 0.6, 0.0, 0, 0, ControlledTraining()))


def scored(of_concepts: np.ndarray, of_objects: np.ndarray) -> dict[tuple[str, ...], dict]:
    """Rows of an encoder that adds vectors of concepts and of objects, by what they are of."""
    space = WORLD.space
    scenes = pair_scenes(space)
    ids = space.table + np.array([0, space.sizes[0]])
    objects = (of_concepts[ids].sum(axis=1) + of_objects).astype(np.float32)
    embedded = EmbeddedScenes(
        space=space,
        split=WORLD.split,
        scenes=scenes,
        images=objects[scenes].sum(axis=1),
        texts=objects[scenes].sum(axis=1),
        swaps=objects[swapped(space, scenes, 0)].sum(axis=1),
        single_images=objects[:0],
        single_texts=objects,
    )
    every = np.ones(len(scenes), dtype=bool)
    queries = of_concepts.astype(np.float32)
    rows = score_rows(Examined(embedded, every, WORLD.familiarity(scenes), queries))
    return {(row["familiarity"], row["score"], row["bank"]): row for row in rows}


def test_a_bag_knows_concepts_and_stands_at_its_floors() -> None:
    rows = scored(np.eye(11, 41), np.zeros((30, 41)))
    for familiarity in ("trained", "unseen"):
        assert rows[familiarity, "replaced", "pair"]["value"] == 1
        assert rows[familiarity, "concept", "full"]["value"] == 1
        assert rows[familiarity, "swap", "pair"]["value"] == 0.5
        assert rows[familiarity, "object", "full"]["value"] == 0  # ties are no recognition
        assert rows[familiarity, "object", "full"]["floor"] == pytest.approx(1 / 6)
    assert rows["unseen", "object", "alike"]["floor"] > 1 / 6


def test_objects_of_their_own_are_recognised_and_told_from_their_swaps() -> None:
    rows = scored(np.eye(11, 41), np.eye(30, 41, k=11))
    for familiarity in ("trained", "new", "unseen"):
        assert rows[familiarity, "swap", "pair"]["value"] == 1
        assert rows[familiarity, "object", "full"]["value"] == 1
        assert rows[familiarity, "object", "alike"]["value"] == 1


@pytest.mark.parametrize("familiarity", ["trained", "unseen"])
def test_probes_tell_attributes_where_the_encoder_binds_and_no_more_than_a_bag_has(
    familiarity: str,
) -> None:
    held = scored(np.eye(11, 41), np.eye(30, 41, k=11))[familiarity, "attribute", "values"]
    bag = scored(np.eye(11, 41), np.zeros((30, 41)))[familiarity, "attribute", "values"]
    assert held["value"] > 0.9
    assert bag["value"] <= bag["floor"] == held["floor"] == 0.5
    assert held["n"] % 2 == 0  # a scene, and its swap


def test_what_cannot_be_told_is_empty_with_its_reason() -> None:
    rows = scored(np.eye(11, 41), np.zeros((30, 41)))
    for score, bank in (
        ("swap", "pair"),
        ("replaced", "pair"),
        ("object", "alike"),
        ("attribute", "values"),
    ):
        row = rows["mixed", score, bank]
        assert row["value"] is None
        assert "unseen" in row["reason"]
    assert rows["mixed", "concept", "full"]["value"] == 1


def test_pictures_have_no_queries_of_concepts_nor_of_objects_that_training_did_not_show() -> None:
    tiny = ControlledTraining(steps=1, batch=16, width=8, layers=1, heads=2)
    condition = Condition(Variant.pictures, (6, 4), 0.7, 0.5, 0, 0, tiny)
    rows = score_rows(examined(trained(condition, torch.device("cpu")).model))
    reasons = {row["score"]: row["reason"] for row in rows if row["familiarity"] == "unseen"}
    assert (reasons["concept"], reasons["object"]) == (NO_CONCEPTS, NO_OBJECTS)
    assert all((row["value"] is None) == (row["reason"] is not None) for row in rows)


@pytest.mark.slow
def test_a_few_hundred_steps_learn_the_concepts_of_unseen_objects() -> None:
    """About 10 seconds of one core."""
    training = ControlledTraining(steps=900, batch=64, width=32, single_share=0.25)
    condition = Condition(Variant.symbols, (4, 4), 0.7, 0.0, 0, 0, training)
    done = trained(condition, torch.device("cpu"))
    rows = {(r["familiarity"], r["score"]): r["value"] for r in score_rows(examined(done.model))}
    assert rows["trained", "concept"] >= 0.9
    assert rows["unseen", "concept"] >= 0.9
    assert rows["trained", "swap"] >= 0.95
    assert done.losses[-1]["objects"] < done.losses[0]["objects"] / 2
