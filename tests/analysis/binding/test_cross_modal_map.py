from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.binding.cross_modal_map import (
    fit_text_map,
    fitted_rows,
    hard_negative_loss,
    map_rows,
)
from analysis.binding.planted import bag, memorised, plant, planted_scenes, planted_space
from gen.scenes.coverage import split_objects
from gen.scenes.space import pair_scenes
from gen.scenes.swaps import swapped

SPACE = planted_space(5)
SPLIT = split_objects(SPACE, 0.6, seed=1)
SCENES = planted_scenes(SPACE, SPLIT, seed=0, most=200)


def turned(embedded, seed=0):
    """The same scenes, with texts turned as a whole: known on both sides, and not aligned."""
    width = embedded.images.shape[1]
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((width, width)))
    turn = turn.astype(np.float32)
    return replace(embedded, texts=embedded.texts @ turn, swaps=embedded.swaps @ turn)


def test_the_loss_is_that_of_its_formula():
    random = np.random.default_rng(0)
    x, t, s = (random.standard_normal((3, 4)) for _ in range(3))
    x, t, s = (values / np.linalg.norm(values, axis=1, keepdims=True) for values in (x, t, s))
    scale = 1.7
    by_image = [
        -np.log(np.exp(scale * x[i] @ t[i]) / np.exp(scale * np.concatenate([t, s]) @ x[i]).sum())
        for i in range(3)
    ]
    by_text = [
        -np.log(np.exp(scale * x[i] @ t[i]) / np.exp(scale * x @ t[i]).sum()) for i in range(3)
    ]
    sets = torch.arange(6).reshape(3, 2)
    tensors = [torch.tensor(values) for values in (x, t, s)]
    found = hard_negative_loss(*tensors, sets, torch.tensor(np.log(scale)))
    assert float(found) == pytest.approx((np.mean(by_image) + np.mean(by_text)) / 2)


def test_captions_of_the_same_objects_are_no_negatives():
    x = torch.eye(4)
    alone = hard_negative_loss(x[:1], x[:1], x[2:3], torch.tensor([[0, 1]]), torch.tensor(0.0))
    twice = hard_negative_loss(
        x[[0, 0]], x[[0, 0]], x[[2, 2]], torch.tensor([[0, 1], [0, 1]]), torch.tensor(0.0)
    )
    # two swaps instead of one stand beside the caption; its copy does not
    e = np.exp(1)
    by_image = (np.log((e + 1) / e), np.log((e + 2) / e))
    assert float(alone) == pytest.approx(by_image[0] / 2, abs=1e-6)
    assert float(twice) == pytest.approx(by_image[1] / 2, abs=1e-6)


def test_scenes_that_are_fitted_show_train_objects_only_and_so_do_their_swaps():
    embedded = plant(memorised, SPACE, SPLIT, SCENES, seed=0)
    scenes = SCENES[fitted_rows(embedded, seed=0)]
    assert len(scenes)
    assert SPLIT.seen[scenes].all()
    assert SPLIT.seen[swapped(SPACE, scenes, 0)].all()


def test_a_map_aligns_what_both_sides_know():
    embedded = turned(plant(memorised, SPACE, None, pair_scenes(SPACE), seed=0, width=16))
    before, after = map_rows(embedded)
    assert (before["mapped"], after["mapped"]) == (False, True)
    assert before["value"] < 0.7
    assert after["value"] > 0.9


def test_no_map_binds_a_bag():
    embedded = turned(plant(bag, SPACE, SPLIT, SCENES, seed=0, width=16))
    rows = map_rows(embedded)
    assert {row["part"] for row in rows} == {"train", "unseen"}
    assert all(row["value"] in (0.5, None) for row in rows)


def test_a_map_is_the_same_for_the_same_seed_and_texts_keep_length_one():
    embedded = plant(memorised, SPACE, None, pair_scenes(SPACE)[:200], seed=0, width=8)
    one, again = (fit_text_map(embedded, seed=1) for _ in range(2))
    assert np.array_equal(one.matrix, again.matrix)
    assert np.allclose(np.linalg.norm(one.applied(embedded.texts), axis=1), 1, atol=1e-5)


def test_models_without_captions_have_no_map_but_a_reason():
    embedded = plant(memorised, SPACE, SPLIT, SCENES, seed=0)
    none = replace(embedded, texts=embedded.texts[:0], swaps=embedded.swaps[:0])
    assert all(row["value"] is None and row["reason"] for row in map_rows(none))
