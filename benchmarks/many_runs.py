"""Many small models on one device: a process for each, or all of them in one process?

    python benchmarks/many_runs.py [--quick] [--device cpu|cuda]

(a) K processes share the device, each trains one model. (b) One process trains K models at once:
their weights are stacked (`torch.func.stack_module_state`), the step is written for one model and
mapped over the stack (`torch.func.vmap`), one AdamW moves all of it. Both train the same K seeds on
the same pairs, which wait on the device; the first losses must agree. Start-up does not count: the
processes wait for each other before the clock starts.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import normalize

sys.path[0] = str(Path(__file__).parent.parent)

from benchmarks.measured import finish, peak_gib, processor
from gen.config import load_config
from gen.device import autocast
from gen.models.clip import build_clip, normalise
from gen.models.vocabulary import Vocabulary
from gen.schema import Objective, Precision
from gen.training.objective import contrastive_loss

MODELS = ("vit-tiny", "rn-tiny")
SAMPLES, WORDS, CONTEXT, PIXELS = 4096, 256, 12, 32
BATCH = 64
COMPARED = 3
"""first steps whose losses must agree"""
PRECISION = {"cpu": Precision.fp32, "cuda": Precision.bf16}
TOLERANCE = {Precision.fp32: 1e-4, Precision.bf16: 5e-2}
"""largest difference of a loss; bf16 keeps two to three digits, and rounds as the kernel adds"""
WARM_UP = 3
WAYS = ("processes", "vmap")
DIFFERENCE = "largest difference of a loss"
LEARNING_RATE, WEIGHT_DECAY, BETAS, EPSILON = 5e-4, 0.2, (0.9, 0.98), 1e-6


class Pairs(NamedTuple):
    """Resident pairs: images uint8 [N, 3, P, P], token ids int64 [N, L]."""

    images: torch.Tensor
    tokens: torch.Tensor


class PairLoss(nn.Module):
    """InfoNCE of a model on a batch, as one forward that vmap can map."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        model: Any = self.model
        image_features = normalize(model.encode_image(normalise(images)).float(), dim=-1)
        text_features = normalize(model.encode_text(tokens).float(), dim=-1)
        with torch.autocast(images.device.type, enabled=False):  # the loss is fp32 in training too
            return contrastive_loss(
                Objective.infonce,
                image_features,
                text_features,
                torch.arange(len(images), device=images.device),
                model.logit_scale.exp(),
                None,
                gather=lambda rows: rows,
                first=0,
            )


class Outcome(NamedTuple):
    """What one process measured.

    Attributes:
        losses: of the first steps, shape [COMPARED, models of the process].
        started, ended: system-wide clock, in seconds.
        gib: peak memory, of the device where it is CUDA, else of the process.
    """

    losses: np.ndarray
    started: float
    ended: float
    gib: float


def make_pairs(device: torch.device) -> Pairs:
    """Random pairs: the clock does not mind what they show."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(
        256, (SAMPLES, 3, PIXELS, PIXELS), dtype=torch.uint8, generator=generator
    )
    tokens = torch.randint(1, WORDS - 1, (SAMPLES, CONTEXT), generator=generator)
    tokens[:, -1] = WORDS - 1  # the end-of-text token is the largest: CLIP pools there
    return Pairs(images.to(device), tokens.to(device))


def build(name: str, seed: int, device: torch.device) -> PairLoss:
    config = load_config("models", name)
    model = build_clip(config, Vocabulary(np.arange(WORDS), CONTEXT), PIXELS, seed)
    return PairLoss(model).to(device).train()


def rows_at(step: int, seed: int) -> torch.Tensor:
    """Which pairs a seed sees at a step, int64 of shape [BATCH]."""
    chosen = np.random.default_rng([seed, step]).choice(SAMPLES, BATCH, replace=False)
    return torch.from_numpy(chosen)


def adamw(parameters: dict[str, torch.Tensor], vector_dim: int) -> torch.optim.Optimizer:
    """AdamW without weight decay on what has at most `vector_dim` dimensions."""
    vectors = [value for value in parameters.values() if value.ndim <= vector_dim]
    matrices = [value for value in parameters.values() if value.ndim > vector_dim]
    groups: list[dict[str, Any]] = [
        {"params": vectors, "weight_decay": 0.0},
        {"params": matrices, "weight_decay": WEIGHT_DECAY},
    ]
    return torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, eps=EPSILON, fused=True)


def alone(name: str, seed: int, device: torch.device, precision: Precision) -> Callable:
    """The step of one model: step number → its loss, shape [1]."""
    pairs, model = make_pairs(device), build(name, seed, device)
    optimizer = adamw(dict(model.named_parameters()), vector_dim=1)

    def step(number: int) -> torch.Tensor:
        rows = rows_at(number, seed).to(device)
        optimizer.zero_grad(set_to_none=True)
        with autocast(precision, device):
            loss = model(pairs.images[rows], pairs.tokens[rows])
        loss.backward()
        optimizer.step()
        return loss.detach()[None]

    return step


def stacked(name: str, seeds: list[int], device: torch.device, precision: Precision) -> Callable:
    """The step of all models at once: step number → their losses, shape [K].

    Batch norm works as it is: its running statistics are stacked too, and every model's batch
    updates its own.
    """
    pairs, models = make_pairs(device), [build(name, seed, device) for seed in seeds]
    parameters, buffers = stack_module_state(models)
    template = models[0]
    optimizer = adamw(parameters, vector_dim=2)  # a vector of each model

    def loss_of(weights: dict, state: dict, images: torch.Tensor, tokens: torch.Tensor) -> Any:
        return functional_call(template, (weights, state), (images, tokens))

    def step(number: int) -> torch.Tensor:
        rows = torch.stack([rows_at(number, seed) for seed in seeds]).to(device)
        optimizer.zero_grad(set_to_none=True)
        with autocast(precision, device), attention(device):
            losses = vmap(loss_of)(parameters, buffers, pairs.images[rows], pairs.tokens[rows])
        losses.sum().backward()  # no loss depends on another's weights: each gets its own gradient
        optimizer.step()
        return losses.detach()

    return step


def attention(device: torch.device) -> AbstractContextManager:
    """vmap cannot map the CPU's fused attention, and would loop over the models."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def measure(
    name: str, seeds: list[int], threads: int, device_name: str, steps: int, start: Any
) -> Outcome:
    """Train the models of `seeds` in this process; one alone takes the plain step.

    Args:
        name: of the model.
        seeds: of the models.
        threads: of this process.
        device_name: `cpu` or `cuda`.
        steps: that are timed, after those that are compared and warm up.
        start: barrier of all processes of the measurement.
    """
    torch.set_num_threads(threads)
    device = torch.device(device_name)
    precision = PRECISION[device_name]
    make = alone(name, seeds[0], device, precision) if len(seeds) == 1 else None
    step = make or stacked(name, seeds, device, precision)
    losses = [step(number).cpu().numpy() for number in range(COMPARED)]
    for number in range(COMPARED, COMPARED + WARM_UP):
        step(number)
    _wait(device)
    start.wait()
    started = time.monotonic()
    for number in range(COMPARED + WARM_UP, COMPARED + WARM_UP + steps):
        step(number)
    _wait(device)
    ended = time.monotonic()
    peak = torch.cuda.max_memory_reserved() / 2**30 if device.type == "cuda" else peak_gib()
    return Outcome(np.stack(losses), started, ended, peak)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def side(
    name: str, groups: list[list[int]], threads: int, device: str, steps: int
) -> dict[str, Any]:
    """Measure the models of every group in a process of its own, all at the same time."""
    context = get_context("spawn")
    with context.Manager() as manager, context.Pool(len(groups)) as pool:
        start = manager.Barrier(len(groups))
        tasks = [(name, group, threads, device, steps, start) for group in groups]
        outcomes = pool.starmap(measure, tasks, chunksize=1)
    seconds = max(o.ended for o in outcomes) - min(o.started for o in outcomes)
    return {
        "pairs_per_second": sum(map(len, groups)) * steps * BATCH / seconds,
        "gib": sum(outcome.gib for outcome in outcomes),
        "losses": np.concatenate([outcome.losses for outcome in outcomes], axis=1),
    }


