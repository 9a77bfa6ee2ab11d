"""Several processes: they find one another, exchange, fail together, and train one model."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from processes import in_processes, start
from tiny_models import CAPTIONS, batch, build_model, local_loss, plain_loss

from gen.schema import Objective, Sharding
from gen.training import distributed
from gen.training.backward import backward, cut
from gen.training.distributed import (
    VARIABLES,
    Ranks,
    any_rank,
    device_of_rank,
    gather_rows,
    slice_of,
    start_ranks,
    stop_ranks,
    wrap,
)
from gen.training.towers import Towers
from splits.errors import UserError

CPU = torch.device("cpu")


def cpu_of(local_rank):
    return CPU


@pytest.fixture
def alone(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("alone")
def test_without_torchrun_there_is_one_process_and_nothing_to_exchange():
    ranks = start_ranks(cpu_of)
    assert ranks == Ranks(0, 1, 0, CPU)
    assert ranks.is_first
    assert not dist.is_initialized()
    rows = torch.ones(2, 3)
    assert gather_rows(rows) is rows
    assert any_rank(True)
    assert not any_rank(False)
    towers = Towers(build_model("linear", Objective.infonce))
    assert wrap(towers, ranks, Sharding.fsdp) is towers
    stop_ranks()


@pytest.mark.usefixtures("alone")
def test_half_an_environment_is_an_error_that_names_the_other_half(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="lacks RANK, LOCAL_RANK"):
        start_ranks(cpu_of)


def test_more_processes_than_cuda_devices_is_an_error(monkeypatch):
    monkeypatch.setattr(distributed, "pick_device", lambda: torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of_rank(1) == torch.device("cuda", 1)
    with pytest.raises(UserError, match="no CUDA device"):
        device_of_rank(2)


def test_the_slices_of_all_processes_are_the_batch():
    slices = [slice_of(Ranks(rank, 3, rank, CPU), 12, 2) for rank in range(3)]
    assert [row for own in slices for row in range(12)[own]] == list(range(12))


@pytest.mark.parametrize(("size", "parts"), [(3, 1), (2, 4), (8, 2)])
def test_a_batch_that_does_not_fall_into_equal_parts_is_an_error(size, parts):
    with pytest.raises(UserError, match="equal parts"):
        slice_of(Ranks(0, size, 0, CPU), 20, parts)


def exchange(rank, size):
    rows = torch.tensor([[10.0 * rank, 1.0], [10.0 * rank + 1, 2.0]], requires_grad=True)
    gathered = gather_rows(rows)
    weights = torch.arange(gathered.numel()).reshape(gathered.shape) * (rank + 1.0)
    (gathered * weights).sum().backward()
    flags = [any_rank(rank == 1), any_rank(False)]
    return gathered.detach(), rows.grad, gather_rows(torch.tensor([rank])), flags


@pytest.mark.dist
def test_gathered_rows_stand_in_order_and_their_gradients_are_summed():
    found = in_processes(2, exchange)
    expected = torch.tensor([[0.0, 1], [1, 2], [10, 1], [11, 2]])
    for rank, (gathered, gradient, ranks, flags) in enumerate(found):
        assert gathered.equal(expected)
        assert gradient.equal(3 * torch.arange(8.0).reshape(4, 2)[2 * rank : 2 * rank + 2])
        assert ranks.tolist() == [0, 1]
        assert flags == [True, False]


def train_sharded(rank, size, steps):
    """As `train_plainly`, with FSDP2."""
    ranks = Ranks(rank, size, rank, CPU)
    model = build_model("vit", Objective.sigmoid)
    towers = wrap(Towers(model), ranks, Sharding.fsdp)
    held = sum(p.to_local().numel() for p in towers.parameters())
    optimizer = build_optimizer(towers)
    own = slice_of(ranks, len(CAPTIONS), 2)
    distinct, text_of = CAPTIONS[own].unique(return_inverse=True)
    loss = local_loss(Objective.sigmoid, CAPTIONS[own], text_of, gather_rows, own.start)
    norms = []
    for step in range(steps):
        images, texts = batch(step)
        parts = cut(images[own], texts[distinct], 2)
        backward(towers, parts, loss, seed_part=lambda part: None)
        norms.append(torch.nn.utils.clip_grad_norm_(towers.parameters(), 0.5).full_tensor())
        optimizer.step()
        optimizer.zero_grad()
    return held, norms, {name: p.full_tensor() for name, p in model.named_parameters()}


def train_plainly(steps):
    model = build_model("vit", Objective.sigmoid)
    optimizer, norms = build_optimizer(model), []
    for step in range(steps):
        plain_loss(model, Objective.sigmoid, step).backward()
        norms.append(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5))
        optimizer.step()
        optimizer.zero_grad()
    return norms, dict(model.named_parameters())


def build_optimizer(model):
    return torch.optim.AdamW(model.parameters(), lr=1e-2, eps=1e-6, fused=True)


@pytest.mark.dist
def test_sharded_training_gives_the_weights_of_one_process_and_holds_half_of_them_each():
    norms, weights = train_plainly(3)
    found = in_processes(2, train_sharded, 3)
    size = sum(p.numel() for p in weights.values())
    assert sum(held for held, _, _ in found) == size + 2  # scale and bias stand twice
    assert all(0.4 * size < held < 0.6 * size for held, _, _ in found)
    for _, own_norms, own in found:
        torch.testing.assert_close(own_norms, norms)
        assert own.keys() == weights.keys()
        for name, value in weights.items():
            torch.testing.assert_close(own[name], value.detach(), rtol=1e-8, atol=1e-8, msg=name)


def join(rank, size, port, folder, partner):
    """Start as under torchrun; the last process then dies, hangs or waits at the barrier."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {name: str(rank) for name in VARIABLES} | {"WORLD_SIZE": str(size)}
    distributed.TIMEOUT = timedelta(seconds=60 if partner == "dies" else 5)
    ranks = start_ranks(cpu_of)
    assert replace(ranks, patient=None) == Ranks(rank, size, rank, CPU, size)
    assert ranks.patient is not None
    if rank == 1 and partner == "dies":
        os._exit(0)
    if rank == 1 and partner == "hangs":
        while not (folder / "failed").exists():
            time.sleep(0.1)
        return
    began, outcome = time.monotonic(), "met"
    try:
        dist.barrier()
    except RuntimeError:
        outcome = f"failed {'in time' if time.monotonic() - began < 30 else 'late'}"
    stop_ranks()
    (folder / outcome.split()[0]).touch()
    (folder / f"outcome-{rank}").write_text(outcome)


@pytest.mark.dist
@pytest.mark.parametrize("partner", ["meets", "dies", "hangs"])
def test_a_process_meets_its_partner_or_fails(partner, tmp_path: Path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start(2, join, port, tmp_path, partner)
    outcome = (tmp_path / "outcome-0").read_text()
    assert outcome == ("met" if partner == "meets" else "failed in time")
