"""Scores of images over all classes: zero-shot with an ensemble of prompts, or a classifier's own.

The prompts are the caption patterns with the generic nouns: they name no domain. A prompt that
names the test domain would use a word that some mixtures never showed, and test the word instead
of the picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import torch
from torch.nn.functional import log_softmax, normalize

from gen.datasets.captions import prompts
from gen.evaluation.embed import each_batch, embed_images, embed_texts
from gen.models.classifier import Classifier
from gen.models.texts import Texts
from gen.models.trained import Learner
from gen.schema import CaptionStyle

if TYPE_CHECKING:
    from open_clip import CLIP

    from gen.models.clippo import Clippo

TOP = 5


def class_embeddings(
    model: CLIP | Clippo,
    classes: Sequence[str],
    style: CaptionStyle,
    texts: Texts,
    device: torch.device,
) -> torch.Tensor:
    """One embedding per class: the normalised mean of its prompts' normalised embeddings.

    (Radford et al. 2021, Section 3.1.4.)

    Returns:
        float32, shape [C, E].
    """
    ensembles = [prompts(name, style) for name in classes]
    encoded = texts.encode([text for ensemble in ensembles for text in ensemble])
    embeddings = embed_texts(model, encoded, device)
    return normalize(embeddings.unflatten(0, (len(ensembles), -1)).mean(dim=1), dim=-1)


def class_scores(
    learner: Learner,
    images: np.ndarray,
    classes: Sequence[str],
    style: CaptionStyle,
    device: torch.device,
) -> torch.Tensor:
    """How well every class fits every image.

    Args:
        learner: a trained model and the encoding of its texts.
        images: uint8, shape [N, H, W, 3].
        classes: class names, in the order of their ids.
        style: patterns of the prompts, which are those of the captions.
        device: where to compute.

    Returns:
        float32, shape [N, C], on the CPU: cosines between image and class embeddings, or the
        log-probabilities of a classifier.

    Raises:
        ValueError: a classifier was trained on another number of classes, or the texts of another
            model have no encoding.
    """
    model, texts = learner.model, learner.texts
    if isinstance(model, Classifier):
        return _log_probabilities(model, images, len(classes), device)
    if texts is None:
        raise ValueError("the model embeds texts, and nothing encodes them")
    heads = class_embeddings(model, classes, style, texts, device)
    return embed_images(model, images, device) @ heads.T


def predict(
    learner: Learner,
    images: np.ndarray,
    samples: pl.DataFrame,
    classes: Sequence[str],
    style: CaptionStyle,
    device: torch.device,
) -> pl.DataFrame:
    """The five best classes of every image.

    Args:
        samples: the images' rows of the sample table; the other arguments are those of
            `class_scores`.

    Returns:
        `id`, `split`, `domain`, `class_name`, `label`, `top5` (class ids, best first) and
        `scores` (those of `class_scores`).
    """
    scores = class_scores(learner, images, classes, style, device)
    best = scores.topk(min(TOP, len(classes)), dim=1)
    return samples.select("id", "split", "domain", "class_name", label="class_id").with_columns(
        pl.Series("top5", best.indices.numpy().astype(np.int64).tolist()),
        pl.Series("scores", best.values.numpy().astype(np.float32).tolist()),
    )


def _log_probabilities(
    model: Classifier, images: np.ndarray, classes: int, device: torch.device
) -> torch.Tensor:
    if model.head.out_features != classes:
        raise ValueError(f"a classifier of {model.head.out_features} classes, {classes} asked for")
    parts: list[torch.Tensor] = []

    def score(features: torch.Tensor) -> None:
        parts.append(log_softmax(model.head(features), dim=-1).cpu())

    each_batch(model, images, device, score)
    return torch.cat(parts)
