"""Activations are read where they are named, and averaged over the images of a cell."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from analysis.cells import _halves, cell_means
from analysis.sites import image_sites, pool, reading
from gen.config import load_config
from gen.evaluation import embed
from gen.models.clip import build_clip, normalise
from gen.models.vocabulary import build_vocabulary

DOMAINS, CLASSES = ("sketch", "real"), ("cat", "dog", "fox")
PER_CELL = 3
SITES = {
    "rn-tiny": ["stem", "layer1", "layer2", "layer3", "layer4", "embedding"],
    "vit-tiny": ["stem", "block1", "block2", "block3", "block4", "embedding"],
}
WIDTHS = {"rn-tiny": [12, 48, 96, 192, 384, 128], "vit-tiny": [128] * 6}
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=SITES)
def named_model(request):
    vocabulary = build_vocabulary(["a cat, image"])
    return request.param, build_clip(load_config("models", request.param), vocabulary, 32, 0)


def samples():
    """Shuffled rows of a sample table, and random images."""
    rng = np.random.default_rng(0)
    cells = [(d, i) for d in DOMAINS for i in range(len(CLASSES)) for _ in range(PER_CELL)]
    order = rng.permutation(len(cells))
    table = pl.DataFrame([cells[i] for i in order], ["domain", "class_id"], orient="row")
    return table, rng.integers(256, size=(len(cells), 32, 32, 3), dtype=np.uint8)


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def test_sites_are_those_of_the_tower_in_the_order_of_an_image(named_model):
    name, model = named_model
    sites = image_sites(model)
    assert list(sites) == SITES[name]
    passed = []
    with reading(sites, lambda site, activations: passed.append((site, activations.shape))):
        model.encode_image(torch.zeros(2, 3, 32, 32))
    assert [site for site, _ in passed] == SITES[name]
    assert [shape for _, shape in passed] == [(2, width) for width in WIDTHS[name]]


def test_hooks_are_gone_afterwards_even_after_an_error(named_model):
    _, model = named_model
    with reading(image_sites(model), lambda *_: None):
        assert hooks(model) == 6
    assert hooks(model) == 0
    with pytest.raises(KeyError), reading(image_sites(model), lambda *_: None):
        raise KeyError
    assert hooks(model) == 0


def test_the_last_site_is_the_embedding_and_the_blocks_are_pooled_over_their_patches(named_model):
    name, model = named_model
    images = torch.randn(2, 3, 32, 32)
    found = {}
    with torch.inference_mode(), reading(image_sites(model.eval()), found.__setitem__):
        embedding = model.encode_image(images)
        assert torch.equal(found["embedding"], embedding)
        if name == "vit-tiny":
            blocks = model.visual.forward_intermediates(
                images,
                normalize_intermediates=False,
                intermediates_only=True,
                output_fmt="NLC",
                output_extra_tokens=True,
            )
            patches, prefix = blocks["image_intermediates"], blocks["image_intermediates_prefix"]
            for number in range(4):
                tokens = torch.cat([prefix[number], patches[number]], dim=1)
                expected = tokens.mean(dim=1)
                assert torch.allclose(found[f"block{number + 1}"], expected, atol=1e-5)


def test_pooling_is_the_mean_over_positions():
    maps = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    assert torch.equal(pool(maps), maps.flatten(2).mean(2))
    tokens = torch.arange(2 * 7 * 3.0).reshape(2, 7, 3)
    assert torch.equal(pool(tokens)[1, 2], tokens[1, :, 2].mean())
    assert torch.equal(pool(tokens[:, 0]), tokens[:, 0])


def test_streamed_means_are_those_computed_at_once(named_model, monkeypatch):
    _, model = named_model
    table, images = samples()
    monkeypatch.setattr(embed, "BATCH", 5)  # cells stand in several batches
    found = cell_means(model, images, table, DOMAINS, CLASSES, CPU)
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
