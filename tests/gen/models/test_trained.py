"""A run's model: which one it is, what it may be trained on, and what weight decay spares."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from types import SimpleNamespace

import polars as pl
import pytest
import torch

from gen.config import CONFIGS, load_config
from gen.models.checks import check_learner
from gen.models.trained import build_learner, load_trained, run_vocabulary
from gen.models.vocabulary import FULL_CONTEXT, FULL_SIZE, Vocabulary
from gen.runs import file_sha256
from gen.schema import (
    CaptionStyle,
    ModelConfig,
    ModelKind,
    Objective,
    StreamConfig,
    TextPairsConfig,
    TrainingConfig,
)
from gen.training.checkpoint import save_weights
from splits.errors import UserError

CLASSES = ("axe", "bed", "cat")
MODELS = sorted(path.stem for path in (CONFIGS / "models").glob("*.yaml"))


def dataset(pixels=32):
    captions = [f"a {name}, image" for name in CLASSES]
    table = pl.DataFrame({"caption": captions, "caption_aligned": captions})
    return SimpleNamespace(
        samples=table,
        classes=CLASSES,
        domains=("real",),
        pixels=pixels,
        caption_style=CaptionStyle.short,
        manifest={"config": {}},
    )


def run(name, base=None, shards=(), objective=Objective.infonce, seed=0, weights=None):
    stream = StreamConfig(shards=list(shards))
    return SimpleNamespace(
        model=load_config("models", name),
        training=TrainingConfig(samples_seen=100, objective=objective, stream=stream),
        mixture=SimpleNamespace(base=base),
        pretrained=None,
        seed=seed,
        final_weights=weights,
    )


def pixels_of(config: ModelConfig) -> int:
    """An image size that the configuration can take."""
    return 32 if config.vision.width < 200 and config.kind is not ModelKind.clippo else 224


@pytest.mark.parametrize("name", MODELS)
def test_weight_decay_spares_what_open_clip_spares(name):
    """No exception: parameters with fewer than two dimensions are just those of its rule."""
    planned = run(name, base="web", objective=Objective.sigmoid)  # the whole of every model
    with torch.device("meta"):
        model = build_learner(planned, dataset(pixels_of(planned.model))).model
    parameters = dict(model.named_parameters())
    named = ("bn", "ln", "bias", "logit_scale")  # open_clip_train.main, 3.3.0
    theirs = {n for n, p in parameters.items() if p.ndim < 2 or any(part in n for part in named)}
    assert {n for n, p in parameters.items() if p.ndim < 2} == theirs
    assert 0 < len(theirs) < len(parameters)


def test_a_clip_reads_the_words_of_the_captions_and_a_classifier_reads_none():
    clip, classifier = (
        build_learner(run(name), dataset()) for name in ("rn-tiny", "classifier-rn-tiny")
    )
    assert isinstance(clip.texts, Vocabulary)
    assert clip.model.encode_text(clip.texts.encode(["a cat, image"])).shape == (1, 128)
    assert classifier.texts is None
    assert classifier.model.head.out_features == len(CLASSES)


@pytest.mark.parametrize("objective", Objective)
def test_the_logits_have_a_bias_for_the_sigmoid_objective_only(objective):
    model = build_learner(run("rn-tiny", objective=objective), dataset()).model
    assert (model.logit_bias is not None) == (objective is Objective.sigmoid)


@pytest.mark.parametrize("more", [{"base": "web"}, {"shards": ["a.tar"]}])
def test_captions_in_anybodys_words_need_clips_whole_vocabulary(more):
    assert run_vocabulary(run("rn-tiny"), dataset()).size < 100
    vocabulary = run_vocabulary(run("rn-tiny", **more), dataset())
    assert (vocabulary.size, vocabulary.context_length) == (FULL_SIZE, FULL_CONTEXT)


@pytest.mark.parametrize("name", ["rn-tiny", "classifier-rn-tiny"])
def test_trained_weights_come_back(name, tmp_path):
    path = tmp_path / "final.safetensors"
    trained = build_learner(run(name, seed=5), dataset()).model
    save_weights(path, trained)
    loaded = load_trained(run(name, seed=0, weights=path), dataset()).model
    expected = trained.state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in loaded.state_dict().items())


def test_a_milestones_weights_come_back_and_are_named_by_their_hash(tmp_path):
    final, milestone = tmp_path / "final.safetensors", tmp_path / "milestone.safetensors"
    kept = build_learner(run("rn-tiny", seed=5), dataset()).model
    save_weights(milestone, kept)
    save_weights(final, build_learner(run("rn-tiny", seed=6), dataset()).model)
    loaded = load_trained(run("rn-tiny", weights=final), dataset(), milestone)
    assert torch.equal(loaded.model.state_dict()["text_projection"], kept.text_projection)
    assert loaded.checkpoint == file_sha256(milestone)
    assert loaded.pixels == 32


def test_damaged_weights_and_those_of_another_model_are_errors(tmp_path):
    path = tmp_path / "final.safetensors"
    path.write_bytes(b"no weights")
    with pytest.raises(UserError, match="damaged"):
        load_trained(run("rn-tiny", weights=path), dataset())
    save_weights(path, build_learner(run("vit-tiny"), dataset()).model)
    with pytest.raises(UserError, match=str(path)):
        load_trained(run("rn-tiny", weights=path), dataset())


def training(**values):
    return TrainingConfig(samples_seen=100, **values)


@pytest.mark.parametrize(
    ("values", "base", "found"),
    [
        ({"objective": Objective.sigmoid}, False, r"`training\.objective` is sigmoid"),
        ({"objective": Objective.multi_positive}, False, "is multi_positive"),
        ({"stream": StreamConfig(shards=["a.tar"])}, False, r"`training\.stream\.shards` adds"),
        ({}, True, "`base` adds images with captions"),
    ],
)
def test_a_classifier_takes_labels_and_nothing_else(values, base, found):
    check_learner(load_config("models", "rn-tiny"), training(**values), base, 32)
    classifier = load_config("models", "classifier-rn-tiny")
    check_learner(classifier, training(), False, 32)
    with pytest.raises(UserError, match=found):
        check_learner(classifier, training(**values), base, 32)


CAPTIONS = TextPairsConfig("captions")


@pytest.mark.parametrize(
    ("model", "values", "found"),
    [
        ("rn-tiny", {"text_pairs": CAPTIONS}, r"is captions, and the model is a clip(?s:.*)clippo"),
        ("classifier-rn-tiny", {"text_pairs": CAPTIONS}, "and the model is a classifier"),
        ("clippo-tiny", {"text_pairs": TextPairsConfig("caption")}, "did you mean `captions`"),
        ("clippo-tiny", {"text_pairs": TextPairsConfig("no.tsv")}, r"there is no file no\.tsv"),
        (
            "clippo-tiny",
            {"text_pairs": CAPTIONS, "stream": StreamConfig(shards=["a.tar"])},
            r"`training\.stream\.shards` is given",
        ),
        ("clippo-tiny", {"text_pairs": CAPTIONS, "batch_size": 2}, "is 0 pairs of texts"),
    ],
)
def test_pairs_of_texts_are_for_a_clippo_without_a_stream(model, values, found):
    check_learner(load_config("models", "clippo-tiny"), training(text_pairs=CAPTIONS), True, 64)
    off = TextPairsConfig("captions", 0.0)
    check_learner(load_config("models", "rn-tiny"), training(text_pairs=off), False, 32)
    with pytest.raises(UserError, match=found):
        check_learner(load_config("models", model), training(**values), False, 64)


def test_texts_are_cut_for_a_clippo_only():
    config = load_config("models", "clippo-tiny", ["cut_texts=true"])
    check_learner(config, training(), False, 64)
    drawn = run("clippo-tiny")
    drawn.model = config
    assert build_learner(drawn, dataset(64)).texts.cut
    with pytest.raises(UserError, match="key `cut_texts` is true"):
        check_learner(load_config("models", "rn-tiny", ["cut_texts=true"]), training(), False, 32)


def test_a_model_of_our_own_towers_is_checked_without_torch():
    code = (
        "import sys; from gen.config import load_config; from gen.models.checks import check_model;"
        "[check_model(load_config('models', name), 32) for name in ('rn-tiny', 'vit-tiny')];"
        "print(*sys.modules)"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert not {"torch", "timm", "open_clip"} & set(process.stdout.split())


@pytest.mark.parametrize("name", MODELS)
def test_every_model_of_ours_passes_its_checks_at_its_size(name):
    config = load_config("models", name)
    check_learner(config, training(), False, pixels_of(config))
    with pytest.raises(UserError, match="embed_dim"):
        check_learner(dataclasses.replace(config, embed_dim=0), training(), False, 224)
