"""Activations are averaged over the images of a cell, in two halves."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from analysis.cells import _halves, cell_means
from analysis.sites import image_sites, reading
from gen.config import load_config
from gen.models.clip import build_clip, normalise
from gen.models.trained import Learner
from gen.models.vocabulary import build_vocabulary

DOMAINS, CLASSES = ("sketch", "real"), ("cat", "dog", "fox")
PER_CELL = 3
MODELS = ("rn-tiny", "vit-tiny")
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    vocabulary = build_vocabulary(["a cat, image"])
    return build_clip(load_config("models", request.param), vocabulary, 32, 0)


def samples():
    """Shuffled rows of a sample table, and random images."""
    rng = np.random.default_rng(0)
    cells = [(d, i) for d in DOMAINS for i in range(len(CLASSES)) for _ in range(PER_CELL)]
    order = rng.permutation(len(cells))
    table = pl.DataFrame([cells[i] for i in order], ["domain", "class_id"], orient="row")
    return table, rng.integers(256, size=(len(cells), 32, 32, 3), dtype=np.uint8)


def test_streamed_means_are_those_computed_at_once(model):
    table, images = samples()
    batches = torch.from_numpy(images).permute(0, 3, 1, 2).split(5)  # cells stand in several
    found = cell_means(Learner(model, None), batches, table, DOMAINS, CLASSES, CPU)
    whole: dict[str, torch.Tensor] = {}
    with torch.inference_mode(), reading(image_sites(model), whole.__setitem__):
        model.encode_image(normalise(torch.from_numpy(images).permute(0, 3, 1, 2)))
    assert list(found.halves) == list(whole)
    for site, activations in whole.items():
        for d, domain in enumerate(DOMAINS):
            for c in range(len(CLASSES)):
                mask = (pl.col("domain") == domain) & (pl.col("class_id") == c)
                rows = table.with_row_index().filter(mask)["index"].to_numpy()
                for half in (0, 1):
                    expected = activations.double().numpy()[rows[half::2]].mean(axis=0)
                    assert np.allclose(found.halves[site][half, d, c], expected, atol=1e-5)


def test_halves_are_disjoint_complete_and_differ_by_one_at_most():
    cells = np.random.default_rng(0).permutation(np.repeat(np.arange(6), [2, 3, 4, 5, 6, 9]))
    buckets, sizes = _halves(cells, 6)
    assert (buckets % 6 == cells).all()  # every sample is in one half of its own cell
    assert sizes.tolist() == [1, 2, 2, 3, 3, 5, 1, 1, 2, 2, 3, 4]
    assert np.bincount(buckets).tolist() == sizes.tolist()


def test_halves_alternate_in_the_order_of_the_table():
    buckets, _ = _halves(np.array([0, 1, 0, 0, 1, 0]), 2)
    assert (buckets // 2).tolist() == [0, 0, 1, 0, 1, 1]


def test_a_cell_with_one_image_is_an_error():
    with pytest.raises(ValueError, match="at least two images"):
        _halves(np.array([0, 0, 1]), 2)
    with pytest.raises(ValueError, match="at least two images"):
        _halves(np.array([0, 0]), 2)
