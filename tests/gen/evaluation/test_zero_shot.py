"""A prediction is the class whose prompts are nearest to the image, or the most probable one."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from gen.config import load_config
from gen.datasets.captions import prompts
from gen.evaluation.embed import BATCH, embed_images, embed_texts
from gen.evaluation.zero_shot import class_embeddings, class_scores, predict
from gen.models.classifier import build_classifier
from gen.models.clip import build_clip, normalise
from gen.models.clippo import build_clippo
from gen.models.rendering import Renderer
from gen.models.trained import Learner
from gen.models.vocabulary import build_vocabulary
from gen.schema import CaptionStyle

CLASSES = ("axe", "bed", "cat", "dog", "ear", "fox")
STYLE = CaptionStyle.short
VOCABULARY = build_vocabulary([text for name in CLASSES for text in prompts(name, STYLE)])
WORDS = {int(row[1]): i for i, row in enumerate(VOCABULARY.encode(CLASSES))}
"""class of each class name's token"""

CPU = torch.device("cpu")
UNITS = 8


class Planted(nn.Module):
    """Images embed as the colours of their pixels, a class's prompts near an axis of its own."""

    def encode_image(self, images):
        return images.mean(dim=3).flatten(1)[:, :UNITS] + 1

    def encode_text(self, tokens):
        axis = [next(WORDS[t] for t in row if t in WORDS) for row in tokens.tolist()]
        noise = torch.sin(tokens.double() @ torch.arange(1.0, tokens.shape[1] + 1).double())
        features = torch.eye(UNITS)[axis]
        features[:, -1] += 0.3 * noise.float()
        return features * (2 + noise.float())[:, None]  # of unequal lengths


def planted():
    return Learner(Planted(), VOCABULARY)


def images(axes):
    """Images that `Planted` embeds most along each axis, second most along the next, and so on."""
    found = np.zeros((len(axes), UNITS, 4, 3), dtype=np.uint8)
    for image, axis in zip(found, axes, strict=True):
        for rank in range(len(CLASSES)):
            image[(axis + rank) % len(CLASSES), :, 0] = 250 - 40 * rank
    return found


def table(labels):
    rows = [(f"id{i}", "test", "real", CLASSES[k], k, "more") for i, k in enumerate(labels)]
    columns = ["id", "split", "domain", "class_name", "class_id", "caption"]
    return pl.DataFrame(rows, columns, orient="row")


def test_planted_embeddings_give_the_planted_predictions():
    axes = [3, 0, 5, 2, 2, 1]
    found = predict(planted(), images(axes), table([0] * 6), CLASSES, STYLE, CPU)
    expected = [[(axis + rank) % 6 for rank in range(5)] for axis in axes]
    assert found["top5"].to_list() == expected


def test_predictions_have_the_promised_columns_in_the_order_of_the_samples():
    samples = table([4, 1, 0])
    found = predict(planted(), images([4, 1, 0]), samples, CLASSES, STYLE, CPU)
    assert found.columns == ["id", "split", "domain", "class_name", "label", "top5", "scores"]
    assert found["id"].to_list() == ["id0", "id1", "id2"]
    assert found["label"].to_list() == [4, 1, 0]
    assert (found["top5"].list.first() == found["label"]).all()


def test_scores_are_cosines_best_first():
    shown = images([4, 1])
    found = predict(planted(), shown, table([4, 1]), CLASSES, STYLE, CPU)
    heads = class_embeddings(Planted(), CLASSES, STYLE, VOCABULARY, CPU)
    cosines = np.sort((embed_images(Planted(), shown, CPU) @ heads.T).numpy())[:, :0:-1]
    assert np.allclose(np.stack(found["scores"].to_list()), cosines, atol=1e-6)
    assert cosines.max() <= 1


def test_with_few_classes_all_are_ranked():
    found = predict(planted(), images([1]), table([1]), CLASSES[:3], STYLE, CPU)
    assert sorted(found["top5"][0]) == [0, 1, 2]


