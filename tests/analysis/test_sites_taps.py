"""What a tap reads is what the tower goes on with; what it edits, the tower goes on with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from analysis.sites import levels_of, list_sites, pool, taps, text_sites
from gen.config import load_config
from gen.models.clip import build_clip
from gen.models.clippo import build_clippo
from gen.models.vocabulary import Vocabulary, full_vocabulary
from gen.schema import SiteLevel
from splits.errors import UserError

PIXELS = 64
TIMM = ("timm-vit", "resnet18-timm")


def build(name):
    if name == "clippo":
        return build_clippo(load_config("models", "clippo-tiny"), PIXELS, 0, bias=False)
    vit = ["vision.timm_model=vit_tiny_patch16_224"] if name == "timm-vit" else []
    config = load_config("models", "resnet18-timm" if name in TIMM else name, vit)
    model = build_clip(config, Vocabulary(full_vocabulary().token_ids[:20], 5), PIXELS, seed=0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)  # a fresh ResNet multiplies its branches by 0
    return model


@pytest.fixture(scope="module", params=["rn-tiny", "vit-tiny", "clippo", *TIMM])
def model(request):
    return build(request.param).eval()


@pytest.fixture
def vit():
    return build("vit-tiny").eval()


@pytest.fixture
def resnet():
    return build("rn-tiny").eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(3, 3, PIXELS, PIXELS, generator=torch.Generator().manual_seed(0))


def everywhere(model):
    """Sites of all levels."""
    return [site for level in levels_of(model) for site in list_sites(model, level)]


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@torch.no_grad()
def embedding(model, images, edit=None, read=None):
    with taps(everywhere(model), read, edit):
        return model.encode_image(images)


def test_no_hook_stays_behind_even_after_errors(model, images):
    sites = everywhere(model)
    with taps(sites):
        assert hooks(model) == len(sites)
        model.encode_image(images)
    assert hooks(model) == 0

    def fail(*_):
        raise KeyError

    for read, edit in ((fail, {}), (None, {sites[-1].name: fail})):
        with pytest.raises(KeyError), taps(sites, read, edit):
            model.encode_image(images)
        assert hooks(model) == 0
    with pytest.raises(AttributeError), taps([*sites, replace(sites[0], name="x", module=None)]):
        pass
    assert hooks(model) == 0


def test_levels_are_read_together_in_one_forward_and_nothing_changes(model, images):
    with torch.no_grad():
        expected = model.encode_image(images)
    found = []
    changed = embedding(model, images, read=lambda name, _: found.append(name))
    assert sorted(found) == sorted(site.name for site in everywhere(model))
    assert torch.equal(changed, expected)


def test_an_edit_that_changes_nothing_changes_no_bit(model, images):
    expected = embedding(model, images)
    same = {site.name: torch.clone for site in everywhere(model)}
    assert torch.equal(embedding(model, images, same), expected)


def test_what_is_read_is_overwritten_by_nothing(model, images):
    read = {}
    embedding(model, images, read=lambda name, a: read.setdefault(name, (a, a._version, a.clone())))
    for activations, version, copy in read.values():
        assert activations._version == version
        assert torch.equal(activations, copy)


def test_the_output_of_a_blocks_last_normalisation_would_be_overwritten(resnet, images):
    site = list_sites(resnet, SiteLevel.channel)[-1]
    last = replace(site, name="bn3", module=resnet.visual.layer4[-1].bn3)
    read = {}
    with torch.no_grad(), taps([last], lambda name, a: read.update({name: (a, a.clone())})):
        resnet.encode_image(images)
    assert not torch.equal(*read["bn3"])


def test_every_edit_is_felt_behind_the_site_and_not_before(model, images):
    for level in levels_of(model):
        sites = list_sites(model, level)
        before, after = {}, {}
        embedding(model, images, read=lambda name, a, kept=before: kept.update({name: pool(a)}))
        middle = sites[len(sites) // 2]
        edit = {middle.name: lambda a: a + 1}
        embedding(model, images, edit, lambda name, a, kept=after: kept.update({name: pool(a)}))
        for site in sites:
            assert torch.equal(before[site.name], after[site.name]) == (site.depth < middle.depth)
        assert torch.allclose(after[middle.name], before[middle.name] + 1)  # read after its edit
        assert not torch.equal(before["embedding"], after["embedding"])


@torch.no_grad()
def test_zeroing_all_heads_is_dropping_the_attention_branch(vit, images):
    found = embedding(vit, images, {"block2.heads": torch.zeros_like})
    block = vit.visual.transformer.resblocks[1]
    block.attn.forward = lambda x, attn_mask=None: block.attn.out_proj.bias.expand_as(x)
    assert torch.allclose(found, vit.encode_image(images), atol=1e-6)


@torch.no_grad()
def test_zeroing_one_head_is_taking_away_its_values(vit, images):
    site = list_sites(vit, SiteLevel.head)[1]
    width = vit.visual.transformer.width
    ours = slice(2 * width // site.heads, 3 * width // site.heads)  # the third head

    def without(values):
        values = values.clone()
        values[..., ours] = 0
        return values

    found = embedding(vit, images, {site.name: without})
    attention = vit.visual.transformer.resblocks[1].attn
    attention.in_proj_weight[2 * width :][ours] = 0
    attention.in_proj_bias[2 * width :][ours] = 0
    assert torch.allclose(found, vit.encode_image(images), atol=1e-6)


@torch.no_grad()
def test_zeroing_all_neurons_leaves_the_bias_of_the_second_layer(vit, images):
    found = embedding(vit, images, {"block3.neurons": torch.zeros_like})
    vit.visual.transformer.resblocks[2].mlp.c_proj.weight.zero_()
    assert torch.allclose(found, vit.encode_image(images), atol=1e-6)


@torch.no_grad()
def test_zeroing_a_channel_is_taking_it_from_the_next_convolution(resnet, images):
    block = resnet.visual.layer2[0]

    def without(maps):
        maps = maps.clone()
        maps[:, 5] = 0
        return maps

    expected = embedding(resnet, images)
    found = embedding(resnet, images, {"layer2.0.act1": without})
    block.conv2.weight[:, 5] = 0
    by_hand = resnet.encode_image(images)
    assert (found - by_hand).abs().max() < 1e-3 * (found - expected).abs().max()


def test_activations_of_an_image_depend_on_the_others_in_training_and_not_in_evaluation(images):
    model = build("rn-tiny")
    for training in (True, False):
        alone, together = {}, {}
        model.train(training)
        embedding(model, images[:2], read=alone.__setitem__)
        embedding(model, images, read=together.__setitem__)
        last = alone["embedding"][:2], together["embedding"][:2]
        assert torch.allclose(*last, atol=1e-5) != training


def test_a_text_is_edited_like_an_image(vit):
    tokens = torch.tensor([[18, 3, 19, 0, 0]])
    with torch.no_grad():
        with taps(text_sites(vit), edit={"stem": torch.zeros_like}):
            found = vit.encode_text(tokens)
        vit.token_embedding.weight.zero_()
        vit.positional_embedding.zero_()
        assert torch.equal(found, vit.encode_text(tokens))


def test_an_edit_of_a_site_that_is_not_tapped_is_an_error(vit):
    sites = list_sites(vit, SiteLevel.residual)
    with (
        pytest.raises(UserError, match="did you mean `block1`"),
        taps(sites, edit={"blok1": torch.clone}),
    ):
        pass


def test_two_sites_of_one_name_are_an_error(vit):
    with (
        pytest.raises(ValueError, match="two sites have one name"),
        taps([*list_sites(vit, SiteLevel.residual), *text_sites(vit)]),
    ):
        pass
