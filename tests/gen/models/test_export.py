"""An exported model is ours in open_clip's hands: the same features, to the last bit."""

from __future__ import annotations

import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from gen.config import load_config
from gen.datasets.captions import prompts
from gen.models.clip import build_clip, normalise
from gen.models.clippo import build_clippo
from gen.models.export import export_clip, export_clippo, load_clippo
from gen.models.rendering import Renderer
from gen.models.vocabulary import build_vocabulary
from gen.schema import CaptionStyle
from splits.errors import UserError

PIXELS = 32
TEXTS = [text for name in ("cat", "traffic light") for text in prompts(name, CaptionStyle.short)]
VOCABULARY = build_vocabulary(TEXTS)
TIMM_VIT = ["vision.timm_model=vit_tiny_patch16_224"]
MODELS = {
    "resnet": ("rn-tiny", [], PIXELS),
    "vit": ("vit-tiny", [], PIXELS),
    "timm": ("resnet18-timm", [], PIXELS),
    "timm-vit": ("resnet18-timm", TIMM_VIT, 224),
}


def exported(name, folder, bias=False, overrides=(), pixels=PIXELS):
    """A model whose running means are not those of its start, exported to the folder."""
    config = load_config("models", name, overrides)
    model = build_clip(config, VOCABULARY, pixels, 0, bias=bias)
    model.encode_image(torch.randn(8, 3, pixels, pixels))
    model.to(memory_format=torch.channels_last)  # as training leaves it
    export_clip(model, config, VOCABULARY, pixels, folder)
    return model.eval()


@pytest.mark.parametrize("kind", MODELS)
def test_open_clip_computes_the_same_features_from_the_folder(kind, tmp_path):
    name, overrides, pixels = MODELS[kind]
    ours = exported(name, tmp_path / "model", overrides=overrides, pixels=pixels)
    address = f"local-dir:{tmp_path / 'model'}"
    theirs, _, preprocess = open_clip.create_model_and_transforms(address)
    theirs.to(memory_format=torch.channels_last).eval()
    tokenizer = open_clip.get_tokenizer(address)
    images = np.random.default_rng(0).integers(256, size=(5, pixels, pixels, 3), dtype=np.uint8)
    their_images = torch.stack([preprocess(Image.fromarray(image)) for image in images])
    our_images = normalise(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert torch.equal(their_images, our_images)
    inputs = our_images.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        assert (ours.encode_image(inputs) - theirs.encode_image(inputs)).abs().max() == 0
        found = theirs.encode_text(tokenizer(TEXTS))
        assert (ours.encode_text(VOCABULARY.encode(TEXTS)) - found).abs().max() == 0
    assert theirs.logit_scale.item() == ours.logit_scale.item()


def test_a_bias_of_the_logits_is_exported(tmp_path):
    ours = exported("rn-tiny", tmp_path, bias=True)
    with torch.no_grad():
        ours.logit_bias.fill_(-7.5)
        ours.logit_scale.fill_(3.5)
    export_clip(ours, load_config("models", "rn-tiny"), VOCABULARY, PIXELS, tmp_path)
    theirs = open_clip.create_model(f"local-dir:{tmp_path}")
    assert (theirs.logit_bias.item(), theirs.logit_scale.item()) == (-7.5, 3.5)


def test_used_tokens_stand_in_clips_rows_and_all_others_are_zero(tmp_path):
    ours = exported("rn-tiny", tmp_path)
    rows = load_file(tmp_path / "open_clip_model.safetensors")["token_embedding.weight"]
    assert rows.shape == (49408, 64)
    assert torch.equal(rows[VOCABULARY.token_ids], ours.token_embedding.weight)
    assert rows.any(dim=1).sum() == VOCABULARY.size


def test_a_word_that_was_never_seen_says_only_that_it_takes_a_place(tmp_path):
    exported("rn-tiny", tmp_path)
    address = f"local-dir:{tmp_path}"
    tokenizer, model = open_clip.get_tokenizer(address), open_clip.create_model(address).eval()
    tokens = tokenizer(["zebra, image", "whale, image", "cat, image"])
    with torch.inference_mode():
        zebra, whale, cat = model.encode_text(tokens)
    assert torch.equal(zebra, whale)
    assert not torch.equal(zebra, cat)


def test_the_folder_tells_how_images_and_texts_enter(tmp_path):
    exported("vit-tiny", tmp_path)
    content = json.loads((tmp_path / "open_clip_config.json").read_text())
    assert content["preprocess_cfg"]["mean"] == content["preprocess_cfg"]["std"] == [0.5] * 3
    assert content["preprocess_cfg"]["size"] == PIXELS
    assert content["preprocess_cfg"]["resize_mode"] == "shortest"
    assert content["model_cfg"]["text_cfg"]["context_length"] == VOCABULARY.context_length
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "open_clip_config.json",
        "open_clip_model.safetensors",
    ]


def test_a_timm_tower_of_another_size_than_its_name_is_refused(tmp_path):
    config = load_config("models", "resnet18-timm", TIMM_VIT)
    model = build_clip(config, VOCABULARY, PIXELS, 0)
    with pytest.raises(UserError, match="for 224 pixels only, and it was trained for 32"):
        export_clip(model, config, VOCABULARY, PIXELS, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_only_a_clip_can_be_exported(tmp_path):
    config = load_config("models", "classifier-rn-tiny")
    with pytest.raises(UserError, match="kind classifier"):
        export_clip(None, config, VOCABULARY, PIXELS, tmp_path)


@pytest.mark.parametrize("bias", [False, True])
def test_an_exported_clippo_is_opened_as_it_was(bias, tmp_path):
    config = load_config("models", "clippo-tiny")
    ours = build_clippo(config, 64, 0, bias=bias).eval()
    export_clippo(ours, config, 64, tmp_path)
    learner = load_clippo(tmp_path)
    images, texts = torch.randn(3, 3, 64, 64), ["cat", "image of a cat"]
    with torch.inference_mode():
        assert torch.equal(learner.model.encode_image(images), ours.encode_image(images))
        drawn = Renderer(64, config.font).encode(texts)
        found = learner.model.encode_text(learner.texts.encode(texts))
        assert torch.equal(found, ours.encode_text(drawn))
    assert (learner.model.logit_bias is None) != bias
    assert "load_clippo" in (tmp_path / "README.md").read_text()


def test_a_font_goes_with_its_model(tmp_path):
    font = tmp_path / "mine.hex"
    font.write_text("0041:" + "FF" * 16 + "\n")
    config = load_config("models", "clippo-tiny", [f"font={font}"])
    export_clippo(build_clippo(config, 64, 0, bias=False), config, 64, tmp_path / "model")
    drawn = Renderer(64, str(font)).encode(["a"])
    font.unlink()
    assert torch.equal(load_clippo(tmp_path / "model").texts.encode(["a"]), drawn)


def test_a_folder_without_a_clippo_is_an_error(tmp_path):
    with pytest.raises(UserError, match="holds no exported CLIPPO"):
        load_clippo(tmp_path)
