"""A model depends on its arguments alone, and its small table of tokens changes nothing."""

from __future__ import annotations

import open_clip
import pytest
import torch

from gen.config import load_config
from gen.datasets.captions import prompts
from gen.models.clip import build_clip, normalise
from gen.models.vocabulary import build_vocabulary
from gen.schema import CaptionStyle
from splits.errors import UserError

TEXTS = [text for name in ("cat", "traffic light") for text in prompts(name, CaptionStyle.short)]
VOCABULARY = build_vocabulary(TEXTS)
PIXELS = 32
CLIP_TOKENS = 49408
MODELS = ("rn-tiny", "vit-tiny")


def build(name="rn-tiny", seed=0, overrides=(), pixels=PIXELS):
    return build_clip(load_config("models", name, overrides), VOCABULARY, pixels, seed)


def same(model, other):
    other = other.state_dict()
    return all(torch.equal(value, other[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", MODELS)
def test_weights_depend_on_the_seed_and_on_nothing_before(name):
    first = build(name)
    torch.rand(3)
    assert same(first, build(name))
    assert not same(first, build(name, seed=1))


def test_building_leaves_the_global_randomness_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(4)
    torch.manual_seed(5)
    build(seed=3)
    assert torch.equal(torch.rand(4), expected)


@pytest.mark.parametrize("name", MODELS)
def test_both_towers_embed_small_images_and_texts_alike(name):
    model = build(name).eval()
    images = torch.randint(256, (3, 3, PIXELS, PIXELS), dtype=torch.uint8)
    with torch.inference_mode():
        image_features = model.encode_image(normalise(images))
        text_features = model.encode_text(VOCABULARY.encode(TEXTS[:5]))
    assert image_features.shape == (3, 128)
    assert text_features.shape == (5, 128)
    assert image_features.isfinite().all()
    assert len(image_features.unique(dim=0)) == 3
    assert len(text_features.unique(dim=0)) == 5


def test_images_enter_the_towers_between_minus_one_and_one():
    images = torch.tensor([0, 51, 255], dtype=torch.uint8)
    assert normalise(images).tolist() == pytest.approx([-1, -0.6, 1])
    assert torch.equal(normalise(images), normalise(images.float()))


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


@pytest.mark.parametrize(
    ("name", "overrides", "pixels", "found"),
    [
        ("rn-tiny", ["vision.layers=[1,1]"], 32, r"`vision\.layers` is \[1, 1\](?s:.*)4 positive"),
        ("rn-tiny", ["vision.layers=[1,1,0,1]"], 32, r"`vision\.layers` is \[1, 1, 0, 1\]"),
        ("vit-tiny", ["vision.layers=[2,2]"], 32, "1 positive number for a vit"),
        ("vit-tiny", ["vision.patch_size=7"], 32, "a divisor of the image size, 32 pixels"),
        ("vit-tiny", ["vision.patch_size=0"], 32, "`vision.patch_size` is 0"),
        ("vit-tiny", ["vision.head_width=48"], 32, "head_width"),
        ("vit-tiny", ["vision.head_width=0"], 32, "head_width"),
        ("rn-tiny", [], 48, "48 pixels"),
        ("rn-tiny", ["vision.head_width=36"], 32, "heads of 36"),
        ("rn-tiny", ["vision.head_width=0"], 32, "head_width"),
        ("rn-tiny", ["text.heads=3"], 32, r"`text\.heads` is 3(?s:.*)text\.width, 64"),
        ("rn-tiny", ["text.heads=0"], 32, r"`text\.heads` is 0"),
        ("rn-tiny", ["embed_dim=0"], 32, "`embed_dim` is 0"),
    ],
)
def test_a_configuration_that_describes_no_model_is_explained(name, overrides, pixels, found):
    with pytest.raises(UserError, match=found):
        build(name, overrides=overrides, pixels=pixels)
