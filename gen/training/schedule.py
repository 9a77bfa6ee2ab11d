"""How long a run is, what its batches hold, and how fast it learns at each step.

Knows no torch, so that anyone may ask.
"""

from __future__ import annotations

import math

from gen.schema import Schedule, TrainingConfig
from splits.errors import UserError


def total_steps(config: TrainingConfig) -> int:
    """Optimizer steps of a run: as many full batches as reach the samples seen."""
    return math.ceil(config.samples_seen / config.batch_size)


def total_samples(config: TrainingConfig) -> int:
    """Samples that a run really sees: whole batches."""
    return total_steps(config) * config.batch_size


def teaches_texts(config: TrainingConfig) -> bool:
    """Whether a part of every batch is pairs of texts."""
    return bool(config.text_pairs.source and config.text_pairs.share)


def text_rows(config: TrainingConfig) -> int:
    """Pairs of texts in every batch, over all processes."""
    return round(config.batch_size * config.text_pairs.share) if teaches_texts(config) else 0


def check_text_rows(config: TrainingConfig, processes: int = 1) -> None:
    """Refuse a share of pairs of texts that cannot be shared out.

    Raises:
        UserError: it rounds to none or to all of a batch, or to what does not fall into parts.
    """
    rows, parts = text_rows(config), processes * config.accumulate
    if teaches_texts(config) and (not 0 < rows < config.batch_size or rows % parts):
        raise UserError(
            f"a share of {config.text_pairs.share} of a batch of {config.batch_size} is {rows} "
            "pairs of texts",
            expected="at least one, and one pair of image and caption"
            + f"; a multiple of {parts} ({processes} processes × {config.accumulate} equal parts)"
            * (parts > 1),
            where="training.text_pairs.share, training.batch_size",
        )


def checkpoint_interval(config: TrainingConfig) -> int:
    """Samples seen between two states: as configured, or a fiftieth of the run (6,400 at least)."""
    return config.checkpoint_every or max(6400, total_samples(config) // 50)


def warmup_steps(config: TrainingConfig) -> int:
    """Steps over which the learning rate rises; the last of them has the full rate."""
    return round(config.warmup * total_steps(config))


def learning_rate(step: int, config: TrainingConfig) -> float:
    """The rate of a step, as open_clip's `cosine_lr` and `const_lr` have it.

    The rate rises linearly, step k (from 0) of a warm-up of W having (k + 1) / W of it. After it,
    `cosine` falls from the full rate in step W towards 0, which it would reach one step after the
    last; `constant` stays. Steps W - 1 and W thus both have the full rate.

    Args:
        step: number of the step, from 0 to `total_steps(config) - 1`.
        config: how the run is trained.
    """
    steps, warmup = total_steps(config), warmup_steps(config)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    if config.schedule is Schedule.constant:
        return config.learning_rate
    progress = (step - warmup) / (steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
