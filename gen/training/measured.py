"""A few training steps of an arm's model on this machine, to tell how long its runs will take.

On images of noise with captions of the dataset, from small batches to the largest that ten seconds
allow. Reading images, streams, compiling and states are not in it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import torch

from gen.datasets.samples import Dataset
from gen.device import autocast, describe_device, kernels, pick_precision
from gen.models.trained import Learner, build_learner
from gen.randomness import sample_keys
from gen.runs import Run
from gen.schema import StreamConfig, TextPairsConfig, TrainingConfig
from gen.training.batches import Feed
from gen.training.distributed import Ranks
from gen.training.images import Resident
from gen.training.optimizer import build_optimizer
from gen.training.pairs import Pairs
from gen.training.pointwise import use_matrix_products
from gen.training.step import Training, take_step
from gen.training.towers import Towers

SECONDS = 10.0
"""of steps, about, however slow the model is"""
STEPS = 6
"""of the largest batch; the first of every size warms up"""
GROWTH = 4
"""from one size of batches to the next"""
SMALLEST = 4
IMAGES = 512
"""of noise"""


class Measured(NamedTuple):
    """What a few steps told.

    Attributes:
        samples_per_second: of training, on one device; None where the memory is too small.
        weight_bytes: of the model.
        how: for people.
    """

    samples_per_second: float | None
    weight_bytes: int
    how: str


def measure_here(run: Run, dataset: Dataset, threads: int, device: torch.device) -> Measured:
    """Train a run's model for some seconds; writes nothing.

    Args:
        run: of an arm, to be trained.
        dataset: of its study.
        threads: of one slot, where the processor trains.
        device: that trains.
    """
    ranks = Ranks(0, 1, 0, device)
    learner = build_learner(run, dataset)
    towers = Towers(learner.model).to(ranks.device).to(memory_format=torch.channels_last)
    if ranks.device.type == "cpu":
        use_matrix_products(towers)
    pairs = _noise(run, dataset, learner, ranks.device)
    with kernels(run.training.deterministic), _threads(threads):
        timed = list(_timed(run, towers, learner, pairs, ranks))
    weight_bytes = sum(value.nbytes for value in towers.state_dict().values())
    told = describe_device(device)
    if not timed:
        return Measured(None, weight_bytes, f"the memory here ({told}) is too small to measure")
    batch, steps, seconds = timed[-1]
    part = "" if batch == run.training.batch_size else f" of {batch} samples"
    how = f"measured on {steps} step{'s' * (steps > 1)}{part} here ({told})"
    return Measured(steps * batch / seconds, weight_bytes, how)


def _timed(
    run: Run, towers: Towers, learner: Learner, pairs: Pairs, ranks: Ranks
) -> Iterator[tuple[int, int, float]]:
    """Size of the batch, steps and their seconds: of small batches first, the largest last.

    Ends before the time is over, and where a larger batch does not fit the memory.
    """
    end = time.monotonic() + SECONDS
    for batch in _sizes(run.training):
        config = replace(
            run.training,
            samples_seen=(1 + STEPS) * batch,
            batch_size=batch,
            accumulate=1,
            stream=StreamConfig(),
            text_pairs=TextPairsConfig(),  # one tower takes as long for a text as for an image
        )
        training = _training(run, config, towers, learner, pairs, ranks)
        try:
            steps, seconds = _take_steps(training, end)
        except torch.OutOfMemoryError:
            return
        yield batch, steps, seconds
        if time.monotonic() + GROWTH * seconds / steps * 2 > end:
            return


def _sizes(config: TrainingConfig) -> list[int]:
    """Sizes of batches, growing up to the largest that goes through the towers at once."""
    sizes = [config.batch_size // config.accumulate]
    while sizes[-1] // GROWTH >= SMALLEST:
        sizes.append(sizes[-1] // GROWTH)
    return sizes[::-1]


def _take_steps(training: Training, end: float) -> tuple[int, float]:
    """Steps and their seconds, after one that warms up; one at least, however late it is."""
    device = training.feed.ranks.device
    with closing(training.feed.batches(0)) as batches:
        take_step(training, 0, next(batches))
        _finish(device)
        start = time.monotonic()
        for step, batch in enumerate(batches, start=1):
            take_step(training, step, batch)
            _finish(device)
            if time.monotonic() > end:
                break
    return step, time.monotonic() - start


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _training(
    run: Run, config: TrainingConfig, towers: Towers, learner: Learner, pairs: Pairs, ranks: Ranks
) -> Training:
    precision, _ = pick_precision(config.precision, ranks.device)
    return Training(
        towers=towers,
        optimizer=build_optimizer(towers, config),
        feed=Feed(pairs, learner.texts, config, run.seed, ranks, Path()),
        folder=Path(),
        identity={},
        arithmetic=partial(autocast, precision, ranks.device),
        utilisation=_not_asked,
    )


def _not_asked(rate: float) -> float | None:
    return None


def _noise(run: Run, dataset: Dataset, learner: Learner, device: torch.device) -> Pairs:
    """Images of noise under the captions of some of the mixture's samples."""
    ids = run.mixture.ids.sample(min(IMAGES, len(run.mixture.ids)), seed=0)
    captions = dataset.samples.filter(pl.col("id").is_in(ids.to_list()))[run.caption].to_numpy()
    shape = (len(captions), dataset.pixels, dataset.pixels, 3)
    images = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    distinct, caption_ids = np.unique(captions, return_inverse=True)
    names = [str(number) for number in range(len(captions))]
    return Pairs(
        images=Resident(torch.from_numpy(images).to(device), device),
        texts=None if learner.texts is None else learner.texts.encode(list(distinct)),
        caption_ids=caption_ids,
        caption_keys=sample_keys(list(distinct)),
        keys=sample_keys(names),
        ids=pl.Series(names),
        labels=np.arange(len(captions)) % len(dataset.classes),
        pixels=dataset.pixels,
    )


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """While active, a processor computes with so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
