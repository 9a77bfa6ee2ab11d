"""Zero-shot predictions on the user's images and labels.

Legend: N images, L labels, E embedding channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch

from gen.evaluation.embed import batch_size
from gen.evaluation.zero_shot import image_features, logit_scale
from gen.progress import progress
from gen.use.models import UsedModel
from gen.use.photos import Skipped, read_batches

COLUMNS = {"path": pl.String, "rank": pl.Int64, "label": pl.String, "probability": pl.Float64}


@dataclass(frozen=True)
class Predictions:
    """What a model says about images.

    Attributes:
        table: `path`, `rank` from 1, `label`, `probability`: the best labels of every file.
        skipped: files that could not be read.
    """

    table: pl.DataFrame
    skipped: list[Skipped]


def predict_photos(
    model: UsedModel,
    paths: Sequence[Path],
    labels: Sequence[str],
    heads: torch.Tensor | None,
    device: torch.device,
    *,
    top: int,
) -> Predictions:
    """The best labels of every image.

    A probability is the softmax over the labels of cosine × the model's logit scale; of a
    classifier that of its own classes.

    Args:
        model: CLIP, CLIPPO or classifier.
        paths: files of images.
        labels: L of them; of a classifier its classes.
        heads: embeddings of the labels [L, E]; None for a classifier.
        device: where to compute.
        top: labels of an image, at most.
    """
    learner, tables, skipped = model.learner, [pl.DataFrame(schema=COLUMNS)], []
    scale, size = logit_scale(learner), batch_size(learner.pixels)
    with progress(len(paths), "predicting", "images") as bar:
        for batch in read_batches(paths, learner.pixels, size, bar):
            skipped += batch.skipped
            if not batch.places:
                continue
            images = torch.from_numpy(batch.images).permute(0, 3, 1, 2)
            features = image_features(learner, [images], device)
            logits = features if heads is None else scale * features @ heads.T
            names = [str(paths[place]) for place in batch.places]
            tables.append(_best(names, logits.double().softmax(dim=1).numpy(), labels, top))
    return Predictions(pl.concat(tables), skipped)


def _best(
    names: Sequence[str], probabilities: np.ndarray, labels: Sequence[str], top: int
) -> pl.DataFrame:
    """Rows of the table from probabilities, shape [N, L]; of equal labels the first goes first."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
    count, kept = best.shape
    columns = {
        "path": np.repeat(np.asarray(names, object), kept),
        "rank": np.tile(np.arange(1, kept + 1), count),
        "label": np.asarray(labels, object)[best].ravel(),
        "probability": np.take_along_axis(probabilities, best, axis=1).ravel(),
    }
    return pl.DataFrame(columns, schema=COLUMNS)
