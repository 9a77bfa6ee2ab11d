"""The analyses of one run, from its weights to `analysis/*.parquet`."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from analysis.cells import cell_means
from analysis.probe_features import image_batches, site_activations
from analysis.probe_images import probe_pool
from analysis.probes import Activations, ProbePlan, linear_probes
from analysis.similarity import domain_similarity
from gen.datasets.samples import Dataset
from gen.device import pick_device
from gen.models.trained import Learner, load_trained
from gen.progress import progress
from gen.runs import Run, timed_stage
from splits.files import replacing


def analyze_run(run: Run, dataset: Dataset) -> None:
    """Compare the domains with each other, layer by layer; fit probes where the study asks.

    Only classes with two or more test images in every domain are compared; `n` says how many.
    """
    with timed_stage(run.folder, "analyze"):
        learner = load_trained(run, dataset)
        tables = {"similarity": _similarity}
        if run.evaluation.probes:
            tables["probes"] = _probes
        for name, table_of in tables.items():
            with replacing(run.analysis_table(name)) as temporary:
                table_of(learner, run, dataset).write_parquet(temporary)


def compared_samples(samples: pl.DataFrame, classes: Sequence[str]) -> pl.DataFrame:
    """Test samples of these classes; `class_id` becomes the position among them."""
    compared = samples.filter(pl.col("split") == "test", pl.col("class_name").is_in(classes))
    position = pl.col("class_name").replace_strict(classes, range(len(classes)))
    return compared.with_columns(class_id=position.cast(pl.Int64))


def _similarity(learner: Learner, run: Run, dataset: Dataset) -> pl.DataFrame:
    classes = dataset.comparable_classes
    samples = compared_samples(dataset.samples, classes)
    device = pick_device()
    batches = image_batches(dataset.folder, samples, learner.pixels, device)
    cells = cell_means(learner, batches, samples, dataset.domains, classes, device)
    return domain_similarity(cells, run.seed)


def _probes(learner: Learner, run: Run, dataset: Dataset) -> pl.DataFrame:
    asked = run.evaluation
    plan = ProbePlan(
        run.test_domains,
        dataset.natural,
        asked.shots,
        asked.probe_seeds,
        run.draws,
        len(dataset.classes),
    )
    pool = probe_pool(dataset.samples, plan.domains, asked.probe_images)
    is_tested = (pl.col("split") == "test") & pl.col("domain").is_in(plan.domains)
    tested = dataset.samples.filter(is_tested)
    with progress(pool.height + tested.height, "activations", "images") as bar:
        shown, asked_of = (
            Activations(rows, site_activations(learner, dataset.folder, rows, pick_device(), bar))
            for rows in (pool, tested)
        )
    with progress(plan.probes_per_site * len(shown.sites), "probes", "probes") as bar:
        return linear_probes(shown, asked_of, plan, bar)
