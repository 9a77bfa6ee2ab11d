"""Models that are there already: which one is meant, and that it is opened as it is."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from huggingface_hub import constants

from gen.config import load_config
from gen.datasets.captions import prompts
from gen.models.clip import build_clip
from gen.models.export import export_clip
from gen.models.pretrained import (
    describe_pretrained,
    load_pretrained,
    source_sha256,
)
from gen.models.vocabulary import build_vocabulary
from gen.runs import file_sha256
from gen.schema import CaptionStyle, PretrainedConfig
from splits.errors import UserError

PIXELS = 32
TEXTS = [text for name in ("cat", "traffic light") for text in prompts(name, CaptionStyle.short)]
VOCABULARY = build_vocabulary(TEXTS)
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A model of ours, and the folder that open_clip opens."""
    folder = tmp_path_factory.mktemp("exported")
    config = load_config("models", "rn-tiny")
    model = build_clip(config, VOCABULARY, PIXELS, 0)
    model.encode_image(torch.randn(8, 3, PIXELS, PIXELS))
    export_clip(model, config, VOCABULARY, PIXELS, folder)
    return model.eval(), folder


def local(folder):
    return PretrainedConfig(f"local-dir:{folder}")


def sha256(source):
    return source_sha256(source, "the study")


def test_a_local_folder_is_opened_as_it_is(exported):
    ours, folder = exported
    learner = load_pretrained(local(folder))
    images = torch.randn(4, 3, PIXELS, PIXELS)
    with torch.inference_mode():
        assert torch.equal(learner.model.encode_image(images), ours.encode_image(images))
        found = learner.model.encode_text(learner.texts.encode(TEXTS))
        assert torch.equal(found, ours.encode_text(VOCABULARY.encode(TEXTS)))
    assert (learner.mean, learner.std, learner.pixels) == ((0.5,) * 3, (0.5,) * 3, PIXELS)
    assert learner.checkpoint == file_sha256(folder / WEIGHTS)


def test_a_models_own_mean_and_size_are_told(exported, tmp_path):
    shutil.copytree(exported[1], tmp_path, dirs_exist_ok=True)
    content = json.loads((tmp_path / CONFIG).read_text())
    content["preprocess_cfg"] |= {"mean": [0.4, 0.5, 0.6], "std": [0.1, 0.2, 0.3]}
    (tmp_path / CONFIG).write_text(json.dumps(content))
    facts = describe_pretrained(local(tmp_path))
    assert facts["mean"] == [0.4, 0.5, 0.6]
    assert facts["std"] == [0.1, 0.2, 0.3]
    assert (facts["pixels"], facts["quick_gelu"]) == (PIXELS, False)


def test_a_text_that_the_tokenizer_would_cut_is_refused(exported):
    texts = load_pretrained(local(exported[1])).texts
    longest = max(TEXTS, key=lambda text: len(text.split()))
    assert len(texts.encode([longest])) == 1
    with pytest.raises(UserError, match="tokens, and the model reads"):
        texts.encode(["cat", longest + " and a cat and a cat"])


def test_a_folder_is_known_by_what_it_holds(exported, tmp_path):
    _, folder = exported
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    assert sha256(local(copy)) == sha256(local(folder))
    with (copy / WEIGHTS).open("ab") as file:
        file.write(b"x")
    assert sha256(local(copy)) != sha256(local(folder))


def test_a_named_model_is_known_by_its_name_and_tag():
    one = sha256(PretrainedConfig("ViT-B/32", "laion2b_s34b_b79k"))
    assert one == sha256(PretrainedConfig("ViT-B-32", "laion2b_s34b_b79k"))
    assert one != sha256(PretrainedConfig("ViT-B-32", "laion2b_e16"))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (PretrainedConfig("ViT-B-32"), "expected: +a model's name and the tag"),
        (PretrainedConfig("local-dir:x", "openai"), "expected: +a model's name and the tag"),
        (PretrainedConfig("local-dir:nowhere"), "there is no file nowhere"),
    ],
)
def test_a_source_that_is_none_is_refused_before_anything_is_opened(source, found):
    with pytest.raises(UserError, match=found):
        sha256(source)


@pytest.mark.parametrize(
    ("model", "weights", "found"),
    [
        ("ViT-B-23", "openai", "did you mean `ViT-B-32`"),
        ("ViT-B-32", "laion2b_s34b_b97k", "did you mean `laion2b_s34b_b79k`"),
        ("ViT-B-32", "openai", "model: ViT-B-32-quickgelu"),
        ("ViT-B-32-quickgelu", "laion2b_s34b_b79k", "tag of weights|model: ViT-B-32$"),
        ("ViT-B-32", "laion2b_s34b_b79k", "not in open_clip's cache"),
        ("hf-hub:nobody/nothing", "", "not in open_clip's cache"),
    ],
)
def test_what_open_clip_cannot_open_well_is_refused(model, weights, found, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match=found):
        load_pretrained(PretrainedConfig(model, weights))


@pytest.mark.parametrize(
    ("part", "changes", "found"),
    [
        ("model_cfg", {"embed_dim": None}, "missing .* 'embed_dim'"),
        ("model_cfg", {"text_cfg": None}, "KeyError: 'text_cfg'"),
        ("model_cfg", {"widht": 8}, "argument 'widht'"),
        ("model_cfg", {"vision_cfg": {"widht": 8}}, "argument 'widht'"),
        ("model_cfg", {"vision_cfg": [8]}, "makes no model"),
        ("preprocess_cfg", {"mean": [0.5]}, "mean or deviation"),
        ("preprocess_cfg", {"std": ["a", "b", "c"]}, "mean or deviation"),
    ],
)
def test_a_configuration_that_makes_no_model_is_an_error(part, changes, found, exported, tmp_path):
    shutil.copytree(exported[1], tmp_path, dirs_exist_ok=True)
    content = json.loads((tmp_path / CONFIG).read_text())
    changed = {k: v for k, v in (content[part] | changes).items() if v is not None}
    (tmp_path / CONFIG).write_text(json.dumps(content | {part: changed}))
    with pytest.raises(UserError, match=found):
        load_pretrained(local(tmp_path))


def test_damaged_weights_of_a_folder_are_an_error(exported, tmp_path):
    shutil.copytree(exported[1], tmp_path, dirs_exist_ok=True)
    (tmp_path / WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(UserError, match="open_clip cannot open"):
        load_pretrained(local(tmp_path))
