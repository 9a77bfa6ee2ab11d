"""A classifier is the image tower of a CLIP with a linear layer, and takes labels only."""

from __future__ import annotations

import pytest
import torch

from gen.config import load_config
from gen.models.classifier import build_classifier
from gen.models.clip import build_clip
from gen.models.vocabulary import Vocabulary, full_vocabulary
from splits.errors import UserError

PIXELS, CLASSES = 32, 7
TOWERS = {
    "resnet": "{kind: resnet, layers: [1, 1, 1, 1], width: 12, head_width: 32}",
    "vit": "{kind: vit, layers: [2], width: 64, head_width: 32, patch_size: 8}",
    "timm": "{kind: timm, timm_model: resnet18}",
    "timm-vit": "{kind: timm, timm_model: vit_tiny_patch16_224}",
}


@pytest.fixture(params=TOWERS)
def tower(request):
    return TOWERS[request.param]


def load(tmp_path, tower, more="kind: classifier"):
    path = tmp_path / "model.yaml"
    path.write_text(f"embed_dim: 48\nvision: {tower}\n{more}\n")
    return load_config("models", str(path))


def small_vocabulary():
    return Vocabulary(full_vocabulary().token_ids[:50], 9)


def test_its_tower_starts_from_the_weights_of_the_clip_of_its_seed(tmp_path, tower):
    classifier = build_classifier(load(tmp_path, tower), PIXELS, CLASSES, seed=3)
    config = load(tmp_path, tower, "text: {layers: 2, width: 16, heads: 2}")
    clip = build_clip(config, small_vocabulary(), PIXELS, seed=3)
    expected = clip.visual.state_dict()
    found = classifier.visual.state_dict()
    assert list(found) == list(expected)
    assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_its_logits_are_linear_in_the_embedding(tmp_path):
    model = build_classifier(load(tmp_path, TOWERS["vit"]), PIXELS, CLASSES, seed=0).eval()
    images = torch.randn(3, 3, PIXELS, PIXELS)
    with torch.inference_mode():
        features = model.encode_image(images)
        logits = model(images)
        expected = features @ model.head.weight.T + model.head.bias
    assert features.shape == (3, 48)
    assert logits.shape == (3, CLASSES)
    assert torch.allclose(logits, expected, atol=1e-5)


def test_weights_depend_on_the_seed_and_leave_the_global_randomness_alone(tmp_path):
    config = load(tmp_path, TOWERS["resnet"])
    first = build_classifier(config, PIXELS, CLASSES, seed=0)
    before = torch.random.get_rng_state()
    again = build_classifier(config, PIXELS, CLASSES, seed=0)
    other = build_classifier(config, PIXELS, CLASSES, seed=1)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(first.head.weight, again.head.weight)
    assert not torch.equal(first.head.weight, other.head.weight)


@pytest.mark.parametrize(
    ("tower", "more", "found"),
    [
        ("resnet", "kind: classifier\ntext: {width: 64}", r"`text\.width` is 64(?s:.*)classifier"),
        ("resnet", "kind: classifier\nfont: a.ttf", r"`font` is a\.ttf(?s:.*)classifier"),
    ],
)
def test_a_key_without_effect_is_an_error(tmp_path, tower, more, found):
    with pytest.raises(UserError, match=found):
        build_classifier(load(tmp_path, TOWERS[tower], more), PIXELS, CLASSES, seed=0)


@pytest.mark.parametrize(
    ("tower", "key"),
    [
        ("{kind: timm, timm_model: resnet18, width: 64}", "width` is 64"),
        ("{kind: vit, layers: [2], width: 64, patch_size: 8, timm_model: x}", "timm_model` is x"),
        ("{kind: resnet, layers: [1, 1, 1, 1], width: 8, patch_size: 8}", "patch_size` is 8"),
    ],
)
def test_a_key_of_another_kind_of_tower_is_an_error(tmp_path, tower, key):
    with pytest.raises(UserError, match=rf"`vision\.{key}(?s:.*)no such key"):
        build_classifier(load(tmp_path, tower), PIXELS, CLASSES, seed=0)
