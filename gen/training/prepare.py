"""From a run to a training: model, pairs, optimizer, and how the device computes."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import torch

from gen.datasets.samples import Dataset
from gen.device import autocast, describe_device, pick_compile, pick_precision
from gen.models.trained import Learner, build_learner
from gen.runs import Run, run_identity
from gen.schema import Precision, TrainingConfig
from gen.training.batches import Feed
from gen.training.distributed import Ranks, wrap
from gen.training.flops import Utilisation, flops_per_sample, mfu
from gen.training.optimizer import build_optimizer
from gen.training.pairs import Pairs, load_pairs
from gen.training.pointwise import use_matrix_products
from gen.training.schedule import text_rows, total_samples
from gen.training.step import Training
from gen.training.towers import Towers

SAMPLES_COUNTED = 2
"""of the batch of which the arithmetic is counted"""


def prepare(
    run: Run, dataset: Dataset, base: Dataset | None, ranks: Ranks
) -> tuple[Training, dict[str, Any]]:
    """Build everything that training a run needs.

    Args:
        run: to train.
        dataset: of its mixture.
        base: the image–caption dataset that the mixture includes.
        ranks: the processes of the run.

    Returns:
        The training, and for the run's record how it is made: device, precision, and so on.
    """
    config, device = run.training, ranks.device
    precision, why_precision = pick_precision(config.precision, device)
    learner = build_learner(run, dataset)
    pairs, place = load_pairs(dataset, run.mixture, learner.texts, base, config, ranks)
    flops = training_flops(learner, pairs) if device.type == "cuda" else None
    compiles, why_compile = pick_compile(
        config.compile, device, (flops or 0.0) * total_samples(config)
    )
    towers = Towers(learner.model).to(device).to(memory_format=torch.channels_last)
    if device.type == "cpu":
        use_matrix_products(towers)
    if compiles:
        compile_towers(learner, device)
    wrapped = wrap(towers, ranks, config.sharding)
    feed = Feed(pairs, learner.texts, config, run.seed, ranks, run.folder)
    training = Training(
        towers=wrapped,
        optimizer=build_optimizer(wrapped, config),
        feed=feed,
        folder=run.folder,
        identity=run_identity(run),
        arithmetic=partial(autocast, precision, device),
        utilisation=_utilisation(flops, describe_device(device), precision),
    )
    return training, {
        "device": describe_device(device),
        "processes": ranks.size,
        "sharding": config.sharding.name if ranks.size > 1 else "none (one process)",
        "precision": f"{precision.name} ({why_precision})",
        "compiled": f"{'yes' if compiles else 'no'} ({why_compile})",
        "images": place,
        "deterministic": config.deterministic,
    } | _told_text_pairs(pairs, config)


def compile_towers(learner: Learner, device: torch.device) -> None:
    """Let `torch.compile` make the kernels of the image tower, and of the text tower if any.

    Not of a text tower on a processor, where batches have different numbers of distinct captions.
    """
    names = ("visual",) if device.type == "cpu" else ("visual", "transformer")
    for name in names:
        tower = getattr(learner.model, name, None)
        if tower is not None:
            tower.compile()  # in place: parameters keep their names


def training_flops(learner: Learner, pairs: Pairs) -> float | None:
    """Arithmetic of training on one pair, each with a caption of its own; counted, not computed.

    None of a model that does what cannot be counted without computing it.
    """
    towers = Towers(copy.deepcopy(learner.model)).to("meta")
    pixels = pairs.pixels
    images = torch.empty(SAMPLES_COUNTED, 3, pixels, pixels, device="meta")
    texts = None
    if pairs.texts is not None:
        shape = (SAMPLES_COUNTED, *pairs.texts.shape[1:])
        texts = torch.empty(shape, dtype=pairs.texts.dtype, device="meta")

    def step() -> None:
        outputs = towers(images, texts)
        features = outputs[:2] if isinstance(outputs, tuple) else (outputs,)
        torch.stack([part.sum() for part in features]).sum().backward()

    try:
        return flops_per_sample(step, SAMPLES_COUNTED)
    except RuntimeError:  # NotImplementedError is one
        return None


def _told_text_pairs(pairs: Pairs, config: TrainingConfig) -> dict[str, str]:
    """How much of a batch is pairs of texts, and what they are drawn from; nothing without them."""
    if pairs.text_pairs is None:
        return {}
    share = f"{text_rows(config)} of {config.batch_size} pairs of every batch"
    source = f"{len(pairs.text_pairs):,} first texts ({config.text_pairs.source})"
    return {"text_pairs": f"{share}, drawn from {source}"}


def _utilisation(flops: float | None, device: str, precision: Precision) -> Utilisation:
    return lambda rate: None if flops is None else mfu(flops, rate, device, precision)
