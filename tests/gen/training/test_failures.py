"""A training that cannot go on says where it stands, what it saw, and what to turn."""

from __future__ import annotations

import json

import pytest
import torch

from gen.schema import ImagePlace, Sharding, TrainingConfig
from gen.training.failures import BAD_BATCH, TrainingDiverged, check_finite, explain_memory


def check(folder, losses, first_step=40):
    check_finite(
        losses,
        first_step,
        batch_size=10,
        batch_ids=lambda step: [f"sample_{step * 10 + place}" for place in range(10)],
        folder=folder,
    )


def test_finite_losses_pass(tmp_path):
    check(tmp_path, [0.0, 1e30, -1.0])
    check(tmp_path, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_the_first_loss_that_is_no_number_is_named_with_its_batch(tmp_path, value):
    folder = tmp_path / "demo" / "natural-s0-0123"
    with pytest.raises(TrainingDiverged) as caught:
        check(folder, [1.0, 2.0, value, float("nan")])
    message = str(caught.value)
    assert f"the loss is {value} in step 42, after 420 samples seen" in message
    assert "(batch: sample_420, sample_421, sample_422, sample_423, sample_424, …)" in message
    assert "the same command goes on from the last state and comes to this step again" in message
    assert str(folder / BAD_BATCH) in message
    written = json.loads((folder / BAD_BATCH).read_text())
    ids = [f"sample_{number}" for number in range(420, 430)]
    assert written == {"step": 42, "samples_seen": 420, "what": f"the loss is {value}", "ids": ids}


CPU_ERROR = (
    "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 4000 bytes.\nmore"
)


def advice(error, **values):
    return explain_memory(error, TrainingConfig(samples_seen=1, **values)).fix


@pytest.mark.parametrize(
    ("error", "place"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "the device"),
        (RuntimeError(CPU_ERROR), "this machine"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried"), "this machine"),
        (MemoryError(), "this machine"),
    ],
)
def test_short_memory_is_explained_with_the_values_that_can_be_turned(error, place):
    config = TrainingConfig(samples_seen=1, accumulate=2, batch_size=512)
    message = str(explain_memory(error, config))
    assert message.startswith(f"the memory of {place} is too small for training")
    assert "more" not in message.splitlines()[0]
    for setting in ("accumulate=2", "images=auto", "sharding=ddp", "batch_size=512"):
        assert f"training.{setting}" in message


def test_the_knobs_stand_in_the_order_in_which_to_turn_them():
    fix = advice(torch.OutOfMemoryError(), accumulate=2, batch_size=512)
    knobs = ["accumulate=4", "images=memory", "sharding=fsdp", "batch_size=256"]
    places = [fix.index(f"training.{knob}") for knob in knobs]
    assert places == sorted(places)
    assert "changes the experiment" in fix[places[-1] :]


def test_what_is_so_already_is_not_advised():
    fix = advice(torch.OutOfMemoryError(), images=ImagePlace.disk, sharding=Sharding.fsdp)
    assert "images" not in fix
    assert "sharding" not in fix
    assert "images=disk" in advice(RuntimeError(CPU_ERROR))
    assert "images" not in advice(RuntimeError(CPU_ERROR), images=ImagePlace.disk)


def test_an_error_about_something_else_is_not_explained():
    config = TrainingConfig(samples_seen=1)
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("memory")):
        assert explain_memory(error, config) is None


def test_the_processors_allocator_says_what_is_listened_for():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert explain_memory(caught.value, TrainingConfig(samples_seen=1)) is not None
