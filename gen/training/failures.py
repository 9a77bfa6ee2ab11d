"""What training says when it cannot go on: a loss that is no number, and memory that is short."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from gen.schema import ImagePlace, Sharding, TrainingConfig
from gen.training.distributed import any_rank
from splits.errors import UserError
from splits.files import write_json

BAD_BATCH = "bad_batch.json"
SHOWN_IDS = 5
NO_MEMORY = ("can't allocate memory", "not enough memory")
"""what the processor's allocator says, on Linux and elsewhere"""


class TrainingDiverged(UserError):
    """The loss of a step is not a number, or infinite."""


def check_finite(
    losses: Sequence[float],
    first_step: int,
    *,
    batch_size: int,
    batch_ids: Callable[[int], Sequence[str]],
    folder: Path,
) -> None:
    """Raise where a loss is not finite, and write that step's batch to `bad_batch.json`.

    Args:
        losses: of consecutive steps.
        first_step: number of the first of them, from 0.
        batch_size: pairs of a step.
        batch_ids: gives the ids of the samples of a step's batch.
        folder: of the run: `.../STUDY/ID`.

    Raises:
        TrainingDiverged: names step, samples seen, loss and batch, and how to come there again.
    """
    bad = next((place for place, loss in enumerate(losses) if not math.isfinite(loss)), None)
    if bad is not None:
        step = first_step + bad
        raise diverged(f"the loss is {losses[bad]}", step, batch_size, batch_ids(step), folder)


def check_weights(
    towers: nn.Module,
    step: int,
    *,
    batch_size: int,
    batch_ids: Callable[[int], Sequence[str]],
    folder: Path,
) -> None:
    """Raise where a weight is not finite: a finite loss may have had a gradient that is not.

    Args:
        towers: after the step; every process calls this.
        step: the last one taken, from 0.
        batch_size, batch_ids, folder: as for `check_finite`.

    Raises:
        TrainingDiverged: as `check_finite` does.
    """
    own = [p.to_local() if isinstance(p, DTensor) else p for p in towers.parameters()]
    if any_rank(not bool(torch.stack([p.detach().isfinite().all() for p in own]).all())):
        what = "weights are no numbers any more"
        raise diverged(what, step, batch_size, batch_ids(step), folder)


def diverged(
    what: str, step: int, batch_size: int, ids: Sequence[str], folder: Path
) -> TrainingDiverged:
    """The error about a step's batch, which is written to `bad_batch.json`."""
    ids, samples_seen = list(ids), step * batch_size
    content = {"step": step, "samples_seen": samples_seen, "what": what, "ids": ids}
    write_json(folder / BAD_BATCH, content)
    shown = ", ".join(ids[:SHOWN_IDS]) + (", …" if len(ids) > SHOWN_IDS else "")
    return TrainingDiverged(
        f"{what} in step {step}, after {samples_seen} samples seen (batch: {shown})",
        expected="finite numbers",
        where=f"all ids of the batch are in {folder / BAD_BATCH}",
        fix="the same command goes on from the last state and comes to this step again; a smaller "
        "training.learning_rate, a longer training.warmup, training.clip_norm=1 or "
        "training.precision=fp32 may help (each makes it another run)",
    )


def explain_memory(error: BaseException, config: TrainingConfig) -> UserError | None:
    """What to do about memory that was short; None where `error` is about something else.

    Args:
        error: that ended training.
        config: how the run is trained.
    """
    if isinstance(error, torch.OutOfMemoryError):
        place = "the device"
    elif isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(text in str(error) for text in NO_MEMORY)
    ):
        place = "this machine"
    else:
        return None
    return UserError(
        f"the memory of {place} is too small for training ({_first_line(error)})",
        where=f"training.accumulate={config.accumulate}, training.images={config.images.name}, "
        f"training.sharding={config.sharding.name}, training.batch_size={config.batch_size}",
        fix="in this order: " + "; ".join(_advice(config, on_device=place == "the device")),
    )


def _advice(config: TrainingConfig, *, on_device: bool) -> list[str]:
    """What to change, the first first; what is so already is left out."""
    advice = [
        f"training.accumulate={2 * config.accumulate}, the same batch in more parts (another run)"
    ]
    if on_device and config.images in (ImagePlace.auto, ImagePlace.device):
        advice.append("training.images=memory, which leaves the device to the model")
    if not on_device and config.images is not ImagePlace.disk:
        advice.append("training.images=disk, which is slower")
    if on_device and config.sharding is not Sharding.fsdp:
        advice.append("training.sharding=fsdp, with several GPUs")
    smaller = max(1, config.batch_size // 2)
    advice.append(
        f"training.batch_size={smaller}, which changes the experiment: fewer negatives, more steps"
    )
    return advice


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
