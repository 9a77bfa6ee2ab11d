"""A prediction is the class whose prompts are nearest to the image, or the most probable one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from gen.config import load_config
from gen.datasets.captions import prompts
from gen.evaluation.embed import BATCH, batch_size, embed_batches, embed_images, embed_texts
from gen.evaluation.prompts import ANY_DOMAIN, Wording, all_sentences, sentences
from gen.evaluation.zero_shot import (
    class_embeddings,
    class_scores,
    image_features,
    logit_scale,
    predict,
)
from gen.models.classifier import build_classifier
from gen.models.clip import build_clip, normalise
from gen.models.clippo import build_clippo
from gen.models.rendering import Renderer
from gen.models.trained import Learner
from gen.models.vocabulary import build_vocabulary
from gen.schema import CaptionStyle, PromptSet
from splits.errors import UserError

CLASSES = ("axe", "bed", "cat", "dog", "ear", "fox")
STYLE = CaptionStyle.short
WORDING = Wording(STYLE, {"real": ("photo", "snapshot"), "sketch": ("sketch", "drawing")})
SETS = [PromptSet.domain_free, PromptSet.single, PromptSet.ensemble, PromptSet.domain]
VOCABULARY = build_vocabulary([t for kind in SETS for t in all_sentences(kind, CLASSES, WORDING)])
WORDS = {int(row[1]): i for i, row in enumerate(VOCABULARY.encode(CLASSES))}
"""class of each class name's token"""

CPU = torch.device("cpu")
UNITS = 8
SCALE = 20.0


class Planted(nn.Module):
    """Images embed as the colours of their pixels, a class's prompts near an axis of its own."""

    def __init__(self):
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(SCALE).log())
        self.texts_read = 0

    def encode_image(self, images):
        return images.mean(dim=3).flatten(1)[:, :UNITS] + 1

    def encode_text(self, tokens):
        self.texts_read += len(tokens)
        axis = [next(WORDS[t] for t in row if t in WORDS) for row in tokens.tolist()]
        noise = torch.sin(tokens.double() @ torch.arange(1.0, tokens.shape[1] + 1).double())
        features = torch.eye(UNITS)[axis]
        features[:, -1] += 0.3 * noise.float()
        return features * (2 + noise.float())[:, None]  # of unequal lengths


def planted():
    return Learner(Planted(), VOCABULARY)


def batches(images, size=BATCH):
    return torch.from_numpy(images).permute(0, 3, 1, 2).split(size)


def images(axes):
    """Images that `Planted` embeds most along each axis, second most along the next, and so on."""
    found = np.zeros((len(axes), UNITS, 4, 3), dtype=np.uint8)
    for image, axis in zip(found, axes, strict=True):
        for rank in range(len(CLASSES)):
            image[(axis + rank) % len(CLASSES), :, 0] = 250 - 40 * rank
    return found


def table(labels, domains=("real",)):
    rows = [
        (f"id{i}", "test", domains[i % len(domains)], CLASSES[k], k, "more")
        for i, k in enumerate(labels)
    ]
    columns = ["id", "split", "domain", "class_name", "class_id", "caption"]
    return pl.DataFrame(rows, columns, orient="row")


def heads_of(learner, kind=PromptSet.domain_free, classes=CLASSES):
    return class_embeddings(learner, [kind], classes, WORDING, CPU)[kind]


def predictions(axes, samples, classes=CLASSES, kind=PromptSet.domain_free):
    learner = planted()
    features = image_features(learner, batches(images(axes)), CPU)
    return predict(features, samples, heads_of(learner, kind, classes), logit_scale(learner))


def test_planted_embeddings_give_the_planted_predictions():
    axes = [3, 0, 5, 2, 2, 1]
    found = predictions(axes, table([0] * 6))
    expected = [[(axis + rank) % 6 for rank in range(5)] for axis in axes]
    assert found["top5"].to_list() == expected


