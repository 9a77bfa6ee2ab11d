"""Killed anywhere, a training leaves what one leaves that nobody killed, and not a file more.

Once before every call that flushes, renames or deletes a file; and by kill -9 at random moments,
as often as the environment variable KILLS says, 20 times without it.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
import re
import shutil
import time

import pytest
import torch
from processes import PRELOADED
from safetensors import safe_open
from small_run import small_model, small_training

from gen.training.loop import train

KILLS = int(os.environ.get("KILLS", "20"))
CALLS = ("fsync", "replace", "unlink")
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
    """Everything that a training leaves but its clock: weights, milestones, states, losses."""
    log = (folder / "metrics.jsonl").read_text()
    left = {"log": re.sub(r', "samples_per_second": [\d.]+', "", log)}
    for path in (folder / "checkpoints").iterdir():
        if path.name.startswith("state-"):  # safetensors writes metadata in any order
            left[path.name] = safe_open(path, framework="pt").metadata()
        else:
            left[path.name] = path.read_bytes()
    return left


def differing(folder, other):
    """What two trainings did not leave alike."""
    ours, theirs = content(folder), content(other)
    return [name for name in {**ours, **theirs} if ours.get(name) != theirs.get(name)]


class Killed(BaseException):
    """What a kill looks like from inside: nothing is tidied up after it."""


def killed_at(monkeypatch, number, training):
    """Train up to the call of that number on files, from 0; whether training came that far."""
    calls = itertools.count()

    def dying(call):
        def wrapped(*arguments, **options):
            if next(calls) >= number:
                raise Killed
            return call(*arguments, **options)

        return wrapped

    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, dying(getattr(os, name)))
        try:
            train(training)
        except Killed:
            return True
    return False


def test_killed_at_any_call_on_files_a_training_leaves_the_same(tmp_path, monkeypatch):
    length = {"log_every": 1, "milestones": 1, "checkpoint_every": 24}  # 3 states in 12 steps
    whole, number = tmp_path / "whole", 0
    train(small_training(whole, model=small_model("vit-tiny"), **length))
    while True:
        parts = tmp_path / f"parts-{number}"
        model = small_model("vit-tiny")
        if not killed_at(monkeypatch, number, small_training(parts, model=model, **length)):
            break
        train(small_training(parts, model=small_model("vit-tiny"), **length))
        assert differing(parts, whole) == [], f"killed at call {number}"
        number += 1
    assert number > 20


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rn-tiny", "vit-tiny", "clippo-tiny"])
def test_killed_at_random_moments_a_training_ends_with_the_same_bits(tmp_path, name):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    seconds = finish(whole, name)
    moments, seen, kills = random.Random(name), set(), 0
    while kills < KILLS:
        process = started(parts, name)
        process.join(moments.uniform(0.1, 0.7) * seconds)
        if process.exitcode is not None:  # too late: everything from the beginning
            shutil.rmtree(parts)
            continue
        process.kill()
        process.join()
        kills += 1
        seen.add(samples_seen(parts))
    finish(parts, name)
    assert len(seen) > KILLS / 3
    assert differing(parts, whole) == []
