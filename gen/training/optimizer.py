"""The optimizer of every run: AdamW, as open_clip trains CLIP."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gen.schema import TrainingConfig


def build_optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW without weight decay on gains, biases and the logit scale (CLIP, Section 2.5).

    These are the parameters of one dimension or none: the groups of open_clip.
    """
    parameters = list(model.parameters())
    vectors = [parameter for parameter in parameters if parameter.ndim < 2]
    matrices = [parameter for parameter in parameters if parameter.ndim >= 2]
    groups: list[dict[str, Any]] = [
        {"params": vectors, "weight_decay": 0.0},
        {"params": matrices, "weight_decay": config.weight_decay},
    ]
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=betas, eps=config.epsilon, fused=True
    )
