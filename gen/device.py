"""The one place that decides where and in which arithmetic a model runs."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch

from gen.schema import Precision

CPU_INFO = Path("/proc/cpuinfo")


def pick_device() -> torch.device:
    """A CUDA device where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def describe_device(device: torch.device) -> str:
    """Name of the device for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    for line in CPU_INFO.read_text().splitlines() if CPU_INFO.is_file() else []:
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "cpu"


def pick_precision(wanted: Precision, device: torch.device) -> tuple[Precision, str]:
    """The arithmetic of the towers, and why.

    bf16 pays where the hardware computes in it; elsewhere it is emulated, and slower than fp32.
    """
    if wanted is not Precision.auto:
        return wanted, "as configured"
    if device.type == "cuda":
        return Precision.bf16, "CUDA device"
    flags = CPU_INFO.read_text().split() if CPU_INFO.is_file() else []
    fast = sorted({"amx_bf16", "avx512_bf16"}.intersection(flags))
    if fast:
        return Precision.bf16, f"the processor has {', '.join(fast)}"
    return Precision.fp32, "the processor has no bf16 instructions"


def autocast(precision: Precision, device: torch.device) -> AbstractContextManager:
    """Context in which the towers run."""
    if precision is Precision.bf16:
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()
