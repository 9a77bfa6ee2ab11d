"""The tables of a run's evaluation: what every kept checkpoint predicts, and how good that is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch
from tqdm import tqdm

from gen.datasets.samples import Dataset
from gen.evaluation.cells import cell_table
from gen.evaluation.embed import batch_size, embed_texts
from gen.evaluation.prompts import unreadable_captions, wording_of
from gen.evaluation.retrieval import retrieval_tables
from gen.evaluation.score import EVALUATION, score_predictions
from gen.evaluation.text_robustness import Prompts, text_robustness
from gen.evaluation.zero_shot import class_embeddings, image_features, logit_scale, predict
from gen.machine import available_memory
from gen.models.trained import Learner, load_trained
from gen.progress import progress
from gen.runs import Run
from gen.schema import HEAD, ImagePlace, PromptSet
from gen.training.checkpoint import milestones
from gen.training.images import Images, place_images
from gen.training.schedule import total_samples
from splits.errors import UserError

SHARE_OF_MEMORY = 0.25
"""of what is available, which decoded images may fill: other runs are evaluated at the same time"""
CAPTIONS = "captions"
"""stands for the prompt set of retrieval"""


class Checkpoint(NamedTuple):
    """Weights to evaluate: their file (None: the final ones), and the samples that they saw."""

    weights: Path | None
    samples_seen: int | None


def evaluation_tables(run: Run, dataset: Dataset, device: torch.device) -> dict[str, pl.DataFrame]:
    """Predict every test sample with every checkpoint, and score the predictions.

    Args:
        run: trained, or of a pretrained model.
        dataset: that it is tested on: all samples that are not of the split `train`.
        device: where to compute.

    Returns:
        By the names of their files (docs/formats.md): `predictions`, `evaluation`, `cells`, and
        where the study asks for them and the model reads texts `retrieval` and `text_robustness`.

    Raises:
        UserError: the model cannot read a prompt or a caption, or weights or images are damaged.
    """
    samples = dataset.samples.filter(pl.col("split") != "train")
    final = load_trained(run, dataset)
    headline = str(prompt_names(run)[0])
    predictions, features = _predictions(run, dataset, samples, final, device)
    scores = [score_predictions(predictions, run.draws, dataset.classes)]
    best = predictions.filter("final", prompts=headline)
    tables = {"predictions": predictions, "cells": cell_table(best, dataset.classes)}
    if run.evaluation.retrieval and final.texts is not None:
        tables["retrieval"], found = _retrieval(run, final, samples, features, device)
        scores.append(found)
    if run.evaluation.text_robustness and final.texts is not None:
        asked = Prompts(run.evaluation.prompts[0], dataset.classes, wording_of(dataset))
        found = text_robustness(final, asked, features, samples, run.draws, device)
        tables["text_robustness"] = found
    return tables | {"evaluation": pl.concat(scores)}


def prompt_names(run: Run) -> tuple[str, ...]:
    """Names of the prompt sets of a run's final weights; the first one makes the headline."""
    return tuple(p.name for p in run.evaluation.prompts) if run.reads_texts else (HEAD,)


def checkpoints(run: Run) -> list[Checkpoint]:
    """What is evaluated: milestones in their order, then the final weights."""
    if run.pretrained is not None:
        return [Checkpoint(None, None)]
    final = Checkpoint(None, total_samples(run.training))
    kept = milestones(run.final_weights.parent)
    return [*(Checkpoint(path, samples_seen) for samples_seen, path in kept), final]


def _predictions(
    run: Run, dataset: Dataset, samples: pl.DataFrame, final: Learner, device: torch.device
) -> tuple[pl.DataFrame, torch.Tensor]:
    """predictions.parquet, and the features of the final weights."""
    wanted = checkpoints(run)
    place = _place(run, len(wanted), 3 * samples.height * final.pixels**2)
    images, _ = place_images([(dataset.folder, samples)], final.pixels, device, place, readers=0)
    parts: list[pl.DataFrame] = []
    features = torch.empty(0)
    with progress(len(wanted) * len(images), "evaluating", "images") as bar:
        for checkpoint in wanted:
            is_final = checkpoint.weights is None
            learner = final if is_final else load_trained(run, dataset, checkpoint.weights)
            prompt_sets = run.evaluation.prompts if is_final else run.evaluation.prompts[:1]
            features = image_features(learner, _batches(images, final.pixels, bar), device)
            for name, table in _by_prompts(
                learner, prompt_sets, features, samples, dataset, device
            ):
                described = {
                    "samples_seen": pl.lit(checkpoint.samples_seen, pl.Int64),
                    "final": pl.lit(is_final),
                    "prompts": pl.lit(name),
                    "checkpoint": pl.lit(learner.checkpoint),
                }
                parts.append(table.with_columns(**described))
    answers = ("top5", "scores", "confidence", "checkpoint")
    return pl.concat(parts).select(pl.exclude(answers), *answers), features


def _place(run: Run, times: int, needed: int) -> ImagePlace:
    """Where images wait that are seen so many times, and need so many bytes once decoded."""
    # decoded once where several checkpoints see them and there is room, else on the way
    on_disk = times == 1 or run.training.images is ImagePlace.disk
    if on_disk or needed > SHARE_OF_MEMORY * available_memory():
        return ImagePlace.disk
    return ImagePlace.auto


def _by_prompts(
    learner: Learner,
    prompt_sets: list[PromptSet],
    features: torch.Tensor,
    samples: pl.DataFrame,
    dataset: Dataset,
    device: torch.device,
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Predictions of one checkpoint, by the name of the prompt set."""
    scale = logit_scale(learner)
    if learner.texts is None:
        if features.shape[1] != len(dataset.classes):
            found = f"a classifier of {features.shape[1]} classes"
            raise UserError(found, expected=f"the {len(dataset.classes)} of dataset {dataset.name}")
        yield HEAD, predict(features, samples, None, scale)
        return
    wording = wording_of(dataset)
    heads = class_embeddings(learner, prompt_sets, dataset.classes, wording, device)
    for prompt_set in prompt_sets:
        yield prompt_set.name, predict(features, samples, heads[prompt_set], scale)


def _batches(images: Images, pixels: int, bar: tqdm) -> Iterator[torch.Tensor]:
    """All images, batch after batch; the bar goes on when a batch is done."""
    step = batch_size(pixels)
    rows = np.arange(len(images))
    for batch in images.batches(rows[start : start + step] for start in range(0, len(rows), step)):
        yield batch
        bar.update(len(batch))


def _retrieval(
    run: Run, learner: Learner, samples: pl.DataFrame, features: torch.Tensor, device: torch.device
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """retrieval.parquet, and its rows of evaluation.parquet."""
    described = samples.select("id", "split", "domain", "class_name", caption=run.caption)
    captions = described["caption"].unique(maintain_order=True).to_list()
    try:
        texts = embed_texts(learner, captions, device)
    except UserError as error:
        raise unreadable_captions(error) from None
    ranks, scores = retrieval_tables(features, described, captions, texts, run.draws)
    rows = scores.with_columns(
        samples_seen=pl.lit(checkpoints(run)[-1].samples_seen, pl.Int64),
        final=pl.lit(True),
        prompts=pl.lit(CAPTIONS),
    )
    return ranks, rows.select(pl.col(name).cast(kind) for name, kind in EVALUATION.items())
