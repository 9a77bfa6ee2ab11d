"""Cosines of the user's images and texts, group by group."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from gen.evaluation.embed import batch_size, embed_images, embed_texts
from gen.progress import progress
from gen.use.models import UsedModel
from gen.use.photos import Skipped, read_batches, shown
from splits.errors import UserError

NAMED = 10
"""unreadable images that a message names"""


def group_similarities(
    model: UsedModel,
    images: Sequence[Sequence[Path]],
    texts: Sequence[Sequence[str]],
    device: torch.device,
) -> list[np.ndarray]:
    """Cosines of the images and the texts of every group.

    Every image and every text is embedded once, in however many groups it stands.

    Args:
        model: reads images and texts.
        images: of every group its files.
        texts: of every group its texts.
        device: where to compute.

    Returns:
        Of every group float32 [images, texts].

    Raises:
        UserError: an image cannot be read, or a text not be encoded.
    """
    paths = list(dict.fromkeys(path for group in images for path in group))
    words = list(dict.fromkeys(text for group in texts for text in group))
    of_images = dict(zip(paths, _embedded(model, paths, device), strict=True))
    of_texts = dict(zip(words, embed_texts(model.learner, words, device).numpy(), strict=True))
    return [
        np.stack([of_images[path] for path in files]) @ np.stack([of_texts[t] for t in lines]).T
        for files, lines in zip(images, texts, strict=True)
    ]


def _embedded(model: UsedModel, paths: Sequence[Path], device: torch.device) -> np.ndarray:
    """Normalised embeddings of all images [N, E]."""
    learner, parts = model.learner, []
    skipped: list[Skipped] = []
    with progress(len(paths), "embedding", "images") as bar:
        for batch in read_batches(paths, learner.pixels, batch_size(learner.pixels), bar):
            skipped += batch.skipped
            if batch.places and not skipped:
                parts.append(embed_images(learner, batch.images, device).numpy())
    if skipped:
        lines = [f"  {shown(path)}: {reason}" for path, reason in skipped[:NAMED]]
        raise UserError(
            "\n".join([f"{len(skipped)} of {len(paths)} images could not be read", *lines]),
            expected="every image of the list: scores without some would be those of another list",
        )
    return np.concatenate(parts)