def test_a_class_embeds_as_the_normalised_mean_of_its_normalised_prompts():
    model = Planted()
    heads = class_embeddings(model, CLASSES, STYLE, VOCABULARY, CPU)
    for name, head in zip(CLASSES, heads, strict=True):
        texts = model.encode_text(VOCABULARY.encode(prompts(name, STYLE))).numpy()
        mean = (texts / np.linalg.norm(texts, axis=1, keepdims=True)).mean(axis=0)
        assert np.allclose(head, mean / np.linalg.norm(mean), atol=1e-6)
        plain = texts.mean(axis=0)  # another vector, as the prompts are of unequal lengths
        assert not np.allclose(head, plain / np.linalg.norm(plain), atol=1e-4)


@pytest.fixture(scope="module")
def model():
    return build_clip(load_config("models", "rn-tiny"), VOCABULARY, 32, seed=0)


def test_embeddings_are_of_length_one_and_do_not_depend_on_the_batch(model):
    shown = np.random.default_rng(0).integers(256, size=(BATCH + 2, 32, 32, 3), dtype=np.uint8)
    together = embed_images(model, shown, CPU)
    assert torch.allclose(together.norm(dim=1), torch.ones(BATCH + 2))
    for part in (slice(0, 1), slice(BATCH - 1, BATCH + 2)):
        assert torch.allclose(embed_images(model, shown[part], CPU), together[part], atol=1e-5)
    texts = embed_texts(model, VOCABULARY.encode(prompts("cat", STYLE)), CPU)
    assert torch.allclose(texts.norm(dim=1), torch.ones(len(texts)))


def test_embedding_leaves_the_weights_and_running_means_as_they_were(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model.train()
    embed_images(model, np.zeros((3, 32, 32, 3), dtype=np.uint8), CPU)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_clippo_is_scored_by_its_rendered_prompts():
    renderer = Renderer(96, "unifont")
    config = load_config("models", "clippo-tiny")
    clippo = build_clippo(config, 96, seed=0, bias=False).eval()
    shown = np.random.default_rng(3).integers(256, size=(2, 96, 96, 3), dtype=np.uint8)
    scores = class_scores(Learner(clippo, renderer), shown, CLASSES[:2], STYLE, CPU)
    with torch.inference_mode():
        image = clippo.encode_image(normalise(torch.from_numpy(shown[1:]).permute(0, 3, 1, 2)))[0]
        texts = clippo.encode_text(renderer.encode(prompts(CLASSES[0], STYLE))).numpy()
    head = (texts / np.linalg.norm(texts, axis=1, keepdims=True)).mean(axis=0)
    cosine = image.numpy() @ head / np.linalg.norm(image) / np.linalg.norm(head)
    assert scores.shape == (2, 2)
    assert scores[1, 0].item() == pytest.approx(cosine, abs=1e-5)


@pytest.fixture(scope="module")
def classifier():
    config = load_config("models", "classifier-rn-tiny")
    return Learner(build_classifier(config, 32, len(CLASSES), seed=0), None)


def test_scores_of_a_classifier_are_its_log_probabilities(classifier):
    shown = np.random.default_rng(1).integers(256, size=(BATCH + 3, 32, 32, 3), dtype=np.uint8)
    scores = class_scores(classifier, shown, CLASSES, STYLE, CPU)
    assert scores.shape == (BATCH + 3, len(CLASSES))
    assert torch.allclose(scores.exp().sum(dim=1), torch.ones(BATCH + 3))
    with torch.inference_mode():
        logits = classifier.model(normalise(torch.from_numpy(shown[-3:]).permute(0, 3, 1, 2)))
    differences = scores[-3:] - logits  # of one image: all by the same constant
    assert torch.allclose(differences, differences[:, :1].expand(-1, len(CLASSES)), atol=1e-4)


def test_a_classifier_predicts_its_most_probable_classes(classifier):
    shown = np.random.default_rng(2).integers(256, size=(4, 32, 32, 3), dtype=np.uint8)
    found = predict(classifier, shown, table([4, 1, 0, 2]), CLASSES, STYLE, CPU)
    scores = class_scores(classifier, shown, CLASSES, STYLE, CPU)
    assert found["top5"].to_list() == scores.argsort(dim=1, descending=True)[:, :5].tolist()
    assert found["label"].to_list() == [4, 1, 0, 2]


def test_a_classifier_of_other_classes_is_an_error(classifier):
    shown = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="a classifier of 6 classes, 5 asked for"):
        class_scores(classifier, shown, CLASSES[:5], STYLE, CPU)
