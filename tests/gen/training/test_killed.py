"""kill -9 at random moments: the final weights are those of a training that nobody killed.

The number of kills is that of the environment variable KILLS, 20 without it.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import time

import pytest
import torch
from processes import PRELOADED
from small_run import small_model, small_training

from gen.training.loop import train

KILLS = int(os.environ.get("KILLS", "20"))
LENGTH = {"samples_seen": 8 * 300, "checkpoint_every": 24, "log_every": 1, "milestones": 5}


def _train(folder, name):
    torch.set_num_threads(1)
    train(small_training(folder, model=small_model(name), **LENGTH))


def started(folder, name):
    """A process that trains in `folder`."""
    multiprocessing.set_forkserver_preload(PRELOADED)
    process = multiprocessing.get_context("forkserver").Process(target=_train, args=(folder, name))
    process.start()
    return process


def finish(folder, name):
    """Train to the end; the seconds that took."""
    begin = time.monotonic()
    process = started(folder, name)
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - begin


def samples_seen(folder):
    """Of the newest state."""
    states = sorted(path.name for path in (folder / "checkpoints").glob("state-*.safetensors"))
    return int(re.findall(r"\d+", states[-1])[0]) if states else 0


def content(folder):
    """Everything that a training leaves but its clock: weights, milestones, losses."""
    log = (folder / "metrics.jsonl").read_text()
    weights = {path.name: path.read_bytes() for path in (folder / "checkpoints").iterdir()}
    return weights | {"log": re.sub(r', "samples_per_second": [\d.]+', "", log)}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rn-tiny", "vit-tiny", "clippo-tiny"])
def test_killed_at_random_moments_a_training_ends_with_the_same_bits(tmp_path, name):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    seconds = finish(whole, name)
    moments, seen = random.Random(name), set()
    for kill in range(KILLS):
        process = started(parts, name)
        # the later a kill, the longer it may take: a training that always begins anew ends never
        process.join(moments.uniform(0.2, 0.6) * seconds)
        assert process.exitcode is None, f"kill {kill} came too late"
        process.kill()
        process.join()
        seen.add(samples_seen(parts))
        if len(os.listdir(parts / "checkpoints")) and kill % 4 == 3:
            for state in (parts / "checkpoints").glob("state-*"):
                state.unlink()  # begin anew, so that all kills fall into the training
    finish(parts, name)
    assert len(seen) > KILLS / 3
    assert content(parts) == content(whole)