def compare(name: str, models: int, device: str, steps: int, rounds: int) -> dict[str, Any]:
    """Both ways, alternating; of each its best round, with the threads that suit it."""
    seeds = list(range(models))
    groups = {"processes": [[seed] for seed in seeds], "vmap": [seeds]}
    cores = len(os.sched_getaffinity(0))
    threads = {"processes": {max(1, cores // models)}, "vmap": {1, cores}}
    sides: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            for count in threads[way]:
                sides[way].append(side(name, groups[way], count, device, steps))
    best = [(way, max(sides[way], key=lambda r: r["pairs_per_second"])) for way in WAYS]
    return {
        "model": name,
        "models": models,
        **{way: {key: result[key] for key in ("pairs_per_second", "gib")} for way, result in best},
        DIFFERENCE: float(
            np.abs(sides["processes"][0]["losses"] - sides["vmap"][0]["losses"]).max()
        ),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="2 models, 10 steps, one round")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    counts: tuple[int, ...]
    counts, steps, rounds = ((2,), 10, 1) if options.quick else ((2, 4, 8), 60, 3)
    if options.device == "cuda" and not options.quick:
        counts, steps = (2, 4, 8, 16), 300
    precision = PRECISION[options.device]
    rows = []
    print("  model     K   processes pairs/s    GiB     vmap pairs/s    GiB   losses differ by")
    for name in MODELS:
        for models in counts:
            rows.append(compare(name, models, options.device, steps, rounds))
            print(_line(rows[-1]), flush=True)
    fine = all(row[DIFFERENCE] <= TOLERANCE[precision] for row in rows)
    results = {"device": _device_name(options.device), "precision": precision.name, "rows": rows}
    name = "many_runs" if options.device == "cpu" else "many_runs_cuda"
    verdict = _verdict(rows, fine)
    return finish(name, results, verdict, fine=fine, quick=options.quick, device=options.device)


def _device_name(device: str) -> str:
    return torch.cuda.get_device_name() if device == "cuda" else processor()


def _line(row: dict[str, Any]) -> str:
    parts = [f"{row[way]['pairs_per_second']:16,.0f} {row[way]['gib']:8.2f}" for way in WAYS]
    return f"  {row['model']:<8} {row['models']:>2} {' '.join(parts)} {row[DIFFERENCE]:13.1e}"


def _verdict(rows: list[dict[str, Any]], fine: bool) -> str:
    """Of each model the winner, both ways at the number of models that suits them best."""
    parts = []
    for name in MODELS:
        best = {
            way: max(r[way]["pairs_per_second"] for r in rows if r["model"] == name) for way in WAYS
        }
        winner, loser = sorted(best, key=best.__getitem__, reverse=True)
        parts.append(f"{name}: {winner} {best[winner] / best[loser]:.2f} times as fast as {loser}")
    equal = "the losses agree" if fine else "the LOSSES DIFFER"
    return f"many_runs: {'; '.join(parts)}; {equal} (goal: equal losses; the speed is recorded)"


if __name__ == "__main__":
    sys.exit(main())
