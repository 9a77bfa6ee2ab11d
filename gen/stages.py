"""The stages of a run that this room does: train, then evaluate."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import Any

import polars as pl

from gen.datasets.samples import Dataset
from gen.device import kernels, pick_device
from gen.evaluation.prompts import all_sentences, check_captions, check_encodable, wording_of
from gen.evaluation.tables import evaluation_tables
from gen.models.rendering import renderer_of, warn_of_cut
from gen.runs import (
    OF_TEXTS,
    Run,
    describe_run,
    file_sha256,
    read_record,
    timed_stage,
    update_record,
    utc_now,
    void_results,
)
from gen.schema import ModelKind
from gen.training.distributed import Ranks, alone, any_rank
from gen.training.failures import explain_memory
from gen.training.loop import train
from gen.training.metrics_log import read_metrics
from gen.training.prepare import prepare
from gen.training.schedule import total_samples
from gen.twins import take_over, untrained
from splits.files import replacing


def train_run(
    run: Run, dataset: Dataset, base: Dataset | None = None, ranks: Ranks | None = None
) -> None:
    """Train a run's model, or go on where it stopped; nothing to do where it is trained.

    A run with a twin takes over what that one has.

    Args:
        run: to train.
        dataset: of its mixture.
        base: the image–caption dataset that the mixture includes.
        ranks: the processes that train it, of which each calls this; None: this one alone.

    Raises:
        Preempted: the process was asked to end; the same call goes on.
        UserError: the run's twin is not trained.
    """
    ranks = ranks or alone()
    if run.twin is not None:
        _take_over(run, run.twin, ranks)
        return
    trained = any_rank(ranks.is_first and run.final_weights.is_file())  # one answer for all
    if not trained:
        if ranks.is_first:  # results of weights that are gone
            void_results(run, "evaluated", "analyzed", "checkpoint", "same_weights_as")
        _train(run, dataset, base, ranks)
    if ranks.is_first and not read_record(run.folder).get("checkpoint"):
        rates = [row["samples_per_second"] for row in read_metrics(run.folder)]
        update_record(
            run.folder,
            samples_seen=total_samples(run.training),
            samples_per_second=pl.Series(rates).median(),
            checkpoint=file_sha256(run.final_weights),
        )


def _take_over(run: Run, twin: Run, ranks: Ranks) -> None:
    """Have the weights of the twin; all processes fail where there are none."""
    if any_rank(ranks.is_first and run.trained):
        return
    if any_rank(ranks.is_first and not twin.has_weights):
        raise untrained(run, twin)
    if ranks.is_first:
        take_over(run, twin)


def _train(run: Run, dataset: Dataset, base: Dataset | None, ranks: Ranks) -> None:
    timed = timed_stage(run.folder, "train") if ranks.is_first else nullcontext()
    with timed, kernels(run.training.deterministic):
        try:
            _check_texts(run, dataset)
            training, facts = prepare(run, dataset, base, ranks)
            if ranks.is_first:
                _describe(run, facts)
            train(training)
        except (RuntimeError, MemoryError) as error:
            explained = explain_memory(error, run.training)
            if explained is None:
                raise
            raise explained from error


def evaluate_run(run: Run, dataset: Dataset) -> None:
    """Predict every test sample with every checkpoint, score them; writes the run's tables.

    Raises:
        UserError: the model cannot read a prompt or a caption, or weights or images are damaged.
    """
    void_results(run, "evaluated")
    with timed_stage(run.folder, "evaluate"):
        _tell_cut_texts(run, dataset)
        tables = evaluation_tables(run, dataset, pick_device())
        for name in set(OF_TEXTS) - set(tables):  # of another configuration
            (run.folder / f"{name}.parquet").unlink(missing_ok=True)
        for name, table in tables.items():
            with replacing(run.folder / f"{name}.parquet") as temporary:
                table.write_parquet(temporary)
    update_record(run.folder, evaluated=run.evaluation_key)


def _check_texts(run: Run, dataset: Dataset) -> None:
    """Refuse before training what evaluation would refuse after it: texts that fit no canvas.

    The vocabulary of a CLIP has the words of all prompts and captions.
    """
    if run.model.kind is not ModelKind.clippo:
        return
    texts = renderer_of(run.model, dataset.pixels)
    check_encodable(run.evaluation.prompts, dataset.classes, wording_of(dataset), texts)
    if run.evaluation.retrieval:
        test = dataset.samples.filter(pl.col("split") != "train")
        check_captions(test[run.caption].unique().sort().to_list(), texts)


def _tell_cut_texts(run: Run, dataset: Dataset) -> None:
    """Warn of prompts and captions of which a CLIPPO sees the beginning only."""
    if run.pretrained is not None or run.model.kind is not ModelKind.clippo:
        return
    wording, asked = wording_of(dataset), run.evaluation.prompts
    texts = [text for one in asked for text in all_sentences(one, dataset.classes, wording)]
    if run.evaluation.retrieval:
        texts += dataset.samples.filter(pl.col("split") != "train")[run.caption].to_list()
    renderer = renderer_of(run.model, dataset.pixels)
    warn_of_cut(renderer, sorted(set(texts)), "prompts and captions")


def _describe(run: Run, facts: dict[str, Any]) -> None:
    """Write what the run is (config.yaml) and how it is made (run.json); tell it."""
    before = read_record(run.folder)
    resumed = before.get("resumed", []) + [utc_now()] * bool(before)
    describe_run(run, resumed=resumed, **facts)
    told = ", ".join(f"{name}: {value}" for name, value in facts.items())
    print(f"{run.name}\n  {told}", file=sys.stderr)
