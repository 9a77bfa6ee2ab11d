"""The stages of a run that this room does: train, then evaluate."""

from __future__ import annotations

import time

import polars as pl
from omegaconf import OmegaConf

from gen.datasets.samples import Dataset
from gen.datasets.shards import read_images
from gen.device import describe_device, pick_device, pick_precision
from gen.evaluation.score import score
from gen.evaluation.zero_shot import predict
from gen.models.trained import build_model, load_trained, run_vocabulary
from gen.runs import Run, file_sha256, identity, provenance, read_record, timed_stage, update_record
from gen.training.loop import train
from gen.training.metrics_log import read_metrics
from gen.training.pairs import load_pairs
from gen.training.schedule import total_samples
from splits.files import replacing, write_text


def train_run(run: Run, dataset: Dataset, base: Dataset | None = None) -> None:
    """Train a run's model, or go on where it stopped; nothing to do where it is trained.

    Args:
        run: to train.
        dataset: of its mixture.
        base: the image–caption dataset that the mixture includes.
    """
    if not run.final_weights.is_file():
        _train(run, dataset, base)
    if "checkpoint" not in read_record(run.folder):
        rates = [row["samples_per_second"] for row in read_metrics(run.folder)]
        update_record(
            run.folder,
            samples_seen=total_samples(run.training),
            samples_per_second=pl.Series(rates).median(),
            checkpoint=file_sha256(run.final_weights),
        )


def _train(run: Run, dataset: Dataset, base: Dataset | None) -> None:
    device = pick_device()
    precision, reason = pick_precision(run.training.precision, device)
    _describe(run, describe_device(device), f"{precision.name} ({reason})")
    with timed_stage(run.folder, "train"):
        vocabulary = run_vocabulary(run, dataset)
        pairs = load_pairs(dataset, run.mixture, vocabulary, base)
        model = build_model(run, dataset, vocabulary)
        train(
            model,
            pairs,
            run.training,
            run.seed,
            run.folder,
            device=device,
            precision=precision,
        )


def evaluate_run(run: Run, dataset: Dataset) -> None:
    """Predict every test sample, score every domain; writes the two tables of the run."""
    (run.folder / "DONE").unlink(missing_ok=True)  # what it vouched for is about to change
    update_record(run.folder, evaluated="")
    with timed_stage(run.folder, "evaluate"):
        device = pick_device()
        vocabulary = run_vocabulary(run, dataset)
        model = load_trained(run, dataset, vocabulary)
        samples = dataset.samples.filter(pl.col("split") != "train")
        images = read_images(dataset.folder, samples, dataset.pixels)
        style = dataset.caption_style
        predictions = predict(model, images, samples, dataset.classes, style, vocabulary, device)
        predictions = predictions.with_columns(checkpoint=pl.lit(file_sha256(run.final_weights)))
        scores = score(predictions, run.draws, len(dataset.classes))
        for name, table in (("predictions", predictions), ("evaluation", scores)):
            with replacing(run.folder / f"{name}.parquet") as temporary:
                table.write_parquet(temporary)
    update_record(run.folder, evaluated=run.results_key)


def _describe(run: Run, device: str, precision: str) -> None:
    """Write what the run is (config.yaml) and how it was made (run.json)."""
    content = identity(run.model, run.training, run.seed, run.pixels, run.mixture)
    write_text(run.folder / "config.yaml", OmegaConf.to_yaml(content))
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    before = read_record(run.folder)
    update_record(
        run.folder,
        run=run.name,
        setting=run.setting,
        test_domains=run.test_domains,
        draws=sorted(run.draws),
        seed=run.seed,
        mixture_sha256=run.mixture.sha256,
        device=device,
        precision=precision,
        started=before.get("started", now),
        resumed=before.get("resumed", []) + [now] * bool(before),
        **provenance(),
    )