def test_predictions_have_the_promised_columns_in_the_order_of_the_samples():
    found = predictions([4, 1, 0], table([4, 1, 0]))
    columns = "id split domain class_name label top5 scores confidence"
    assert " ".join(found.columns) == columns
    assert found["id"].to_list() == ["id0", "id1", "id2"]
    assert found["label"].to_list() == [4, 1, 0]
    assert (found["top5"].list.first() == found["label"]).all()
    assert found.schema["top5"] == pl.List(pl.Int64)
    assert found.schema["scores"] == pl.List(pl.Float32)
    assert found.schema["confidence"] == pl.Float32


def test_scores_are_cosines_best_first_and_confidence_is_their_softmax():
    learner, shown = planted(), images([4, 1])
    found = predictions([4, 1], table([4, 1]))
    cosines = (embed_images(learner, shown, CPU) @ heads_of(learner)[ANY_DOMAIN].T).numpy()
    best = np.sort(cosines)[:, :0:-1]
    assert np.allclose(np.stack(found["scores"].to_list()), best, atol=1e-6)
    assert best.max() <= 1
    odds = np.exp(SCALE * cosines.astype(float))
    assert np.allclose(found["confidence"], odds.max(axis=1) / odds.sum(axis=1), atol=1e-5)


def test_with_few_classes_all_are_ranked():
    found = predictions([1], table([1]), CLASSES[:3])
    assert sorted(found["top5"][0]) == [0, 1, 2]


@pytest.mark.parametrize("kind", SETS)
def test_a_class_embeds_as_the_normalised_mean_of_its_normalised_prompts(kind):
    model = Planted()
    for domain, heads in heads_of(Learner(model, VOCABULARY), kind).items():
        for name, head in zip(CLASSES, heads, strict=True):
            asked = VOCABULARY.encode(sentences(kind, name, WORDING, domain))
            texts = model.encode_text(asked).detach().numpy()
            mean = (texts / np.linalg.norm(texts, axis=1, keepdims=True)).mean(axis=0)
            assert np.allclose(head, mean / np.linalg.norm(mean), atol=1e-6)


def test_the_length_of_a_prompts_embedding_does_not_count():
    model = Planted()
    head = heads_of(Learner(model, VOCABULARY))[ANY_DOMAIN][0]
    plain = model.encode_text(VOCABULARY.encode(prompts(CLASSES[0], STYLE))).mean(dim=0)
    assert not torch.allclose(head, normalize(plain, dim=0), atol=1e-4)


def test_an_image_is_compared_with_the_prompts_of_its_own_domain():
    learner, axes = planted(), [3, 3, 5, 5]
    samples = table([3, 3, 5, 5], domains=("real", "sketch"))
    found = predictions(axes, samples, kind=PromptSet.domain)
    heads = heads_of(learner, PromptSet.domain)
    assert set(heads) == {"real", "sketch"}
    features = embed_images(learner, images(axes), CPU)
    expected = [
        float((feature @ heads[domain].T).max())
        for feature, domain in zip(features, samples["domain"], strict=True)
    ]
    first = found["scores"].list.first().to_numpy()
    assert np.allclose(first, expected, atol=1e-6)
    assert abs(first[0] - first[1]) > 1e-5  # the same image in another domain


def test_a_sentence_of_several_sets_is_embedded_once():
    learner = planted()
    class_embeddings(learner, SETS, CLASSES, WORDING, CPU)
    assert learner.model.texts_read == len(CLASSES) * 6 * (2 + 2 * 2)


def test_a_set_that_the_model_cannot_read_is_named():
    cut = build_vocabulary([text for name in CLASSES for text in prompts(name, STYLE)])
    with pytest.raises(UserError, match="prompt set `ensemble`: the text 'photo of a axe'") as info:
        class_embeddings(
            Learner(Planted(), cut),
            [PromptSet.ensemble, PromptSet.single],
            CLASSES,
            WORDING,
            CPU,
        )
    assert info.value.fix == "evaluation.prompts=[single]"


@pytest.fixture(scope="module")
def learner():
    return Learner(build_clip(load_config("models", "rn-tiny"), VOCABULARY, 32, seed=0), VOCABULARY)


