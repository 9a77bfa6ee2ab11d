"""Training of one controlled model to its last step: none is chosen by a test."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from analysis.binding.controlled.condition import Condition
from analysis.binding.controlled.models import ControlledModel, model_of
from analysis.binding.controlled.world import training_scenes, world_of
from gen.randomness import generator
from splits.errors import UserError

LOG_POINTS = 50
"""of the curve of the losses"""


@dataclass(frozen=True)
class Trained:
    """A model after its last step."""

    model: ControlledModel
    losses: list[dict[str, float]]
    """terms of the loss at some steps, with the step"""
    seconds: float
    """of the steps, by the clock"""
    cpu_seconds: float
    """of the steps, by this process's use of processors"""


def trained(condition: Condition, device: torch.device, steps: int | None = None) -> Trained:
    """Train the model of a condition.

    The learning rate rises linearly over the warm-up and falls along a half cosine to 0.

    Args:
        condition: what to train.
        device: on which.
        steps: to do of the condition's; all by default. Fewer are for timing only.

    Raises:
        UserError: the condition's world cannot be made, or holds no scenes to train with; or the
            loss or a weight is no finite number any more.
    """
    world = world_of(condition)
    model = model_of(condition, world).to(device)
    optimizer = _optimizer(model, condition)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, condition))
    random = generator("binding", "steps", condition.seed, condition.split_seed)
    every = max(1, condition.training.steps // LOG_POINTS)
    count = condition.training.steps if steps is None else steps
    batches = training_scenes(world, condition)
    losses = []
    began, used = time.perf_counter(), time.process_time()
    for step in range(count):
        terms = model.loss(next(batches), random)
        optimizer.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        optimizer.step()
        schedule.step()
        if step % every == 0 or step == count - 1:
            losses.append({"step": step} | _finite(terms, step, condition))
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    if not all(bool(weights.isfinite().all()) for weights in model.parameters()):
        raise _diverged("weights are no finite numbers after the last step", condition)
    return Trained(model.eval(), losses, seconds, cpu)


def _finite(terms: dict[str, Tensor], step: int, condition: Condition) -> dict[str, float]:
    """The terms of a step's loss.

    Raises:
        UserError: one is not finite.
    """
    values = {name: term.item() for name, term in terms.items()}
    bad = [f"{name} is {value}" for name, value in values.items() if not math.isfinite(value)]
    if bad:
        raise _diverged(
            f"the loss is no finite number in step {step} ({', '.join(bad)})", condition
        )
    return values


def _diverged(what: str, condition: Condition) -> UserError:
    return UserError(
        what,
        where=condition.title,
        fix=f"a learning rate below {condition.training.learning_rate:g}",
    )


def rate(step: int, condition: Condition) -> float:
    """Share of the learning rate at a step."""
    steps = condition.training.steps
    warm = max(1, round(condition.training.warmup * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def _optimizer(model: ControlledModel, condition: Condition) -> torch.optim.Optimizer:
    """AdamW that decays matrices only."""
    training = condition.training
    groups: list[dict[str, Any]] = [
        {"params": [p for p in model.parameters() if p.dim() > 1]},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=training.learning_rate, weight_decay=training.weight_decay, fused=True
    )
