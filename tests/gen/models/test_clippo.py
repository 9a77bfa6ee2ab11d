"""A CLIPPO has one tower: images and rendered texts go through the same weights."""

from __future__ import annotations

import math

import pytest
import torch

from gen.config import load_config
from gen.models.checks import check_model
from gen.models.clip import build_clip, normalise
from gen.models.clippo import build_clippo
from gen.models.rendering import Renderer
from gen.models.vocabulary import build_vocabulary
from splits.errors import UserError

PIXELS = 64
TEXTS = Renderer(PIXELS, "unifont").encode(["image of a cat", "a horse, picture", "a cat"])
TINY = ("vision.layers=[2]", "vision.width=64", "embed_dim=32")


def build(seed=0, bias=False, overrides=TINY):
    return build_clippo(load_config("models", "clippo-tiny", overrides), PIXELS, seed, bias=bias)


def some_images(count=2):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, PIXELS, PIXELS), generator=generator, dtype=torch.uint8)
    return normalise(images)


def same(model, other):
    other = other.state_dict()
    return all(torch.equal(value, other[name]) for name, value in model.state_dict().items())


def parameters(name, pixels):
    with torch.device("meta"):
        model = build_clippo(load_config("models", name), pixels, 0, bias=False)
    return sum(parameter.numel() for parameter in model.parameters())


def test_the_published_model_has_its_93_million_parameters():
    block = 12 * 768**2 + 13 * 768  # attention and MLP with biases, two layer norms
    pool = 12 * 768**2 + 12 * 768  # the same with one layer norm, and the probe
    patches = 3 * 16 * 16 * 768 + 768 + 14 * 14 * 768
    head = 768 * 768 + 768
    expected = 12 * block + pool + patches + 2 * 768 + head + 1
    assert parameters("clippo-b-16", 224) == expected == 93_474_817


def test_the_tiny_model_has_about_a_million_parameters():
    assert parameters("clippo-tiny", PIXELS) == pytest.approx(1.1e6, rel=0.02)


def test_smaller_patches_are_more_tokens_of_the_same_transformer():
    shapes = {}
    for name, patches in (("clippo-tiny", 16), ("clippo-tiny-8", 64)):
        model = build_clippo(load_config("models", name), PIXELS, 0, bias=False).eval()
        with torch.inference_mode():
            images, texts = model.encode_pairs(some_images(), TEXTS)
            assert model.visual.forward_features(some_images()).shape == (2, patches, 128)
        assert (images.shape, texts.shape) == ((2, 128), (3, 128))
        shapes[name] = {key: value.shape for key, value in model.state_dict().items()}
    differing = {key for key, shape in shapes["clippo-tiny"].items() if shape != shapes[name][key]}
    assert differing == {"visual.pos_embed", "visual.patch_embed.proj.weight"}


def test_the_clip_to_compare_with_has_two_towers_of_the_same_shape():
    clip = load_config("models", "vit-tiny-16")
    assert clip.vision == load_config("models", "clippo-tiny").vision
    two = build_clip(clip, build_vocabulary(["a cat"]), PIXELS, 0, bias=False)
    one = build(overrides=())
    sizes = [
        sum(parameter.numel() for parameter in part.parameters())
        for part in (two.visual.transformer, two.transformer, one.visual.blocks)
    ]
    assert sizes == [4 * (12 * 128**2 + 13 * 128)] * 3


def test_images_and_texts_get_embeddings_of_one_space():
    model = build().eval()
    with torch.inference_mode():
        images = model.encode_image(some_images())
        texts = model.encode_text(TEXTS)
    assert images.shape == (2, 32)
    assert texts.shape == (3, 32)
    assert len(torch.cat([images, texts]).unique(dim=0)) == 5


def test_pairs_in_one_forward_are_embedded_as_each_alone():
    model = build().eval()
    images = some_images()
    with torch.inference_mode():
        together = model.encode_pairs(images, TEXTS)
        alone = model.encode_image(images), model.encode_text(TEXTS)
    for some, others in zip(together, alone, strict=True):
        assert some.shape == others.shape
        torch.testing.assert_close(some, others, rtol=1e-4, atol=1e-5)


def test_a_rendered_text_is_embedded_as_the_grey_image_that_it_is():
    model = build().eval()
    pictures = TEXTS[:, None].repeat(1, 3, 1, 1)
    with torch.inference_mode():
        as_images = model.encode_image(normalise(pictures))
        torch.testing.assert_close(model.encode_text(TEXTS), as_images, rtol=0, atol=0)


def test_weights_depend_on_the_seed_and_on_nothing_before():
    first = build()
    torch.rand(3)
    assert same(first, build())
    assert not same(first, build(seed=1))


def test_building_leaves_the_global_randomness_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    build(seed=3)
    assert torch.equal(torch.rand(4), expected)


def test_the_logits_begin_at_scale_10_and_bias_minus_10():
    model = build(bias=True)
    assert model.logit_scale.item() == pytest.approx(math.log(10))
    assert model.logit_bias.item() == -10
    assert build().logit_bias is None
    assert "logit_bias" not in build().state_dict()


def test_every_attention_runs_in_the_fused_kernel(monkeypatch):
    calls = []
    fused = torch.nn.functional.scaled_dot_product_attention

    def counted(*args, **kwargs):
        calls.append(args[0].shape)
        return fused(*args, **kwargs)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", counted)
    build().encode_text(TEXTS)
    assert [shape[-2] for shape in calls] == [16, 16, 1]  # two blocks of 16 patches, one probe


def test_every_mlp_has_the_tanh_form_of_gelu():
    activations = [part for name, part in build().visual.named_modules() if name.endswith(".act")]
    assert len(activations) == 3
    inputs = torch.linspace(-3, 3, 7)
    for activation in activations:
        outputs = activation(inputs)
        assert torch.equal(outputs, torch.nn.functional.gelu(inputs, approximate="tanh"))


def test_every_weight_learns_from_both_images_and_texts():
    model = build()
    for features in (model.encode_image(some_images()), model.encode_text(TEXTS)):
        model.zero_grad()
        features.square().sum().backward()
        for name, parameter in model.visual.named_parameters():
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


@pytest.mark.parametrize(
    ("overrides", "pixels", "found"),
    [
        ((), 32, "32 × 32 pixels"),
        (("vision.patch_size=7",), 64, r"`vision\.patch_size` is 7(?s:.*)64 pixels"),
        (("vision.patch_size=0",), 64, r"`vision\.patch_size` is 0"),
        (("vision.head_width=48",), 64, r"`vision\.head_width` is 48(?s:.*)128"),
        (("vision.head_width=0",), 64, r"`vision\.head_width` is 0"),
        (("vision.width=0",), 64, r"`vision\.width` is 0"),
        (("vision.layers=[2,2]",), 64, r"`vision\.layers` is \[2, 2\]"),
        (("vision.layers=[0]",), 64, r"`vision\.layers` is \[0\]"),
        (("vision.kind=resnet",), 64, "resnet(?s:.*)vit"),
        (("text.layers=2",), 64, "a clippo has none"),
        (("font=comic",), 64, "font `comic` is unknown"),
        (("embed_dim=0",), 64, "`embed_dim` is 0"),
    ],
)
def test_a_configuration_that_describes_no_model_is_explained(overrides, pixels, found):
    with pytest.raises(UserError, match=found):
        check_model(load_config("models", "clippo-tiny", overrides), pixels)
