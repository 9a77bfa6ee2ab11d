"""Cosines of groups of images and texts; every one is embedded once, and none is left out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from planted_photos import BLUE, CPU, GREEN, RED, colour_model, photo

from gen.use.similarities import group_similarities
from splits.errors import UserError

TEXTS = {"red": [1.0, -1, -1], "green": [-1.0, 1, -1], "blue": [-1.0, -1, 1]}


class Words:
    """Encodes a text as its number."""

    def encode(self, texts):
        return torch.tensor([[list(TEXTS).index(text)] for text in texts])


@pytest.fixture
def model():
    model = colour_model()
    table = torch.tensor(list(TEXTS.values()))
    model.learner.model.encode_text = lambda tokens: table[tokens[:, 0]]
    object.__setattr__(model.learner, "texts", Words())
    return model


@pytest.fixture
def paths(tmp_path):
    return [photo(tmp_path / f"{n}.png", c) for n, c in enumerate((RED, GREEN, BLUE))]


def test_similarities_are_cosines_of_every_group(model, paths):
    images = [paths[:1], paths[:2]]
    texts = [("red", "blue", "green"), ("red", "green")]
    first, second = group_similarities(model, images, texts, CPU)
    assert np.allclose(first, [[1, -1 / 3, -1 / 3]], atol=1e-5)
    assert np.allclose(second, [[1, -1 / 3], [-1 / 3, 1]], atol=1e-5)
    assert model.learner.model.seen == 2


def test_an_image_that_cannot_be_read_is_an_error_that_names_it(model, paths, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    with pytest.raises(UserError, match=r"1 of 2 images[\s\S]*torn"):
        group_similarities(model, [[paths[0]], [tmp_path / "torn.png"]], [["red"], ["red"]], CPU)
