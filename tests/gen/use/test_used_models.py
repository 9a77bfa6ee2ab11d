"""A model is told from every other one, wherever it comes from."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from planted_photos import CPU, RED, colour_model, photo

from gen.config import load_config
from gen.models.classifier import build_classifier
from gen.models.clippo import build_clippo
from gen.models.export import CLIPPO_WEIGHTS, export_clippo
from gen.models.rendering import MIN_PIXELS, Renderer
from gen.models.trained import Learner
from gen.runs import file_sha256
from gen.schema import PretrainedConfig
from gen.use.models import UsedModel, pretrained_model, trained_model
from gen.use.prediction import predict_photos
from gen.use.wording import embed_ensembles
from splits.errors import UserError

SMALL = ["vision.width=16", "vision.head_width=8", "vision.layers=[1]"]


def test_an_exported_clippo_is_opened_with_what_draws_its_texts(tmp_path):
    config = load_config("models", "clippo-tiny", SMALL)
    clippo = build_clippo(config, MIN_PIXELS, 0, bias=False)
    export_clippo(clippo, config, MIN_PIXELS, tmp_path)
    model = pretrained_model(PretrainedConfig(f"local-dir:{tmp_path}"))
    assert isinstance(model.learner.texts, Renderer)
    assert model.learner.checkpoint == file_sha256(tmp_path / CLIPPO_WEIGHTS)
    texts = model.learner.texts.encode(["cat", "dog"])
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(clippo.eval().encode_text(texts), dim=1)
    assert torch.allclose(embed_ensembles(model, [["cat"], ["dog"]], CPU), expected, atol=1e-6)


def test_a_run_that_is_not_trained_is_named_with_the_command(tmp_path):
    run = SimpleNamespace(pretrained=None, trained=False, name="a-s0-1", folder=tmp_path)
    with pytest.raises(UserError, match="a-s0-1 is not trained") as told:
        trained_model(run, None, "demo")
    assert told.value.fix == "clipgen train demo --run a-s0-1"


def test_all_that_changes_an_embedding_is_in_the_key_and_the_name_is_not():
    one, other = colour_model(), colour_model()
    assert one.image_key == other.image_key
    renamed = UsedModel("other", one.learner, one.source)
    assert renamed.image_key == one.image_key
    assert colour_model("second").image_key != one.image_key


def test_a_classifiers_probabilities_are_its_own(tmp_path):
    config = load_config("models", "classifier-rn-tiny", ["vision.width=4", "vision.head_width=16"])
    classifier = build_classifier(config, 32, 3, 0)
    model = UsedModel("x", Learner(classifier, None, pixels=32), {})
    path = photo(tmp_path / "a.png", RED, size=(32, 32))
    found = predict_photos(model, [path], ["a", "b", "c"], None, CPU, top=3)
    image = torch.tensor(RED).float().view(1, 3, 1, 1).expand(1, 3, 32, 32) / 127.5 - 1
    with torch.inference_mode():
        expected = classifier.eval()(image)[0].softmax(dim=0).numpy()
    assert model.is_classifier
    assert found.table["label"].to_list() == [("a", "b", "c")[i] for i in np.argsort(-expected)]
    assert np.allclose(found.table["probability"], np.sort(expected)[::-1], rtol=1e-4)
