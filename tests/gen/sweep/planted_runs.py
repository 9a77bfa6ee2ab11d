"""Run folders made by hand: whatever work, or its sudden end, leaves in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

from omegaconf import OmegaConf

from gen.config import load_config
from gen.runs import Run, Target, identity, mark_done, run_identity, run_name, update_record
from gen.schema import EvaluationConfig, ResourcesConfig, TrainingConfig
from gen.sweep.heartbeat import NAME as HEARTBEAT
from splits.files import write_json, write_text

TRAINING = TrainingConfig(samples_seen=1000, batch_size=100)
HOLD = """
import sys
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


def planned(folder: Path, setting="natural_only", arm="", training=TRAINING, seed=0, **changes):
    """A run as a study plans it; its folder is not there."""
    target = Target("sketch", 0)
    mixture = SimpleNamespace(sha256=setting.ljust(64, "0"), size=300, base=None, caption="caption")
    model = load_config("models", "rn-tiny")
    name = run_name(setting, [target], seed, identity(model, training, seed, 32, mixture), arm)
    return Run(
        folder=folder / name,
        setting=setting,
        held_out={target: ("axe",)},
        mixtures={target: mixture},
        model=model,
        training=training,
        seed=seed,
        pixels=32,
        evaluation=changes.pop("evaluation", EvaluationConfig()),
        arm=arm,
        **changes,
    )


def study_of(folder: Path, *runs: Run) -> SimpleNamespace:
    """A study of these runs."""
    config = SimpleNamespace(resources=ResourcesConfig(), base="")
    return SimpleNamespace(name=folder.name, folder=folder, runs=runs, config=config, base=None)


def begin(run: Run, **facts) -> None:
    """What a run's folder has from its first step on."""
    write_text(run.folder / "config.yaml", OmegaConf.to_yaml(run_identity(run)))
    described = {"run": run.name, "arm": run.arm, "setting": run.setting, "device": "here"}
    update_record(run.folder, **described, processes=1, **facts)
    (run.folder / "lock").touch()


def log(run: Run, seen: int, rate: float = 50.0) -> None:
    """A line in the run's log."""
    values = {"loss": 2.5, "loss_floor": 0.1, "samples_per_second": rate}
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": seen // 100, "samples_seen": seen, **values}) + "\n")


def train(run: Run, rate: float = 50.0, seconds: float = 20.0) -> None:
    """Everything that a trained run has: its weights are 100 bytes."""
    begin(run, samples_seen=1000, samples_per_second=rate, seconds={"train": seconds})
    write_text(run.final_weights, "w" * 100)
    update_record(run.folder, checkpoint="0" * 64)
    log(run, 1000, rate)


def finish(run: Run, evaluate: float = 4.0, analyze: float = 1.0, **trained) -> None:
    """Everything that a done run has."""
    if run.pretrained is None:
        train(run, **trained)
    for name in ("predictions", "evaluation", "cells", "retrieval"):
        write_text(run.folder / f"{name}.parquet", "table")
    for table in run.analyses.values():
        write_text(table, "table")
    spent = {"train": trained.get("seconds", 20.0), "evaluate": evaluate, "analyze": analyze}
    keys = {"evaluated": run.evaluation_key, "analyzed": run.analyses_key}
    update_record(run.folder, seconds=spent, **keys)
    mark_done(run)
    assert run.done


def beat(run: Run, age: float, host="elsewhere", stage="train") -> None:
    """A heartbeat of so many seconds ago."""
    content = {"host": host, "pid": 7, "job": "", "stage": stage, "since": "2026-01-01T00:00:00Z"}
    write_json(run.folder / HEARTBEAT, content)
    moment = time.time() - age
    os.utime(run.folder / HEARTBEAT, (moment, moment))


@contextmanager
def held(lock: Path) -> Iterator[subprocess.Popen]:
    """While active, another process holds a lock."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], **pipes) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()