def test_embeddings_are_of_length_one_and_do_not_depend_on_the_batch(learner):
    shown = np.random.default_rng(0).integers(256, size=(BATCH + 2, 32, 32, 3), dtype=np.uint8)
    together = embed_images(learner, shown, CPU)
    assert torch.allclose(together.norm(dim=1), torch.ones(BATCH + 2))
    for part in (slice(0, 1), slice(BATCH - 1, BATCH + 2)):
        assert torch.allclose(embed_images(learner, shown[part], CPU), together[part], atol=1e-5)
    texts = embed_texts(learner, prompts("cat", STYLE), CPU)
    assert torch.allclose(texts.norm(dim=1), torch.ones(len(texts)))
    assert torch.allclose(image_features(learner, batches(shown, 99), CPU), together, atol=1e-5)


def test_large_images_are_embedded_in_smaller_batches():
    assert batch_size(32) == batch_size(128) == BATCH
    assert batch_size(224) == 163
    assert batch_size(100_000) == 1


def test_an_image_enters_with_the_mean_and_deviation_of_the_model():
    mean, std = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
    shown = np.random.default_rng(4).integers(256, size=(3, 4, 4, 3), dtype=np.uint8)
    seen = []
    tower = Planted()
    tower.encode_image = lambda inputs: seen.append(inputs) or inputs.flatten(1)
    embed_batches(Learner(tower, None, mean=mean, std=std), batches(shown), CPU, lambda _: None)
    expected = (shown / 255 - mean) / std
    assert np.allclose(seen[0].permute(0, 2, 3, 1), expected, atol=1e-6)


def test_our_own_models_see_what_they_were_trained_on(learner):
    shown = np.random.default_rng(5).integers(256, size=(2, 32, 32, 3), dtype=np.uint8)
    with torch.inference_mode():
        inputs = normalise(torch.from_numpy(shown).permute(0, 3, 1, 2))
        expected = normalize(learner.model.eval().encode_image(inputs))
    assert torch.allclose(embed_images(learner, shown, CPU), expected, atol=1e-6)


def test_embedding_leaves_the_weights_and_running_means_as_they_were(learner):
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    learner.model.train()
    embed_images(learner, np.zeros((3, 32, 32, 3), dtype=np.uint8), CPU)
    after = learner.model.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in after.items())


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


def test_features_of_a_classifier_are_its_log_probabilities(classifier):
    shown = np.random.default_rng(1).integers(256, size=(9, 32, 32, 3), dtype=np.uint8)
    scores = image_features(classifier, batches(shown, 4), CPU)
    assert scores.shape == (9, len(CLASSES))
    assert torch.allclose(scores.exp().sum(dim=1), torch.ones(9))
    with torch.inference_mode():
        logits = classifier.model(normalise(torch.from_numpy(shown[-3:]).permute(0, 3, 1, 2)))
    differences = scores[-3:] - logits  # of one image: all by the same constant
    assert torch.allclose(differences, differences[:, :1].expand(-1, len(CLASSES)), atol=1e-4)


def test_a_classifier_predicts_its_most_probable_classes(classifier):
    shown = np.random.default_rng(2).integers(256, size=(4, 32, 32, 3), dtype=np.uint8)
    scores = image_features(classifier, batches(shown), CPU)
    found = predict(scores, table([4, 1, 0, 2]), None, logit_scale(classifier))
    assert found["top5"].to_list() == scores.argsort(dim=1, descending=True)[:, :5].tolist()
    assert found["label"].to_list() == [4, 1, 0, 2]
    assert np.allclose(found["confidence"], scores.exp().amax(dim=1), atol=1e-6)


def test_a_model_without_texts_embeds_none(classifier):
    with pytest.raises(ValueError, match="1 texts to embed"):
        embed_texts(classifier, ["a cat"], CPU)
    with pytest.raises(ValueError, match="1 texts to embed"):
        embed_texts(replace(classifier, texts=VOCABULARY), ["a cat"], CPU)
    with pytest.raises(ValueError, match="0 texts to embed"):
        embed_texts(planted(), [], CPU)
