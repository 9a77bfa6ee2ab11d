"""A scenes dataset as a model embeds it: what every analysis of binding starts from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from analysis.binding.embedded import EmbeddedScenes
from analysis.probe_features import image_batches
from gen.datasets.samples import Dataset
from gen.datasets.scenes.stored import scenes_of, stored_scenes, stored_world
from gen.evaluation.embed import embed_batches, embed_texts
from gen.models.trained import Learner
from gen.scenes.space import ConceptSpace, single_scenes
from gen.scenes.swaps import swapped
from gen.scenes.wording import scene_caption
from splits.errors import UserError

SINGLE = "test"
SEVERAL = ("test_scenes", "test_mixed")
"""splits of a scenes dataset: one object in an image, and several"""


def sizes_of(dataset: Dataset) -> list[int]:
    """Numbers of objects, two or more, that test scenes of a dataset have.

    Raises:
        UserError: all its test scenes have one object.
    """
    table = stored_scenes(dataset).filter(pl.col("split").is_in(SEVERAL))
    sizes = table["objects"].list.len().unique().sort().to_list()
    if not sizes:
        raise UserError(
            "no test scene has several objects, so there is nothing to bind",
            expected="two objects or more in some test scenes",
            where=f"dataset {dataset.name}",
            fix="numbers of scenes of 1, 2, … objects in key `test`, such as test=[288,800]",
        )
    return sizes


def tested_images(dataset: Dataset, sizes: Sequence[int]) -> int:
    """How many images `embed_scenes` reads for all these numbers of objects."""
    table = stored_scenes(dataset)
    counts = table.filter(pl.col("split").is_in(SEVERAL))["objects"].list.len()
    singles = table.filter(split=SINGLE).height
    return int(counts.is_in(list(sizes)).sum()) + len(sizes) * singles


def embed_scenes(
    learner: Learner,
    dataset: Dataset,
    objects: int,
    device: torch.device,
    bar: tqdm,
    *,
    trained_here: bool,
) -> EmbeddedScenes:
    """The test scenes of one number of objects, and those of one object, as a model embeds them.

    Args:
        learner: the model; of a classifier there are no embeddings of captions, which binding is
            asked by.
        dataset: of scenes.
        objects: in a scene.
        device: where to compute.
        bar: is moved on by every image.
        trained_here: whether the model was trained on this dataset's objects; else the split says
            nothing of what it has seen.
    """
    space, split = stored_world(dataset)
    table = dataset.samples.hstack(stored_scenes(dataset).select("objects"))
    several = table.filter(
        pl.col("split").is_in(SEVERAL) & (pl.col("objects").list.len() == objects)
    )
    singles = table.filter(split=SINGLE)
    scenes = scenes_of(several)
    shown = _images(learner, dataset, pl.concat([several, singles]), device, bar)
    captions = [scene_caption(space, scene) for scene in scenes]
    others = [scene_caption(space, scene) for scene in swapped(space, scenes, 0)]
    alone = [scene_caption(space, scene) for scene in single_scenes(space)]
    return EmbeddedScenes(
        space,
        split if trained_here else None,
        scenes,
        shown[: len(scenes)],
        _texts(learner, captions, device),
        _texts(learner, others, device),
        _means(space, scenes_of(singles)[:, 0], shown[len(scenes) :]),
        _texts(learner, alone, device),
    )


def _images(
    learner: Learner, dataset: Dataset, rows: pl.DataFrame, device: torch.device, bar: tqdm
) -> NDArray[np.float32]:
    """[n, d] normalised embeddings of the images of samples."""
    parts: list[torch.Tensor] = []

    def keep(features: torch.Tensor) -> None:
        parts.append(torch.nn.functional.normalize(features, dim=-1).cpu())
        bar.update(len(features))

    embed_batches(
        learner, image_batches(dataset.folder, rows, learner.pixels, device), device, keep
    )
    return torch.cat(parts).numpy()


def _texts(learner: Learner, texts: Sequence[str], device: torch.device) -> NDArray[np.float32]:
    """[n, d] normalised embeddings; a text that stands several times is embedded once."""
    distinct = list(dict.fromkeys(texts))
    place = {text: row for row, text in enumerate(distinct)}
    return embed_texts(learner, distinct, device).numpy()[[place[text] for text in texts]]


def _means(
    space: ConceptSpace, shown: NDArray[np.int64], embeddings: NDArray[np.float32]
) -> NDArray[np.float32]:
    """[objects, d] mean embedding of an object's images, of length 1; none if one has no image."""
    sums = np.zeros((space.objects, embeddings.shape[1]), dtype=np.float64)
    np.add.at(sums, shown, embeddings)
    if len(np.unique(shown)) < space.objects:
        return np.empty((0, embeddings.shape[1]), dtype=np.float32)
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.asarray(sums / np.maximum(lengths, 1e-30), dtype=np.float32)
