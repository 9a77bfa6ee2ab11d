"""Train one CLIP model on one mixture: resumable at any step, the same weights every time.

Order and augmentation are pure functions of (seed, epoch, sample); a checkpoint holds weights,
optimizer and step. Killed at any moment and started again, training ends with the same bits (on
the same machine).
"""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import normalize

from gen.device import autocast
from gen.models.clip import normalise
from gen.randomness import batch_uniforms
from gen.schema import Precision, TrainingConfig
from gen.training.augment import NUMBERS_PER_SAMPLE, random_resized_crop
from gen.training.checkpoint import load_state, save_state, save_weights
from gen.training.metrics_log import NAME, forget_after
from gen.training.objective import MAX_LOGIT_SCALE, info_nce, loss_floor
from gen.training.order import batch_at
from gen.training.pairs import Pairs
from gen.training.schedule import learning_rate, total_steps

if TYPE_CHECKING:
    from open_clip import CLIP


def train(
    model: CLIP,
    pairs: Pairs,
    config: TrainingConfig,
    seed: int,
    folder: Path,
    *,
    device: torch.device,
    precision: Precision,
) -> None:
    """Train `model` in place and write `checkpoints/final.safetensors` and `metrics.jsonl`.

    Args:
        model: a freshly built `open_clip.CLIP`.
        pairs: the mixture's pairs.
        config: how to train.
        seed: seed of order and augmentation.
        folder: the run's folder; states found in it are continued.
        device: where to compute.
        precision: arithmetic of the towers.

    Raises:
        FloatingPointError: the loss is not a number; the message names step and samples.
    """
    model.to(device, memory_format=torch.channels_last).train()
    optimizer = build_optimizer(model, config)
    start = _resume(folder, model, optimizer)
    forget_after(folder, start)
    steps, clock = total_steps(config), time.monotonic()
    with (folder / NAME).open("a", encoding="utf-8") as log:
        for step in range(start, steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, config)
            loss, floor = _step(model, optimizer, pairs, config, seed, step, device, precision)
            values = {
                "step": step + 1,
                "samples_seen": (step + 1) * config.batch_size,
                "loss": _finite(loss, step, pairs, config, seed),
                "loss_floor": round(floor, 5),
                "logit_scale": round(model.logit_scale.exp().item(), 4),
                "lr": learning_rate(step, config),
            }
            if (step + 1) % config.log_every == 0 or step + 1 == steps:
                seconds, clock = time.monotonic() - clock, time.monotonic()
                samples = min(config.log_every, step + 1 - start) * config.batch_size
                values["samples_per_second"] = round(samples / seconds, 1)
                log.write(json.dumps(values) + "\n")
                log.flush()
            if (step + 1) % config.checkpoint_every == 0 and step + 1 < steps:
                save_state(folder / "checkpoints", step + 1, model, optimizer)
    save_weights(folder / "checkpoints" / "final.safetensors", model)


def build_optimizer(model: CLIP, config: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW without weight decay on gains, biases and the logit scale (CLIP, Section 2.5)."""
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


def _step(
    model: CLIP,
    optimizer: torch.optim.Optimizer,
    pairs: Pairs,
    config: TrainingConfig,
    seed: int,
    step: int,
    device: torch.device,
    precision: Precision,
) -> tuple[torch.Tensor, float]:
    """One optimizer step; returns the loss (on the device) and its floor."""
    epochs, positions = batch_at(step, config.batch_size, len(pairs), seed)
    numbers = batch_uniforms(seed, epochs, pairs.keys[positions], NUMBERS_PER_SAMPLE)
    images = random_resized_crop(
        pairs.images[torch.from_numpy(positions)].to(device),
        torch.from_numpy(numbers.astype(np.float32)).to(device),
        crop_area=config.crop_area,
        flip=config.flip,
    )
    captions, pair_of = np.unique(pairs.caption_ids[positions], return_inverse=True)
    tokens = pairs.tokens[torch.from_numpy(captions)].to(device)
    inputs = normalise(images).contiguous(memory_format=torch.channels_last)
    with autocast(precision, device):
        image_features = model.encode_image(inputs)
        text_features = model.encode_text(tokens)  # every distinct caption once
    image_features = normalize(image_features.float(), dim=-1)
    text_features = normalize(text_features.float(), dim=-1)[torch.from_numpy(pair_of).to(device)]
    loss = info_nce(image_features, text_features, model.logit_scale.exp())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
    return loss.detach(), loss_floor(pair_of)


def _finite(
    loss: torch.Tensor, step: int, pairs: Pairs, config: TrainingConfig, seed: int
) -> float:
    value = loss.item()
    if not math.isfinite(value):
        _, positions = batch_at(step, config.batch_size, len(pairs), seed)
        raise FloatingPointError(
            f"the loss is {value} at step {step} (samples at positions {positions[:8].tolist()}… "
            "of the mixture); a smaller training.learning_rate may help"
        )
    return round(value, 5)


def _resume(folder: Path, model: CLIP, optimizer: torch.optim.Optimizer) -> int:
    """Load the newest state, if any; return the number of steps done."""
    state = load_state(folder / "checkpoints")
    if state is None:
        return 0
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])
