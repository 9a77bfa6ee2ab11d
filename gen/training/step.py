"""What a training works with, and one step of it: towers, loss, gradient, optimizer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gen.randomness import generator
from gen.schema import TrainingConfig
from gen.training.backward import backward, cut
from gen.training.batches import Batch, Feed
from gen.training.distributed import Ranks, gather_rows
from gen.training.flops import Utilisation
from gen.training.objective import MAX_LOGIT_SCALE, classifier_loss, contrastive_loss
from gen.training.schedule import learning_rate


@dataclass(frozen=True)
class Training:
    """What a training works with.

    Attributes:
        towers: what is trained, wrapped for several processes.
        optimizer: of its parameters.
        feed: makes the batches.
        folder: of the run.
        identity: everything that decides the run's weights.
        arithmetic: makes the context in which the towers compute (autocast).
        utilisation: of the device.
    """

    towers: nn.Module
    optimizer: torch.optim.Optimizer
    feed: Feed
    folder: Path
    identity: dict[str, Any]
    arithmetic: Callable[[], AbstractContextManager]
    utilisation: Utilisation

    @property
    def config(self) -> TrainingConfig:
        return self.feed.config

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @cached_property
    def logit_scale(self) -> nn.Parameter | None:
        """The logarithm of the learned factor of the cosines; None of a classifier."""
        named = self.towers.named_parameters()
        return next((value for name, value in named if name.endswith("logit_scale")), None)


def take_step(training: Training, step: int, batch: Batch) -> torch.Tensor:
    """Train on the batch of a step.

    Returns:
        This process's part of the loss, on the device.
    """
    config, feed, optimizer = training.config, training.feed, training.optimizer
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(step, config)
    optimizer.zero_grad(set_to_none=True)
    loss = backward(
        training.towers,
        cut(batch.images, batch.texts, config.accumulate),
        _loss_of(batch, config, feed.ranks),
        seed_part=lambda part: _seed(feed.ranks.device, feed.seed, step, feed.ranks.rank, part),
        context=training.arithmetic,
    )
    if config.clip_norm:
        nn.utils.clip_grad_norm_(training.towers.parameters(), config.clip_norm)
    optimizer.step()
    if training.logit_scale is not None:
        with torch.no_grad():
            training.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
    return loss


def _loss_of(batch: Batch, config: TrainingConfig, ranks: Ranks) -> Callable[..., torch.Tensor]:
    """From the outputs of the towers to this process's loss."""
    labels = batch.labels
    if batch.text_of is None:
        assert labels is not None, "a classifier is refused where samples have no labels"
        return lambda logits: classifier_loss(logits, labels)

    def loss(
        images: torch.Tensor, texts: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        firsts = batch.firsts
        anchors = images if firsts is None else torch.cat([images, texts[firsts.rows]])
        return contrastive_loss(
            config.objective,
            anchors,
            texts[batch.text_of],
            batch.captions,
            scale,
            bias,
            gather=gather_rows,
            first=ranks.rank * len(anchors),
            anchors_b=batch.anchors,
        )

    return loss


def _seed(device: torch.device, *names: int) -> None:
    """Set the random numbers of dropout and its like, faster than `torch.manual_seed`."""
    number = int(generator("dropout", *names).integers(2**63))
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)
