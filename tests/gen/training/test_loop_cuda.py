"""The loop on a CUDA device: the same bits every time, and nearly those of a processor."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_run import small_model, small_training

from gen.device import kernels
from gen.schema import Precision
from gen.training import loop
from gen.training.distributed import Ranks
from gen.training.loop import train
from gen.training.metrics_log import read_metrics

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]


def trained(folder, name, device, *, compiled=False, **changes):
    """Train on a device; the losses and the bytes of the weights."""
    ranks = Ranks(0, 1, 0, torch.device(device))
    training = small_training(folder, model=small_model(name), ranks=ranks, log_every=1, **changes)
    if compiled:
        training.towers.model.visual.compile()
    with kernels(deterministic=True):
        train(training)
    losses = [row["loss"] for row in read_metrics(folder)]
    return np.array(losses), (folder / "checkpoints" / "final.safetensors").read_bytes()


@pytest.mark.parametrize("name", ["rn-tiny", "vit-tiny", "clippo-tiny"])
@pytest.mark.parametrize("precision", [Precision.fp32, Precision.bf16])
def test_two_trainings_have_the_same_bits(tmp_path, name, precision):
    runs = [trained(tmp_path / part, name, "cuda", precision=precision) for part in "ab"]
    assert runs[0][1] == runs[1][1]


@pytest.mark.parametrize("compiled", [False, True])
def test_interrupted_and_continued_a_training_has_the_same_bits(tmp_path, monkeypatch, compiled):
    _, whole = trained(tmp_path / "whole", "vit-tiny", "cuda", compiled=compiled)
    original = loop.take_step

    def stopping(training, step, batch):
        if step == 9:
            raise KeyboardInterrupt
        return original(training, step, batch)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):  # noqa: PT012
        patch.setattr(loop, "take_step", stopping)
        trained(tmp_path / "parts", "vit-tiny", "cuda", compiled=compiled)
    assert trained(tmp_path / "parts", "vit-tiny", "cuda", compiled=compiled)[1] == whole


@pytest.mark.parametrize("name", ["rn-tiny", "vit-tiny", "clippo-tiny"])
@pytest.mark.parametrize("compiled", [False, True])
def test_the_losses_are_nearly_those_of_a_processor(tmp_path, name, compiled):
    here, _ = trained(tmp_path / "cpu", name, "cpu", samples_seen=32)
    there, _ = trained(tmp_path / "cuda", name, "cuda", samples_seen=32, compiled=compiled)
    np.testing.assert_allclose(there, here, rtol=0.02)  # TF32
