"""The loss is that of open_clip, and no features get below its floor."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from open_clip.loss import ClipLoss
from torch.nn.functional import normalize

from gen.training.objective import MAX_LOGIT_SCALE, info_nce, loss_floor


def features(seed, batch=24, units=16):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(batch, units, generator=generator), dim=-1)


@pytest.mark.parametrize("scale", [1.0, 1 / 0.07, 100.0])
def test_info_nce_is_the_loss_of_open_clip(scale):
    images, texts, scale = features(0), features(1), torch.tensor(scale)
    expected = ClipLoss()(images, texts, scale)
    assert info_nce(images, texts, scale).item() == pytest.approx(expected.item(), rel=1e-6)


def test_one_pair_has_no_loss_and_equal_features_have_that_of_a_guess():
    assert info_nce(features(0, 1), features(1, 1), torch.tensor(10.0)) == 0
    equal = features(0, 1).expand(8, -1)
    assert info_nce(equal, equal, torch.tensor(10.0)).item() == pytest.approx(math.log(8))


@pytest.mark.parametrize(
    ("captions", "floor"),
    [
        ([0, 1, 2, 3], 0),
        ([5, 5, 5, 5], math.log(4)),
        ([0, 1, 1, 2], math.log(2) / 2),
        ([7, 3, 7, 7, 3, 9], (3 * math.log(3) + 2 * math.log(2)) / 6),
    ],
)
def test_the_floor_is_the_mean_logarithm_of_how_often_a_caption_stands(captions, floor):
    assert loss_floor(np.array(captions)) == pytest.approx(floor)


@pytest.mark.parametrize("captions", [[0, 1, 2, 3], [0, 1, 1, 2], [7, 3, 7, 7, 3, 9]])
def test_ideal_features_reach_the_floor_and_none_get_below(captions):
    floor = loss_floor(np.array(captions))
    _, rows = np.unique(captions, return_inverse=True)
    ideal = torch.eye(10)[rows]
    scale = torch.tensor(math.exp(MAX_LOGIT_SCALE))
    assert info_nce(ideal, ideal, scale).item() == pytest.approx(floor, abs=1e-6)
    texts = features(2)[rows].double().requires_grad_()
    images = features(3, len(rows)).double().requires_grad_()
    optimizer = torch.optim.Adam([images, texts], lr=0.05)
    for _ in range(100):
        shared = normalize(texts, dim=-1)[[captions.index(name) for name in captions]]
        loss = info_nce(normalize(images, dim=-1), shared, scale.double())
        assert loss.item() > floor - 1e-9
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx(floor, abs=0.01)


def test_the_largest_scale_is_one_hundred():
    assert math.exp(MAX_LOGIT_SCALE) == pytest.approx(100)
