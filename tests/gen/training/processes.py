"""Tests in several processes that talk through gloo.

The processes come from a fork server that has imported the heavy packages once.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch.multiprocessing import start_processes

PRELOADED = ["torch", "open_clip", "torch._dynamo", "torch.distributed.fsdp", "pytest"]


def in_processes(size, function, *arguments):
    """Call `function(rank, size, *arguments)` in `size` processes; their results, in order."""
    with tempfile.TemporaryDirectory() as folder:
        start(size, _enter, folder, function, arguments)
        paths = [Path(folder) / f"result-{rank}" for rank in range(size)]
        return [torch.load(path, weights_only=False) for path in paths]


def start(size, function, *arguments):
    """Call `function(rank, size, *arguments)` in `size` processes and wait for them."""
    multiprocessing.set_forkserver_preload(PRELOADED)
    start_processes(function, (size, *arguments), nprocs=size, start_method="forkserver")


def _enter(rank, size, folder, function, arguments):
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=size
    )
    try:
        torch.save(function(rank, size, *arguments), Path(folder) / f"result-{rank}")
    finally:
        dist.destroy_process_group()
