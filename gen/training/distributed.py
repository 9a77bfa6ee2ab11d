"""Several processes that train one model: start, exchange, wrap, stop.

Started by torchrun, every process computes its slice of the global batch; without it there is one
process, and everything here is the identity. CUDA devices talk through NCCL, processors through
gloo.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from inspect import signature
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from gen.device import pick_device
from gen.schema import Sharding
from gen.training.batch_norm import synchronise_batch_norm
from gen.training.towers import Towers
from splits.errors import UserError

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

TIMEOUT = timedelta(minutes=10)
"""How long a process waits for its partners before it fails. A partner that died is noticed at
once; this is for one that hangs. It must outlast what one process does while the others wait:
writing a state, compiling kernels."""

PATIENCE = timedelta(days=365)
"""how long processes wait for the first one to tell what comes next: it may be evaluating"""

VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_RANK")
"""environment variables by which torchrun tells a process what it is"""

BLOCKS = ("resblocks", "blocks")
"""names under which open_clip's and timm's transformers keep their blocks"""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
        local_rank: number of this process on its machine.
        device: on which it computes.
        local_size: number of processes on its machine.
        patient: in which processes wait for as long as it takes; None for one process.
    """

    rank: int
    size: int
    local_rank: int
    device: torch.device
    local_size: int = 1
    patient: dist.ProcessGroup | None = None

    @property
    def is_first(self) -> bool:
        """Whether this process writes what all share."""
        return self.rank == 0


def device_of_rank(local_rank: int) -> torch.device:
    """The CUDA device of that number where there are CUDA devices, else the processor.

    Raises:
        UserError: fewer CUDA devices than processes.
    """
    device = pick_device()
    if device.type != "cuda":
        return device
    if local_rank >= torch.cuda.device_count():
        raise UserError(
            f"process {local_rank} of this machine has no CUDA device",
            expected=f"at most {torch.cuda.device_count()} processes, one per device",
            fix="start torchrun with a smaller --nproc-per-node",
        )
    return torch.device("cuda", local_rank)


def alone() -> Ranks:
    """One process that trains by itself."""
    return Ranks(0, 1, 0, device_of_rank(0))


def start_ranks(device_of: Callable[[int], torch.device] = device_of_rank) -> Ranks:
    """Join the processes that torchrun started; alone without it.

    Args:
        device_of: device of a local rank.

    Raises:
        UserError: some of torchrun's environment variables are set and others are not.
    """
    missing = [name for name in VARIABLES if name not in os.environ]
    if len(missing) == len(VARIABLES):
        return Ranks(0, 1, 0, device_of(0))
    if missing:
        raise UserError(
            f"the environment lacks {', '.join(missing)}",
            expected=f"all of {', '.join(VARIABLES)}, or none of them for one process",
            fix="start several processes with torchrun",
        )
    size, rank, local_rank = (int(os.environ[name]) for name in VARIABLES)
    device = device_of(local_rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", timeout=TIMEOUT, device_id=device)
    else:
        dist.init_process_group("gloo", timeout=TIMEOUT)
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    patient = cast("dist.ProcessGroup", dist.new_group(backend="gloo", timeout=PATIENCE))
    return Ranks(rank, size, local_rank, device, local_size, patient)


def stop_ranks() -> None:
    """Leave the other processes, if there are any."""
    if dist.is_initialized():
        dist.destroy_process_group()


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """The processes that torchrun started, joined while active; alone without it."""
    try:
        yield start_ranks()
    finally:
        stop_ranks()


def any_rank(flag: bool) -> bool:
    """Whether the flag is set in any process; all of them must ask."""
    if not dist.is_initialized():
        return flag
    device = "cuda" if dist.get_backend() == "nccl" else "cpu"
    flags = torch.tensor(int(flag), device=device)
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags.item())


def told_by_first(ranks: Ranks, number: int = 0) -> int:
    """The number that the first process calls this with, however long the others wait for it."""
    if ranks.patient is None:
        return number
    told = torch.tensor(number)
    dist.broadcast(told, src=0, group=ranks.patient)
    return int(told)


