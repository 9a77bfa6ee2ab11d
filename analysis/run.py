"""The analyses of one run, from its weights to `analysis/*.parquet`."""

from __future__ import annotations

import polars as pl

from analysis.cells import cell_means
from analysis.similarity import domain_similarity
from gen.datasets.samples import Dataset
from gen.datasets.shards import read_images
from gen.device import pick_device
from gen.models.trained import dataset_vocabulary, load_trained
from gen.runs import Run, timed_stage
from splits.files import replacing


def analyze_run(run: Run, dataset: Dataset) -> None:
    """Compare the domains of the test split with each other, layer by layer."""
    with timed_stage(run.folder, "analyze"):
        model = load_trained(run, dataset, dataset_vocabulary(dataset))
        samples = dataset.samples.filter(pl.col("split") == "test")
        images = read_images(dataset.folder, samples)
        cells = cell_means(model, images, samples, dataset.domains, dataset.classes, pick_device())
        with replacing(run.similarity) as temporary:
            domain_similarity(cells, run.seed).write_parquet(temporary)
