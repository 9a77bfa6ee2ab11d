"""Sites are named, and read, in every kind of tower."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from open_clip import CLIP, CoCa
from torch import nn

from analysis.sites import (
    image_sites,
    levels_of,
    list_sites,
    pool,
    pooled_site,
    split_heads,
    taps,
    text_sites,
)
from gen.config import load_config
from gen.models.classifier import build_classifier
from gen.models.clip import build_clip
from gen.models.clippo import build_clippo
from gen.models.rendering import Renderer
from gen.models.vocabulary import Vocabulary, full_vocabulary
from gen.schema import SiteLevel
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


@torch.no_grad()
def passed(model, sites, inputs=None, encode="encode_image"):
    """What passes the sites, by name, in the order in which it does."""
    found = {}
    inputs = torch.randn(2, 3, 64, 64) if inputs is None else inputs
    with taps(sites, found.__setitem__):
        getattr(model.eval(), encode)(inputs)
    return found


def test_sites_are_those_of_the_tower_in_the_order_of_an_image(described):
    model, names, widths = described
    sites = list_sites(model, SiteLevel.residual)
    assert [site.name for site in sites] == list(image_sites(model)) == names
    assert [site.depth for site in sites] == list(range(len(names)))
    found = passed(model, sites)
    assert list(found) == names
    assert [pool(activations).shape for activations in found.values()] == [(2, u) for u in widths]


def test_the_last_site_is_the_embedding(described):
    model, *_ = described
    images = torch.randn(2, 3, 64, 64)
    found = passed(model, list_sites(model, SiteLevel.residual), images)
    with torch.inference_mode():
        assert torch.equal(found["embedding"], model.encode_image(images))


VIT, RESNET = ["residual", "head", "neuron"], ["residual", "channel"]


@pytest.mark.parametrize(
    ("name", "levels"),
    list(zip(TOWERS, [RESNET, VIT, RESNET, VIT, VIT, RESNET], strict=True)),
)
def test_a_tower_says_at_which_levels_it_has_sites(name, levels):
    model = TOWERS[name][0]()
    assert [level.name for level in levels_of(model)] == levels
    assert levels_of(model.visual) == levels_of(model)
    for missing in set(SiteLevel) - set(levels_of(model)):
        with pytest.raises(UserError, match=f"no sites of level `{missing.name}`") as error:
            list_sites(model, missing)
        assert f"expected: one of {', '.join(levels)}" in str(error.value)


@pytest.mark.parametrize(
    ("name", "width", "heads", "depth"),
    [("vit", 128, 4, 4), ("timm-vit", 192, 3, 12), ("clippo", 128, 4, 4)],
)
def test_heads_and_neurons_are_those_of_every_block(name, width, heads, depth):
    model = TOWERS[name][0]()
    sites = [site for level in VIT[1:] for site in list_sites(model, SiteLevel[level])]
    found = passed(model, sites)
    assert {site.name for site in sites} == found.keys()
    assert [site.name for site in sites if site.heads] == [
        f"block{number}.heads" for number in range(1, depth + 1)
    ]
    for site in sites:
        assert (site.heads or heads) == heads
        assert found[site.name].shape[-1] == (width if site.heads else 4 * width)


@pytest.mark.parametrize(
    ("name", "stem", "first"),
    [
        ("resnet", {"stem.act1": 6, "stem.act2": 6, "stem.act3": 12}, {1: 12, 2: 12, 3: 48}),
        ("timm-resnet", {"stem.act1": 64}, {1: 64, 2: 64}),
    ],
)
def test_channels_are_those_after_every_activation_function(name, stem, first):
    model = TOWERS[name][0]()
    found = passed(model, list_sites(model, SiteLevel.channel))
    widths = {site: activations.shape[1] for site, activations in found.items()}
    expected = stem | {f"layer1.0.act{number}": units for number, units in first.items()}
    assert list(widths)[: len(expected)] == list(expected)
    assert dict(list(widths.items())[: len(expected)]) == expected
    blocks = sum(len(getattr(getattr(model.visual, "trunk", model.visual), s)) for s in STAGES[:4])
    assert len(widths) == len(stem) + blocks * len(first)
    residual = passed(model, list_sites(model, SiteLevel.residual), torch.ones(1, 3, 64, 64))
    again = passed(model, list_sites(model, SiteLevel.channel), torch.ones(1, 3, 64, 64))
    for stage in STAGES[:4]:  # the last activation function of a stage's last block is its output
        last = [values for site, values in again.items() if site.startswith(stage)][-1]
        assert torch.equal(last, residual[stage])


def default_vit(**described):
    described |= {"image_size": 64, "layers": 3, "width": 32, "head_width": 16, "patch_size": 16}
    text = {"context_length": 4, "vocab_size": 9, "width": 16, "heads": 2, "layers": 2}
    torch.manual_seed(0)
    return CLIP(24, described, text, quick_gelu=True).eval()


def test_heads_of_default_blocks_cannot_be_read_and_the_error_says_so():
    model = default_vit()
    assert [level.name for level in levels_of(model)] == ["residual", "neuron"]
    with pytest.raises(UserError, match="split_heads"):
        list_sites(model, SiteLevel.head)


def test_a_hook_that_is_never_called_is_an_error():
    """nn.MultiheadAttention and AttentionPool2d hand the weights of their layers to a function."""
    vit, resnet = default_vit(), TOWERS["resnet"][0]()
    unread = {
        "heads": (vit, vit.visual.transformer.resblocks[0].attn.out_proj),
        "pool": (resnet, resnet.visual.attnpool.c_proj),
    }
    for name, (model, module) in unread.items():
        site = replace(list_sites(model, SiteLevel.residual)[0], name=name, module=module)
        with pytest.raises(UserError, match=f"no activations passed the sites {name}"):
            passed(model, [site])


@pytest.mark.parametrize("described", [{}, {"ls_init_value": 0.1}, {"mlp_ratio": 4.9231}])
def test_splitting_heads_changes_no_weight_and_no_output(described):
    model, images = default_vit(**described), torch.randn(4, 3, 64, 64)
    before, weights = model.encode_image(images), model.state_dict()
    drawn = torch.random.get_rng_state()
    split_heads(model)
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert (model.encode_image(images) - before).abs().max() < 1e-5
    after = model.state_dict()
    assert after.keys() == weights.keys()
    assert all(after[name].data_ptr() == value.data_ptr() for name, value in weights.items())
    assert all(weight.requires_grad for weight in model.parameters())
    assert not any(module.training for module in model.modules())


@torch.no_grad()
def test_the_split_heads_are_those_of_the_default_attention():
    model, images = default_vit(), torch.randn(2, 3, 64, 64)
    first = model.visual.transformer.resblocks[0]
    inputs = passed(model, [list_sites(model, SiteLevel.residual)[0]], images)["stem"]
    whole = first.attention(first.ln_1(inputs))
    split_heads(model)
    found = passed(model, list_sites(model, SiteLevel.head), images)
    assert list(found) == ["block1.heads", "block2.heads", "block3.heads"]
    projected = model.visual.transformer.resblocks[0].attn.out_proj(found["block1.heads"])
    assert torch.allclose(projected, whole, atol=1e-6)


def test_splitting_heads_that_are_split_or_not_there_changes_nothing():
    for name in ("vit", "resnet", "clippo"):
        model = TOWERS[name][0]()
        modules = list(model.modules())
        split_heads(model)
        assert list(model.modules()) == modules


@pytest.mark.parametrize("name", ["vit", "timm-vit"])
def test_blocks_are_pooled_over_the_class_token_and_the_patches(name):
    model = TOWERS[name][0]().eval()
    images = torch.randn(2, 3, 64, 64)
    found = passed(model, list_sites(model, SiteLevel.residual), images)
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
        assert torch.allclose(pool(found[f"block{number}"]), expected, atol=1e-5)


def coca():
    text = {"width": 16, "heads": 2, "layers": 1, "embed_cls": True, "output_tokens": True}
    vision = {"image_size": 64, "layers": 2, "width": 32, "head_width": 16, "patch_size": 32}
    vision |= {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True}
    return CoCa(24, {"width": 16, "heads": 2, "layers": 1}, text, vision).eval()


def test_the_last_site_of_a_coca_is_its_embedding():
    model, images = coca(), torch.randn(2, 3, 64, 64)
    found = passed(model, list_sites(model, SiteLevel.residual), images)
    with torch.inference_mode():
        embedding = model.encode_image(images, normalize=False)
    assert list(found) == blocks(2)
    assert torch.equal(found["embedding"], embedding)


def test_an_edit_of_a_coca_leaves_what_else_it_returns():
    model, images = coca(), torch.randn(2, 3, 64, 64)
    sites = list_sites(model, SiteLevel.residual)
    with torch.inference_mode():
        embedding, tokens = model.visual(images)
        with taps(sites, edit={"embedding": lambda values: 2 * values}):
            doubled, same = model.visual(images)
    assert torch.equal(doubled, 2 * embedding)
    assert torch.equal(same, tokens)


def test_a_text_passes_its_tokens_the_blocks_and_where_there_is_one_the_embedding():
    tokens = torch.tensor([[7, 3, 8, 0], [7, 8, 0, 0]])
    model = default_vit()
    found = passed(model, text_sites(model), tokens, "encode_text")
    assert list(found) == blocks(2)[:-1]
    assert torch.equal(found["stem"], model.token_embedding(tokens) + model.positional_embedding)
    between = model.forward_intermediates(text=tokens, text_output_fmt="NLC")
    for number, expected in enumerate(between["text_intermediates"], start=1):
        assert torch.equal(found[f"block{number}"], expected)


def test_the_text_tower_of_a_coca_ends_with_its_embedding():
    model = coca()
    assert [site.name for site in text_sites(model)] == blocks(1)
    tokens = torch.randint(1, 9, (2, 76))
    found = passed(model.text, text_sites(model), tokens, "__call__")
    with torch.inference_mode():
        assert torch.equal(found["embedding"], model.text(tokens)[0])


def test_a_clippo_reads_texts_at_the_sites_of_its_images():
    model = TOWERS["clippo"][0]()
    assert text_sites(model) == list_sites(model, SiteLevel.residual)
    texts = torch.zeros(2, 64, 64, dtype=torch.uint8)
    found = passed(model, text_sites(model), texts, "encode_text")
    with torch.inference_mode():
        assert torch.equal(found["embedding"], model.encode_text(texts))


def test_a_model_that_reads_no_text_has_no_text_sites():
    with pytest.raises(UserError, match="Classifier has no text tower"):
        text_sites(TOWERS["classifier"][0]())


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


def test_a_map_head_is_read_before_the_projection_and_other_towers_have_none():
    model = TOWERS["clippo"][0]().eval()
    site, images = pooled_site(model), torch.randn(2, 3, 64, 64)
    found = passed(model, [site], images)["pooled"]
    with torch.inference_mode():
        assert torch.equal(model.visual.head(found), model.encode_image(images))
    sites = list_sites(model, SiteLevel.residual)
    assert site.depth == sites[-1].depth
    for name in ("vit", "resnet", "timm-vit", "timm-resnet"):
        assert pooled_site(TOWERS[name][0]()) is None


@pytest.mark.parametrize("level", ["head", "neuron"])
def test_a_clippo_shows_its_nodes_for_drawn_sentences_as_for_images(level):
    model = TOWERS["clippo"][0]().eval()
    sites = list_sites(model, SiteLevel[level])
    texts = Renderer(64, "unifont").encode(["a zebra", "a fox"])
    shown = passed(
        model, sites, (texts.float() / 255 - 0.5).div(0.5)[:, None].expand(-1, 3, -1, -1)
    )
    spoken = passed(model, sites, texts, "encode_text")
    assert list(spoken) == [f"block{n}.{level}s" for n in range(1, 5)]
    for name, activations in spoken.items():
        assert torch.allclose(activations, shown[name], atol=1e-5)
