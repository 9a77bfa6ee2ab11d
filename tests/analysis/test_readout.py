"""Margins: what an answer is worth against all other classes together."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from analysis.readout import Readout, readout
from gen.models.classifier import Classifier

TEXTS = torch.nn.functional.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]]), dim=1)


def test_a_margin_is_the_log_odds_of_the_own_class_over_the_temperature():
    read = Readout(TEXTS.double(), None, 20.0)
    features = torch.tensor([[3.0, 1.0], [-0.2, 0.5]]).double()
    labels = torch.tensor([0, 1])
    probability = (20 * read.scores(features)).softmax(dim=1)[[0, 1], labels]
    odds = torch.log(probability / (1 - probability)) / 20
    assert torch.allclose(read.margins(features, labels), odds, atol=1e-6)


def test_what_raises_all_classes_alike_moves_no_margin():
    read = Readout(torch.eye(3), torch.zeros(3), 1.0)
    features, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    higher = features + 2.5
    assert torch.allclose(read.margins(higher, labels), read.margins(features, labels), atol=1e-5)
    assert torch.allclose(
        read.own_scores(higher, labels), features.gather(1, labels[:, None])[:, 0] + 2.5
    )


def test_cosines_do_not_depend_on_the_length_of_an_embedding():
    read = Readout(TEXTS, None, 20.0)
    features = torch.randn(4, 2)
    assert torch.allclose(read.scores(features), read.scores(7 * features), atol=1e-6)


def test_a_classifier_is_read_by_the_rows_of_its_head():
    model = Classifier(torch.nn.Identity(), 4, 3)
    learner = SimpleNamespace(model=model)
    read, features = readout(learner, None, [2, 0]), torch.randn(5, 4)
    assert torch.allclose(read.scores(features), model(features)[:, [2, 0]], atol=1e-6)
    assert read.temperature == 1.0
    with pytest.raises(ValueError, match="class texts"):
        readout(learner, np.zeros((2, 4)), [0, 1])


def test_a_model_that_reads_texts_has_its_trained_temperature():
    learner = SimpleNamespace(model=SimpleNamespace(logit_scale=torch.tensor(2.0)))
    read = readout(learner, TEXTS.numpy(), [0, 1, 2])
    assert read.temperature == pytest.approx(np.exp(2.0), rel=1e-6)
    with pytest.raises(ValueError, match="class texts"):
        readout(learner, None, [0, 1, 2])
