"""A model depends on its arguments alone, is open_clip's, and its small token table is harmless."""

from __future__ import annotations

import math

import open_clip
import pytest
import torch
from torch.nn import functional

from gen.config import load_config
from gen.datasets.captions import prompts
from gen.models.clip import build_clip, normalise
from gen.models.vocabulary import build_vocabulary, full_vocabulary
from gen.schema import CaptionStyle
from splits.errors import UserError

TEXTS = [text for name in ("cat", "traffic light") for text in prompts(name, CaptionStyle.short)]
VOCABULARY = build_vocabulary(TEXTS)
PIXELS = 32
CLIP_TOKENS = 49408
TIMM_VIT = ["vision.timm_model=vit_tiny_patch16_224"]
MODELS = {
    "rn-tiny": ("rn-tiny", []),
    "vit-tiny": ("vit-tiny", []),
    "timm": ("resnet18-timm", []),
    "timm-vit": ("resnet18-timm", TIMM_VIT),
}


def build(name="rn-tiny", seed=0, overrides=(), pixels=PIXELS, bias=False):
    return build_clip(load_config("models", name, overrides), VOCABULARY, pixels, seed, bias=bias)


def same(model, other):
    other = other.state_dict()
    return all(torch.equal(value, other[name]) for name, value in model.state_dict().items())


@pytest.fixture(params=MODELS)
def described(request):
    return MODELS[request.param]


def test_weights_depend_on_the_seed_and_on_nothing_before(described):
    name, overrides = described
    first = build(name, overrides=overrides)
    torch.rand(3)
    assert same(first, build(name, overrides=overrides))
    assert not same(first, build(name, seed=1, overrides=overrides))


def test_building_leaves_the_global_randomness_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    build(seed=3)
    assert torch.equal(torch.rand(4), expected)


def test_both_towers_embed_small_images_and_texts_alike(described):
    name, overrides = described
    config = load_config("models", name)
    model = build(name, overrides=overrides)
    assert all(module.training for module in model.modules())
    images = torch.randint(256, (3, 3, PIXELS, PIXELS), dtype=torch.uint8)
    with torch.inference_mode():
        image_features = model.eval().encode_image(normalise(images))
        text_features = model.encode_text(VOCABULARY.encode(TEXTS[:5]))
    assert image_features.shape == (3, config.embed_dim)
    assert text_features.shape == (5, config.embed_dim)
    assert image_features.isfinite().all()
    assert len(image_features.unique(dim=0)) == 3
    assert len(text_features.unique(dim=0)) == 5


def test_images_enter_the_towers_between_minus_one_and_one():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert normalise(images).tolist() == pytest.approx([-1, -0.6, 1])
    assert torch.equal(normalise(images), normalise(images.float()))


def test_the_logits_start_as_those_of_clip_or_with_a_bias_as_those_of_siglip():
    clip, siglip = build(), build(bias=True)
    assert clip.logit_bias is None
    assert clip.logit_scale.item() == pytest.approx(math.log(1 / 0.07))
    assert siglip.logit_bias.item() == -10
    assert siglip.logit_scale.exp().item() == pytest.approx(10)
    assert torch.equal(clip.visual.conv1.weight, siglip.visual.conv1.weight)


def test_the_cut_down_text_tower_embeds_as_one_with_all_tokens_of_open_clip():
    model = build("vit-tiny").eval()
    vision = {"image_size": PIXELS, "layers": 4, "width": 128, "head_width": 32, "patch_size": 8}
    text = {"vocab_size": CLIP_TOKENS, "context_length": VOCABULARY.context_length}
    text |= {"layers": 1, "width": 64, "heads": 2}
    whole = open_clip.CLIP(128, vision, text).eval()
    weights = model.state_dict()
    rows = torch.full((CLIP_TOKENS, 64), torch.nan)
    rows[torch.from_numpy(VOCABULARY.token_ids)] = weights["token_embedding.weight"]
    whole.load_state_dict(weights | {"token_embedding.weight": rows})
    tokenizer = open_clip.get_tokenizer("RN50")
    with torch.inference_mode():
        ours = model.encode_text(VOCABULARY.encode(TEXTS))
        theirs = whole.encode_text(tokenizer(TEXTS, context_length=VOCABULARY.context_length))
    assert (ours - theirs).abs().max() == 0


def default_vit(seed):
    """open_clip's own model with its default blocks."""
    text = {"vocab_size": VOCABULARY.size, "context_length": VOCABULARY.context_length}
    torch.manual_seed(seed)
    return open_clip.CLIP(
        128,
        {"image_size": PIXELS, "layers": 4, "width": 128, "head_width": 32, "patch_size": 8},
        text | {"layers": 1, "width": 64, "heads": 2},
    )


