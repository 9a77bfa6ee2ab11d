"""How long a run is and how fast it learns at each step. Knows no torch, so that anyone may ask."""

from __future__ import annotations

import math

from gen.schema import TrainingConfig


def total_steps(config: TrainingConfig) -> int:
    """Optimizer steps of a run: as many full batches as reach the samples seen."""
    return math.ceil(config.samples_seen / config.batch_size)


def total_samples(config: TrainingConfig) -> int:
    """Samples that a run really sees: whole batches."""
    return total_steps(config) * config.batch_size


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Linear warm-up, then a cosine down to 0."""
    steps = total_steps(config)
    warmup = max(1, round(config.warmup * steps))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
