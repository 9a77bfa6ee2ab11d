"""Zero-shot classification over all classes, with an ensemble of prompts.

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
from torch.nn.functional import normalize

from gen.datasets.captions import prompts
from gen.evaluation.embed import embed_images, embed_texts
from gen.models.vocabulary import Vocabulary
from gen.schema import CaptionStyle

if TYPE_CHECKING:
    from open_clip import CLIP

TOP = 5


def class_embeddings(
    model: CLIP,
    classes: Sequence[str],
    style: CaptionStyle,
    vocabulary: Vocabulary,
    device: torch.device,
) -> torch.Tensor:
    """One embedding per class: the normalised mean of its prompts' normalised embeddings.

    (Radford et al. 2021, Section 3.1.4.)

    Returns:
        float32, shape [C, E].
    """
    texts = [prompts(name, style) for name in classes]
    tokens = vocabulary.encode([text for group in texts for text in group])
    embeddings = embed_texts(model, tokens, device)
    return normalize(embeddings.unflatten(0, (len(texts), -1)).mean(dim=1), dim=-1)


def predict(
    model: CLIP,
    images: np.ndarray,
    samples: pl.DataFrame,
    classes: Sequence[str],
    style: CaptionStyle,
    vocabulary: Vocabulary,
    device: torch.device,
) -> pl.DataFrame:
    """The five best classes of every image.

    Args:
        model: a trained CLIP model.
        images: uint8, shape [N, H, W, 3].
        samples: their rows of the sample table.
        classes: class names, in the order of their ids.
        style: patterns of the prompts, which are those of the captions.
        vocabulary: the model's vocabulary.
        device: where to compute.

    Returns:
        `id`, `split`, `domain`, `class_name`, `label`, `top5` (class ids, best first) and
        `scores` (their cosines).
    """
    heads = class_embeddings(model, classes, style, vocabulary, device)
    cosines = embed_images(model, images, device) @ heads.T
    best = cosines.topk(min(TOP, len(classes)), dim=1)
    return samples.select("id", "split", "domain", "class_name", label="class_id").with_columns(
        pl.Series("top5", best.indices.numpy().astype(np.int64).tolist()),
        pl.Series("scores", best.values.numpy().astype(np.float32).tolist()),
    )
