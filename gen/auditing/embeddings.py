"""Twins in the eyes of a trained model: test images whose nearest training image is near."""

from __future__ import annotations

import numpy as np
import polars as pl

from gen.datasets.samples import Dataset
from gen.progress import progress
from gen.runs import Run
from splits.errors import UserError
from splits.near_duplicates import centred, nearest

IMAGES_AT_A_TIME = 2_000


def find_twins(run: Run, dataset: Dataset, cosine: float) -> tuple[pl.DataFrame, int]:
    """Test images whose nearest training image, as a trained model sees it, is near.

    Args:
        run: a trained run.
        dataset: all its images are embedded, also those that the run did not train on.
        cosine: of centred embeddings, from which two images are near.

    Returns:
        One row per such test image, the nearest first: `a` is the training image, `b` the test
        image; and the number of test images.

    Raises:
        UserError: the run is not trained.
    """
    if not run.trained:
        raise UserError(f"run {run.name} is not trained", where=str(run.folder))
    samples = dataset.samples
    train = samples.filter(pl.col("split") == "train")
    test = samples.filter(pl.col("split") != "train")
    keys, queries = _embeddings(run, dataset, [train, test])
    place, value = nearest(*centred(queries, keys))
    sides = {"a": train[place], "b": test}
    columns = {"id": "id", "split": "split", "domain": "domain", "class": "class_name"}
    columns |= {"phash": "phash"}
    twins = pl.DataFrame(
        {
            f"{name}_{side}": table[column]
            for side, table in sides.items()
            for name, column in columns.items()
        }
        | {"kind": ["embedding"] * test.height, "cosine": value.astype(np.float64)}
    )
    return twins.filter(pl.col("cosine") >= cosine).sort("cosine", descending=True), test.height


def _embeddings(run: Run, dataset: Dataset, tables: list[pl.DataFrame]) -> list[np.ndarray]:
    """Image embeddings of the rows of each table, float32 of shape [N, E], each of length 1."""
    from gen.datasets.shards import read_images
    from gen.device import pick_device
    from gen.evaluation.embed import embed_images
    from gen.models.trained import load_trained

    learner, device = load_trained(run, dataset), pick_device()
    embedded = []
    with progress(sum(table.height for table in tables), "embedding", "images") as bar:
        for table in tables:
            parts = []
            for rows in table.iter_slices(IMAGES_AT_A_TIME):
                images = read_images(dataset.folder, rows, learner.pixels)
                parts.append(embed_images(learner, images, device).numpy())
                bar.update(rows.height)
            embedded.append(np.concatenate(parts))
    return embedded
