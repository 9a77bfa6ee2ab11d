"""The analyses of one run, from its weights to `analysis/*.parquet`."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from analysis.cells import cell_means
from analysis.similarity import domain_similarity
from gen.datasets.samples import Dataset
from gen.datasets.shards import read_images
from gen.device import pick_device
from gen.models.trained import load_trained
from gen.runs import Run, timed_stage
from splits.files import replacing


def analyze_run(run: Run, dataset: Dataset) -> None:
    """Compare the domains of the test split with each other, layer by layer.

    Only classes with two or more test images in every domain are compared; `n` says how many.
    """
    with timed_stage(run.folder, "analyze"):
        model = load_trained(run, dataset).model
        classes = dataset.comparable_classes
        samples = compared_samples(dataset.samples, classes)
        images = read_images(dataset.folder, samples, dataset.pixels)
        cells = cell_means(model, images, samples, dataset.domains, classes, pick_device())
        with replacing(run.similarity) as temporary:
            domain_similarity(cells, run.seed).write_parquet(temporary)


def compared_samples(samples: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    """Test samples of these classes; `class_id` becomes the position among them."""
    compared = samples.filter(pl.col("split") == "test", pl.col("class_name").is_in(classes))
    position = pl.col("class_name").replace_strict(classes, range(len(classes)))
    return compared.with_columns(class_id=position.cast(pl.Int64))