def gather_rows(rows: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, in the order of their ranks.

    Differentiable: the gradient of a row is the sum of what all processes found for it.

    Args:
        rows: shape [b, ...], the same in all processes.

    Returns:
        Shape [R · b, ...] with R processes.
    """
    if not dist.is_initialized():
        return rows
    gathered: torch.Tensor = _GatherRows.apply(rows)
    return gathered


def slice_of(ranks: Ranks, batch: int, parts: int = 1) -> slice:
    """The rows of the global batch that this process computes.

    Args:
        ranks: this process.
        batch: number of rows of the global batch.
        parts: in which each process cuts its rows.

    Raises:
        UserError: the batch does not fall into equal parts.
    """
    if batch % (ranks.size * parts):
        raise UserError(
            f"a batch of {batch} does not fall into {ranks.size} processes × {parts} equal parts",
            expected=f"a multiple of {ranks.size * parts}",
            where="training.batch_size, training.accumulate",
        )
    rows = batch // ranks.size
    return slice(ranks.rank * rows, (ranks.rank + 1) * rows)


def wrap(towers: Towers, ranks: Ranks, sharding: Sharding) -> nn.Module:
    """Make the processes train one model; with one process the towers as they are.

    Batch norms become global. With `ddp` every process holds the whole model and gradients are
    averaged; with `fsdp` (FSDP2) parameters become DTensors, of which each process holds a share,
    a transformer block at a time. Optimizers are built afterwards, from the result's parameters.

    Args:
        towers: on the device of this process, with the same weights in all processes; changed in
            place.
        ranks: this process.
        sharding: what every process holds.
    """
    if ranks.size == 1:
        return towers
    synchronise_batch_norm(towers, gather_rows, ranks.device)
    if sharding is Sharding.fsdp:
        return _shard(towers, ranks)
    known = signature(DistributedDataParallel).parameters  # newer versions have another name for it
    name = next(n for n in ("forward_sync_buffers", "broadcast_buffers") if n in known)
    kept: dict[str, Any] = {name: False}
    return DistributedDataParallel(
        towers,
        device_ids=[ranks.device] if ranks.device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        **kept,  # the statistics of global batch norms are equal anyway
    )


class _GatherRows(torch.autograd.Function):
    """All-gather whose backward is a reduce-scatter.

    torch's own differentiable collectives have been renamed from version to version; these two
    plain ones have not.
    """

    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        gathered = rows.new_empty(dist.get_world_size() * len(rows), *rows.shape[1:])
        dist.all_gather_into_tensor(gathered, rows.contiguous())
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        (gradient,) = gradients
        own = gradient.new_empty(len(gradient) // dist.get_world_size(), *gradient.shape[1:])
        dist.reduce_scatter_tensor(own, gradient.contiguous())
        return own


def _shard(towers: Towers, ranks: Ranks) -> nn.Module:
    """FSDP2 on every transformer block and on what remains."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    towers.to(memory_format=torch.contiguous_format)  # FSDP2 cuts no other
    mesh = init_device_mesh(ranks.device.type, (ranks.size,))
    scalars = _replicate_scalars(towers, mesh)
    for module in reversed(list(towers.modules())):  # inner ones first, as FSDP2 asks
        for name, blocks in module.named_children():
            if name in BLOCKS:
                for block in blocks.children():
                    fully_shard(block, mesh=mesh)
    fully_shard(towers, mesh=mesh, ignored_params=scalars)
    return towers


def _replicate_scalars(towers: Towers, mesh: DeviceMesh) -> set[nn.Parameter]:
    """Turn scale and bias, which FSDP2 cannot cut, into DTensors that every process holds whole.

    As DTensors they go with all other parameters through optimizers, norms and states.
    """
    from torch.distributed.tensor import DTensor, Replicate

    def average(gradient: DTensor) -> DTensor:
        total = gradient.to_local().clone()
        dist.all_reduce(total)
        return DTensor.from_local(total / mesh.size(), mesh, [Replicate()], run_check=False)

    scalars = set()
    for module in towers.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            if parameter.ndim == 0:
                whole = DTensor.from_local(parameter.detach(), mesh, [Replicate()], run_check=False)
                replicated = nn.Parameter(whole)
                replicated.register_hook(average)
                setattr(module, name, replicated)
                scalars.add(replicated)

    def to_local(module: nn.Module, inputs: Any, outputs: Any) -> Any:
        if not isinstance(outputs, tuple):
            return outputs
        return tuple(out.to_local() if isinstance(out, DTensor) else out for out in outputs)

    towers.register_forward_hook(to_local)
    return scalars
