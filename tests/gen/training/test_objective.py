"""The losses are open_clip's, and no features get below their floors."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from open_clip.loss import ClipLoss, SigLipLoss
from torch.nn.functional import cross_entropy, normalize

from gen.schema import Objective
from gen.training.objective import (
    MAX_LOGIT_SCALE,
    PATIENCE,
    classifier_loss,
    contrastive_loss,
    guess_loss,
    loss_floor,
    stuck,
)

REPEATS = [7, 3, 7, 7, 3, 9]


def features(seed, batch=24, units=16):
    generator = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(batch, units, generator=generator).double(), dim=-1)


def loss_of(kind, images, texts, captions, scale, bias=None, anchors=None):
    anchors = None if anchors is None else torch.as_tensor(anchors)
    captions = torch.as_tensor(captions)
    scale = torch.as_tensor(scale, dtype=images.dtype)
    bias = None if bias is None else torch.as_tensor(bias, dtype=images.dtype)
    settings = {"gather": lambda rows: rows, "first": 0, "anchors_b": anchors}
    return contrastive_loss(kind, images, texts, captions, scale, bias, **settings)


def value_of(*arguments):
    return loss_of(*arguments).item()


@pytest.mark.parametrize("scale", [1.0, 1 / 0.07, 100.0])
def test_infonce_is_the_loss_of_open_clip(scale):
    images, texts = features(0), features(1)
    expected = ClipLoss()(images, texts, torch.tensor(scale).double())
    assert value_of(Objective.infonce, images, texts, range(24), scale) == pytest.approx(
        expected.item()
    )


@pytest.mark.parametrize(("scale", "bias"), [(10.0, -10.0), (1.0, 0.0), (100.0, -3.0)])
def test_sigmoid_is_the_siglip_loss_of_open_clip(scale, bias):
    images, texts = features(0), features(1)
    expected = SigLipLoss()(images, texts, *torch.tensor([scale, bias]).double())
    found = value_of(Objective.sigmoid, images, texts, range(24), scale, bias)
    assert found == pytest.approx(expected.item(), rel=1e-12)


def test_sigmoid_without_a_bias_is_refused():
    with pytest.raises(ValueError, match="bias"):
        value_of(Objective.sigmoid, features(0), features(1), range(24), 10.0)


def test_multi_positive_sums_the_probabilities_of_all_pairs_of_a_caption():
    _, rows = np.unique(REPEATS, return_inverse=True)
    images, texts = features(0, 6), features(1, 3)[rows]
    odds = torch.exp(5 * images @ texts.T).numpy()
    total = 0.0
    for i in range(6):
        matches = [j for j in range(6) if REPEATS[j] == REPEATS[i]]
        total -= math.log(sum(odds[i, j] for j in matches) / odds[i].sum())
        total -= math.log(sum(odds[j, i] for j in matches) / odds[:, i].sum())
    found = value_of(Objective.multi_positive, images, texts, REPEATS, 5.0)
    assert found == pytest.approx(total / 12)


def test_multi_positive_without_repeats_is_infonce():
    pairs = features(0), features(1), range(24), 10.0
    expected = value_of(Objective.infonce, *pairs)
    assert value_of(Objective.multi_positive, *pairs) == pytest.approx(expected)


def test_a_target_uniform_over_the_matches_would_be_plain_infonce():
    """Why multi_positive is the logarithm of a sum, not a sum of logarithms."""
    _, rows = np.unique(REPEATS, return_inverse=True)
    images, texts = features(0, 6), features(1, 3)[rows]
    logits = 5 * images @ texts.T
    same = torch.as_tensor(rows)[:, None] == torch.as_tensor(rows)[None, :]
    target = same / same.sum(dim=1, keepdim=True)
    uniform = (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2
    assert uniform.item() == pytest.approx(value_of(Objective.infonce, images, texts, REPEATS, 5.0))


def test_one_pair_has_no_loss():
    assert value_of(Objective.infonce, features(0, 1), features(1, 1), [0], 10.0) == 0


def test_the_loss_of_a_classifier_is_the_negative_logarithm_of_the_right_probability():
    logits = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8]]))
    expected = -(math.log(0.25) + math.log(0.8)) / 2
    assert classifier_loss(logits, torch.tensor([1, 2])).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("captions", "floor"),
    [
        ([0, 1, 2, 3], 0),
        ([5, 5, 5, 5], math.log(4)),
        ([0, 1, 1, 2], math.log(2) / 2),
        (REPEATS, (3 * math.log(3) + 2 * math.log(2)) / 6),
    ],
)
def test_the_floor_of_infonce_is_the_mean_logarithm_of_how_often_a_caption_stands(captions, floor):
    assert loss_floor(Objective.infonce, np.array(captions)) == pytest.approx(floor)


def test_the_floor_of_the_sigmoid_is_the_entropy_of_a_shared_logit():
    three = math.log(3) - 2 * math.log(2 / 3)
    two = 2 * math.log(2)
    expected = (3 * three + 2 * two) / 6
    assert loss_floor(Objective.sigmoid, np.array(REPEATS)) == pytest.approx(expected)


@pytest.mark.parametrize("kind", list(Objective))
@pytest.mark.parametrize("captions", [[0, 1, 2, 3], [0, 1, 1, 2], REPEATS])
def test_optimised_features_reach_the_floor_and_none_get_below(kind, captions):
    floor = loss_floor(kind, np.array(captions))
    _, rows = np.unique(captions, return_inverse=True)
    texts = features(2, rows.max() + 1).requires_grad_()
    images = features(3, len(rows)).requires_grad_()
    bias = torch.tensor(-10.0).double().requires_grad_()
    optimizer = torch.optim.Adam([images, texts, bias], lr=0.1)
    for _ in range(200):
        pairs = normalize(images, dim=-1), normalize(texts, dim=-1)[rows]
        loss = loss_of(kind, *pairs, captions, 100.0, bias)
        assert loss.item() > floor - 1e-9
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() == pytest.approx(floor, abs=0.01)


@pytest.mark.parametrize("kind", list(Objective))
@pytest.mark.parametrize("captions", [list(range(8)), REPEATS])
def test_a_guess_is_the_best_that_equal_features_can_do(kind, captions):
    equal = features(0, 1).expand(len(captions), -1)
    # the only freedom left is one common logit; a softmax does not even see it
    losses = [
        value_of(kind, equal, equal, captions, 1.0, bias) for bias in torch.linspace(-4, -1, 150)
    ]
    assert guess_loss(kind, np.array(captions)) == pytest.approx(min(losses), abs=1e-4)


# Rows 4 and 5 are pairs of texts: the first text of row 4 is the caption of rows 0 and 2, and that
# of row 5 stands nowhere else; their second texts are the caption of row 1 and a new one.
CAPTIONS = [7, 3, 7, 9, 3, 8]
ANCHORS = [7, 3, 7, 9, 7, 5]


def test_a_first_text_matches_the_captions_that_are_equal_to_it():
    images, texts = features(0, 6), features(1, 6)
    odds = torch.exp(5 * images @ texts.T).numpy()
    matches = np.eye(6, dtype=bool)
    for row, column in [(0, 2), (2, 0), (1, 4), (4, 1), (4, 0), (4, 2)]:
        matches[row, column] = True
    by_image = -np.log((odds * matches).sum(axis=1) / odds.sum(axis=1)).mean()
    by_text = -np.log((odds * matches).sum(axis=0) / odds.sum(axis=0)).mean()
    found = value_of(Objective.multi_positive, images, texts, CAPTIONS, 5.0, None, ANCHORS)
    assert found == pytest.approx((by_image + by_text) / 2)


@pytest.mark.parametrize("kind", list(Objective))
def test_with_pairs_of_texts_a_guess_is_the_best_that_equal_features_can_do(kind):
    equal = features(0, 1).expand(6, -1)
    losses = [
        value_of(kind, equal, equal, CAPTIONS, 1.0, bias, ANCHORS)
        for bias in torch.linspace(-4, -1, 150)
    ]
    guess = guess_loss(kind, np.array(CAPTIONS), np.array(ANCHORS))
    assert guess == pytest.approx(min(losses), abs=1e-4)


@pytest.mark.parametrize("kind", list(Objective))
def test_no_features_get_below_the_floor_of_a_batch_with_pairs_of_texts(kind):
    floor = loss_floor(kind, np.array(CAPTIONS), np.array(ANCHORS))
    names = {caption: row for row, caption in enumerate([7, 3, 9, 8, 5])}
    rows, firsts = [names[name] for name in CAPTIONS], [names[name] for name in ANCHORS[4:]]
    images, texts = features(3, 4).requires_grad_(), features(2, 5).requires_grad_()
    bias = torch.tensor(-10.0).double().requires_grad_()
    optimizer = torch.optim.Adam([images, texts, bias], lr=0.1)
    for _ in range(200):
        sides = torch.cat([images, texts[firsts]]), texts[rows]
        pairs = (normalize(side, dim=-1) for side in sides)
        loss = loss_of(kind, *pairs, CAPTIONS, 100.0, bias, ANCHORS)
        assert loss.item() > floor - 1e-9
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert floor > loss_floor(kind, np.array(CAPTIONS)) or kind is Objective.multi_positive


def test_a_first_text_counts_where_it_is_equal_to_a_caption_that_is_not_its_own():
    # how many captions an image's or first text is equal to, and the other way round
    by_row, by_text = [2, 2, 2, 1, 4, 1], [3, 2, 3, 1, 2, 1]
    expected = (np.log(by_row).mean() + np.log(by_text).mean()) / 2
    found = loss_floor(Objective.infonce, np.array(CAPTIONS), np.array(ANCHORS))
    assert found == pytest.approx(expected)


def test_a_guess_of_plain_infonce_costs_the_logarithm_of_the_batch():
    assert guess_loss(Objective.infonce, np.arange(64)) == math.log(64)


def test_a_loss_that_stays_at_that_of_a_guess_is_stuck_but_not_before_patience_is_over():
    guess = math.log(64)
    steps = list(range(100, 100 + PATIENCE + 1, 20))
    flat = [guess + 0.02 * (-1) ** step for step in range(len(steps))]
    assert stuck(steps, flat, guess)
    assert not stuck(steps[:-1], flat[:-1], guess)
    assert not stuck([], [], guess)


def test_one_loss_clearly_below_a_guess_ends_the_suspicion_for_as_long_as_patience_lasts():
    guess = math.log(64)
    steps = list(range(0, 2 * PATIENCE + 1, 20))
    losses = [guess] * len(steps)
    losses[len(steps) // 2 + 1] = 0.97 * guess
    assert not stuck(steps, losses, guess)
    losses[len(steps) // 2 + 1] = 0.99 * guess
    assert stuck(steps, losses, guess)
    assert stuck(steps, [0.5 * guess, *losses[1:]], guess)  # fallen back


def test_the_slow_start_of_a_sound_run_is_not_stuck():
    """The slowest run of the demo, logged every 20 steps; its warm-up has 75."""
    steps = list(range(80, 341, 20))
    losses = [4.06, 3.97, 3.93, 3.51, 3.13, 3.08, 2.62, 2.66, 2.34, 2.22, 2.19, 1.83, 1.68, 1.6]
    assert not any(stuck(steps[:n], losses[:n], math.log(64)) for n in range(len(steps) + 1))


def test_the_largest_scale_is_one_hundred():
    assert math.exp(MAX_LOGIT_SCALE) == pytest.approx(100)