def test_a_vit_whose_heads_can_be_read_starts_and_computes_as_one_of_open_clip():
    ours, theirs = build("vit-tiny", seed=4), default_vit(4)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert same(ours, theirs)
    images = torch.randn(3, 3, PIXELS, PIXELS)
    outputs = [model.encode_image(images) for model in (ours, theirs)]
    assert torch.allclose(*outputs, atol=1e-6)
    for output in outputs:
        output.square().sum().backward()
    gradients = [dict(model.named_parameters()) for model in (ours, theirs)]
    for name, parameter in gradients[0].items():
        if name.startswith("visual."):
            assert torch.allclose(parameter.grad, gradients[1][name].grad, atol=1e-4), name


def test_every_block_of_a_vit_attends_by_torchs_fused_attention(monkeypatch):
    calls = []
    fused = functional.scaled_dot_product_attention

    def counted(query, *arguments, **named):
        calls.append(tuple(query.shape))
        return fused(query, *arguments, **named)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    build("vit-tiny").encode_image(torch.zeros(2, 3, PIXELS, PIXELS))
    assert calls == [(2, 4, 17, 32)] * 4  # batch, heads, class token and 16 patches, head width


@pytest.mark.parametrize(
    ("name", "published", "parameters"),
    [
        ("rn50", "RN50", 102_007_137),
        ("vit-b-16", "ViT-B-16", 149_620_737),
        ("vit-s-32", "ViT-S-32", 63_085_825),
    ],
)
def test_a_published_model_has_the_shapes_that_open_clip_publishes(name, published, parameters):
    with torch.device("meta"):
        ours = build_clip(load_config("models", name), full_vocabulary(), 224, 0)
        theirs = open_clip.CLIP(**open_clip.get_model_config(published))
    shapes = [{k: v.shape for k, v in model.state_dict().items()} for model in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert sum(parameter.numel() for parameter in ours.parameters()) == parameters


def test_a_timm_tower_is_made_for_the_size_of_the_images_with_fresh_weights():
    import timm

    trunk = build("resnet18-timm", overrides=TIMM_VIT, pixels=48).visual.trunk
    torch.manual_seed(0)
    expected = timm.create_model("vit_tiny_patch16_224", img_size=48)
    assert trunk.pos_embed.shape == (1, 1 + 3 * 3, 192)
    assert torch.equal(trunk.pos_embed, expected.pos_embed)
    assert trunk.global_pool == "token"


@pytest.mark.parametrize(
    ("name", "overrides", "pixels", "found"),
    [
        ("rn-tiny", ["vision.layers=[1,1]"], 32, r"`vision\.layers` is \[1, 1\](?s:.*)4 positive"),
        ("rn-tiny", ["vision.layers=[1,1,0,1]"], 32, r"`vision\.layers` is \[1, 1, 0, 1\]"),
        ("rn-tiny", ["vision.layers=[]"], 32, r"`vision\.layers` is \[\] or missing"),
        ("rn-tiny", ["vision.width=0"], 32, r"`vision\.width` is 0 or missing"),
        ("vit-tiny", ["vision.layers=[2,2]"], 32, "1 positive number for a vit"),
        ("vit-tiny", ["vision.patch_size=7"], 32, "a divisor of the image size, 32 pixels"),
        ("vit-tiny", ["vision.patch_size=0"], 32, "`vision.patch_size` is 0"),
        ("vit-tiny", ["vision.head_width=48"], 32, "head_width"),
        ("vit-tiny", ["vision.head_width=0"], 32, "head_width"),
        ("rn-tiny", [], 48, "48 pixels"),
        ("rn-tiny", ["vision.head_width=36"], 32, "heads of 36"),
        ("rn-tiny", ["vision.head_width=0"], 32, "head_width"),
        ("rn-tiny", ["text.heads=3"], 32, r"`text\.heads` is 3(?s:.*)text\.width, 64"),
        ("rn-tiny", ["text.heads=0"], 32, r"`text\.heads` is 0 or missing"),
        ("rn-tiny", ["embed_dim=0"], 32, "`embed_dim` is 0"),
        ("resnet18-timm", ["vision.timm_model=''"], 32, r"`vision\.timm_model` is missing"),
        ("resnet18-timm", ["vision.timm_model=resnet81"], 32, r"did you mean `resnet\d+`"),
        ("resnet18-timm", ["vision.timm_model=resnet18.a1_in1k"], 32, "mean `resnet18`"),
        ("resnet18-timm", TIMM_VIT, 40, "patches of 16 pixels, and images 40"),
        ("resnet18-timm", ["vision.timm_model=vgg11"], 32, "`vgg11` makes no image tower for 32"),
    ],
)
def test_a_configuration_that_describes_no_model_is_explained(name, overrides, pixels, found):
    with pytest.raises(UserError, match=found):
        build(name, overrides=overrides, pixels=pixels)
