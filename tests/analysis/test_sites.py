"""Activations are read where they are named, in every kind of image tower."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from open_clip import CoCa
from torch import nn

from analysis.sites import image_sites, pool, reading
from gen.config import load_config
from gen.models.classifier import build_classifier
from gen.models.clip import build_clip
from gen.models.clippo import build_clippo
from gen.models.vocabulary import Vocabulary, full_vocabulary
from splits.errors import UserError

STAGES = ["layer1", "layer2", "layer3", "layer4", "embedding"]
TIMM_VIT = ["vision.timm_model=vit_tiny_patch16_224"]


def clip(name, overrides=()):
    vocabulary = Vocabulary(full_vocabulary().token_ids[:20], 5)
    return build_clip(load_config("models", name, overrides), vocabulary, 64, seed=0)


def blocks(count):
    return ["stem", *(f"block{i}" for i in range(1, count + 1)), "embedding"]


TOWERS = {
    "resnet": (lambda: clip("rn-tiny"), ["stem", *STAGES], [12, 48, 96, 192, 384, 128]),
    "vit": (lambda: clip("vit-tiny"), blocks(4), [128] * 6),
    "timm-resnet": (
        lambda: clip("resnet18-timm"),
        ["act1", *STAGES],
        [64, 64, 128, 256, 512, 256],
    ),
    "timm-vit": (lambda: clip("resnet18-timm", TIMM_VIT), blocks(12), [192] * 13 + [256]),
    "clippo": (
        lambda: build_clippo(load_config("models", "clippo-tiny"), 64, 0, bias=False),
        None,
        None,
    ),
    "classifier": (
        lambda: build_classifier(load_config("models", "classifier-rn-tiny"), 64, 5, 0),
        ["stem", *STAGES],
        [12, 48, 96, 192, 384, 128],
    ),
}


@pytest.fixture(scope="module", params=TOWERS)
def described(request):
    """A model, the names of its sites, their numbers of units."""
    build, names, widths = TOWERS[request.param]
    if names is None:
        vision = load_config("models", "clippo-tiny").vision
        names = blocks(vision.layers[0])
        widths = [vision.width] * (vision.layers[0] + 1)
        widths.append(load_config("models", "clippo-tiny").embed_dim)
    return build(), names, widths


def hooks(model):
    return sum(len(module._forward_hooks) for module in model.modules())


def test_sites_are_those_of_the_tower_in_the_order_of_an_image(described):
    model, names, widths = described
    sites = image_sites(model)
    assert list(sites) == names
    passed = []
    with reading(sites, lambda site, activations: passed.append((site, activations.shape))):
        model.encode_image(torch.zeros(2, 3, 64, 64))
    assert passed == [(site, (2, width)) for site, width in zip(names, widths, strict=True)]


def test_the_last_site_is_the_embedding(described):
    model, *_ = described
    found = {}
    with torch.inference_mode(), reading(image_sites(model.eval()), found.__setitem__):
        embedding = model.encode_image(torch.randn(2, 3, 64, 64))
    assert torch.equal(found["embedding"], embedding)


def test_hooks_are_gone_afterwards_even_after_an_error(described):
    model, names, _ = described
    with reading(image_sites(model), lambda *_: None):
        assert hooks(model) == len(names)
    assert hooks(model) == 0
    with pytest.raises(KeyError), reading(image_sites(model), lambda *_: None):
        raise KeyError
    assert hooks(model) == 0


@pytest.mark.parametrize("name", ["vit", "timm-vit"])
def test_blocks_are_pooled_over_the_class_token_and_the_patches(name):
    model = TOWERS[name][0]().eval()
    images = torch.randn(2, 3, 64, 64)
    found = {}
    with torch.inference_mode(), reading(image_sites(model), found.__setitem__):
        model.encode_image(images)
    with torch.inference_mode():
        between = model.visual.forward_intermediates(
            images,
            normalize_intermediates=False,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
    patches, prefix = between["image_intermediates"], between["image_intermediates_prefix"]
    assert len(patches) == len(found) - 2
    for number, (rest, first) in enumerate(zip(patches, prefix, strict=True), start=1):
        expected = torch.cat([first, rest], dim=1).mean(dim=1)
        assert torch.allclose(found[f"block{number}"], expected, atol=1e-5)


def test_the_last_site_of_a_coca_is_its_embedding():
    text = {"width": 16, "heads": 2, "layers": 1, "embed_cls": True, "output_tokens": True}
    vision = {"image_size": 64, "layers": 2, "width": 32, "head_width": 16, "patch_size": 32}
    vision |= {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    decoder = {"width": 16, "heads": 2, "layers": 1}
    model = CoCa(24, decoder, text, vision).eval()
    found = {}
    with torch.inference_mode(), reading(image_sites(model), found.__setitem__):
        embedding = model.encode_image(torch.randn(2, 3, 64, 64), normalize=False)
    assert list(found) == blocks(2)
    assert torch.equal(found["embedding"], embedding)


def test_pooling_is_the_mean_over_positions():
    maps = torch.arange(2 * 3 * 4 * 5.0).reshape(2, 3, 4, 5)
    assert torch.equal(pool(maps), maps.flatten(2).mean(2))
    tokens = torch.arange(2 * 7 * 3.0).reshape(2, 7, 3)
    assert torch.equal(pool(tokens)[1, 2], tokens[1, :, 2].mean())
    assert torch.equal(pool(tokens[:, 0]), tokens[:, 0])


class Trunk(nn.Module):
    """As little of a timm model as matters here."""

    def __init__(self, output_fmt="NCHW", features=("stage",)):
        super().__init__()
        self.stage = nn.Identity()
        self.output_fmt = output_fmt
        self.feature_info = [{"module": name} for name in features]


@pytest.mark.parametrize(
    "trunk",
    [Trunk(output_fmt="NHWC"), Trunk(features=()), Trunk(features=("stage", "elsewhere"))],
    ids=["channels last", "no features", "features that are not there"],
)
def test_a_tower_whose_stages_cannot_be_read_is_an_error(trunk):
    def model(trunk):
        return SimpleNamespace(visual=SimpleNamespace(trunk=trunk))

    assert list(image_sites(model(Trunk()))) == ["stage", "embedding"]
    with pytest.raises(UserError, match="the stages of timm's Trunk cannot be read"):
        image_sites(model(trunk))
