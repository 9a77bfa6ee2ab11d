"""One model on one dataset, ready to be trained by either side, and the two ways to train it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.openclip_side import SHARD_PATTERN, write_model, write_shards
from benchmarks.timed import Rate, rate

HERE = Path(__file__).parent
SETTING, TEST_DOMAIN = "upper_bound_high", "sketch"
LEARNING_RATE, WARM_UP = 7e-4, 0.05
TAIL = 15
"""lines of a failed command's output that are shown"""


@dataclass(frozen=True)
class Setup:
    """How a side runs: what the pilot varies.

    Attributes:
        threads: of PyTorch's operators.
        workers: of open_clip's loader; ours has none.
        precision: `fp32` or `bf16`.
        compiled: whether `torch.compile` makes the kernels.
    """

    threads: int
    workers: int = 0
    precision: str = "fp32"
    compiled: bool = False

    def whole(self, steps: int) -> int:
        """Steps of an epoch: open_clip rounds them up to a multiple of its workers."""
        workers = max(1, self.workers)
        return -(-steps // workers) * workers

    def __str__(self) -> str:
        compiled = ", compiled" if self.compiled else ""
        return f"{self.threads} threads, {self.workers} workers, {self.precision}{compiled}"


@dataclass(frozen=True)
class Contest:
    """Everything on disk that both sides need.

    Attributes:
        folder: of all of it; every measurement gets a folder in it.
        model: name in configs/models.
        data: folder of the datasets.
        device: `cpu` or `cuda`.
        batch_size: pairs of a step.
        epoch: pairs of an epoch.
    """

    folder: Path
    model: str
    data: Path
    device: str
    batch_size: int
    epoch: int

    @property
    def steps(self) -> int:
        """Steps of an epoch; the last one is filled from the next epoch."""
        return math.ceil(self.epoch / self.batch_size)


@dataclass(frozen=True)
class Training:
    """A finished measurement.

    Attributes:
        rate: of its steps after the first epoch.
        weights: where the trained model is; for clipgen the folder of its runs.
    """

    rate: Rate
    weights: Path


def prepare(
    folder: Path, model: str, dataset: str, data: Path, *, device: str, batch_size: int, seeds: int
) -> Contest:
    """Write the study that clipgen trains, and the same pairs and towers for open_clip."""
    from gen.models.trained import run_vocabulary
    from gen.sweep.study import load_study, save_study

    folder.mkdir(parents=True)
    study_file = folder / "study.yaml"
    study_file.write_text(
        yaml.safe_dump(_study(model, dataset, device, batch_size, seeds)), encoding="utf-8"
    )
    study = load_study(str(study_file), [], data=data, runs=folder / "runs")
    save_study(study)
    run = study.runs[0]
    rows = study.dataset.samples.filter(study.dataset.samples["id"].is_in(run.mixture.ids))
    write_shards(study.dataset.folder, rows, folder / "shards")
    context = run_vocabulary(run, study.dataset).context_length
    write_model(folder / "model", run.model, study.dataset.pixels, context)
    return Contest(folder, model, data, device, batch_size, rows.height)


def _study(model: str, dataset: str, device: str, batch_size: int, seeds: int) -> dict[str, Any]:
    training = {
        "samples_seen": batch_size,
        "batch_size": batch_size,
        "learning_rate": LEARNING_RATE,
        "warmup": WARM_UP,
        "flip": False,  # open_clip_train's augmentation has none
        "deterministic": device == "cpu",  # the default; open_clip_train's CUDA kernels are not
    }
    return {
        "name": "contest",
        "dataset": dataset,
        "model": model,
        "test_domains": [TEST_DOMAIN],
        "settings": [SETTING],
        "held_out": {"count": 3},
        "seeds": list(range(seeds)),
        "training": training,
    }


def train_clipgen(
    contest: Contest, setup: Setup, *, seed: int, epochs: int, steps: int, part: str = "whole"
) -> Training:
    """`clipgen train` in a process of its own; the first epoch does not count.

    Args:
        contest: what to train.
        setup: threads and precision.
        seed: of the run.
        epochs: of the run, two at least.
        steps: of an epoch.
        part: `whole`, `step` or `loader`, see clipgen_side.py.
    """
    folder = _fresh(contest.folder, f"clipgen-{part}")
    command = ["clipgen_side.py", part, "marks.npy", str(contest.data), "runs"]
    command += [f"{SETTING}-{TEST_DOMAIN}-s{seed}-", str(contest.folder / "study.yaml")]
    command += our_overrides(setup, epochs * steps * contest.batch_size)
    _execute(command, setup, folder)
    return Training(rate(folder / "marks.npy", contest.batch_size, steps), folder)


def our_overrides(setup: Setup, samples_seen: int) -> list[str]:
    """What differs from the study's file."""
    return [
        f"training.samples_seen={samples_seen}",
        f"training.precision={setup.precision}",
        f"training.compile={'always' if setup.compiled else 'never'}",
        f"training.checkpoint_every={samples_seen}",  # no state on the way: open_clip writes none
    ]


def train_openclip(
    contest: Contest, setup: Setup, *, seed: int, epochs: int, steps: int, part: str = "whole"
) -> Training:
    """`open_clip_train.main` in a process of its own; the first epoch does not count.

    Arguments as for `train_clipgen`; see openclip_side.py for the parts.
    """
    folder = _fresh(contest.folder, f"openclip-{part}")
    command = ["openclip_side.py", part, "marks.npy"]
    command += _openclip_arguments(contest, setup, seed, epochs, steps)
    _execute(command, setup, folder)
    weights = folder / "run" / "checkpoints" / f"epoch_{epochs}.pt"
    return Training(rate(folder / "marks.npy", contest.batch_size, steps), weights)


def _openclip_arguments(
    contest: Contest, setup: Setup, seed: int, epochs: int, steps: int
) -> list[str]:
    options = {
        "model": f"local-dir:{contest.folder / 'model'}",
        "train-data": str(contest.folder / "shards" / SHARD_PATTERN),
        "dataset-type": "webdataset",
        "train-num-samples": steps * contest.batch_size,
        "batch-size": contest.batch_size,
        "workers": setup.workers,
        "device": contest.device,
        "precision": {"fp32": "fp32", "bf16": "amp_bf16"}[setup.precision],
        "epochs": epochs,
        "warmup": max(1, round(WARM_UP * epochs * steps)),
        "lr": LEARNING_RATE,
        "beta1": 0.9,
        "beta2": 0.98,
        "eps": 1e-6,
        "wd": 0.2,
        "seed": seed,
        "log-every-n-steps": 20,
        "save-frequency": 0,
        "zeroshot-frequency": 0,
        "logs": ".",
        "name": "run",
    }
    arguments = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return arguments + ["--torchcompile"] * setup.compiled


def _execute(command: Sequence[str], setup: Setup, folder: Path) -> None:
    """Run a script of this folder in `folder`; its output goes to a file there."""
    environment = os.environ | {"OMP_NUM_THREADS": str(setup.threads), "HF_HUB_OFFLINE": "1"}
    with (folder / "output.txt").open("w+", encoding="utf-8") as output:
        done = subprocess.run(
            [sys.executable, str(HERE / command[0]), *command[1:]],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
        output.seek(0)
        last = output.read().splitlines()[-TAIL:]
    if done.returncode:
        raise RuntimeError("\n".join([f"{command[0]} ended with {done.returncode}:", *last]))


def _fresh(folder: Path, name: str) -> Path:
    """A new folder for a measurement."""
    number = sum(1 for _ in folder.glob(f"{name}-*"))
    made = folder / f"{name}-{number:03}"
    made.mkdir()
    return made
