"""Two processes learn what one does, and either goes on with what the other has done."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from processes import in_processes
from small_run import CPU, small_model, small_training

from gen.schema import Sharding, TextPairsConfig
from gen.training import loop
from gen.training.distributed import Ranks
from gen.training.loop import train
from gen.training.metrics_log import read_metrics

CHANGES = {"log_every": 1, "samples_seen": 160}


class Stopped(Exception):
    """What a kill looks like from inside."""


def _train(rank, size, folder, name, changes, stop=None):
    """Train in one of several processes; as if killed in step `stop`."""
    torch.set_num_threads(1)
    ranks = Ranks(rank, size, rank, CPU, size)
    original = loop.take_step

    def stopping(training, step, batch):
        if step == stop:
            raise Stopped
        return original(training, step, batch)

    loop.take_step = stopping
    try:
        train(small_training(folder, model=small_model(name), ranks=ranks, **CHANGES, **changes))
    except Stopped:
        pass
    finally:
        loop.take_step = original


def curve(folder):
    return np.array([row["loss"] for row in read_metrics(folder)])


def assert_same(curve, other):
    """Equal to 1e-5, beside the rounding of what is logged."""
    np.testing.assert_allclose(curve, other, rtol=1e-5, atol=1e-5)


@pytest.mark.dist
@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("rn-tiny", {}),
        ("vit-tiny", {"accumulate": 2}),
        ("clippo-tiny", {}),
        ("clippo-tiny", {"text_pairs": TextPairsConfig("captions", 0.5), "accumulate": 2}),
        ("vit-tiny", {"sharding": Sharding.fsdp}),
    ],
    ids=["resnet", "vit in two parts", "clippo", "pairs of texts in two parts", "vit in shares"],
)
def test_two_processes_have_the_losses_of_one(tmp_path, name, changes):
    one, two = tmp_path / "one", tmp_path / "two"
    _train(0, 1, one, name, changes)
    in_processes(2, _train, two, name, changes)
    assert len(curve(one)) == 20
    assert_same(curve(two), curve(one))


@pytest.mark.dist
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_training_goes_on_with_another_number_of_processes(tmp_path, before, after):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    _train(0, 1, whole, "rn-tiny", {})
    for size, stop in ((before, 9), (after, None)):
        arguments = (parts, "rn-tiny", {}, stop)
        if size == 1:
            _train(0, 1, *arguments)
        else:
            in_processes(size, _train, *arguments)
    assert (parts / "checkpoints" / "final.safetensors").is_file()
    assert_same(curve(parts), curve(whole))
