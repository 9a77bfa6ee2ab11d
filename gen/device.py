"""The one place that decides where and in which arithmetic a model runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from gen.schema import Compile, Precision

CPU_INFO = Path("/proc/cpuinfo")
LONG_RUN = 1e17
"""operations from which compiling is taken to pay: minutes of a large GPU. An estimate."""


def pick_device() -> torch.device:
    """A CUDA device where there is one, else the processor."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_for(gpus: int) -> torch.device:
    """The device of a process that gets so many GPUs, where there is any."""
    return pick_device() if gpus else torch.device("cpu")


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
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision.bf16, "CUDA device"
        return Precision.fp32, "the GPU has no bf16 units"
    flags = CPU_INFO.read_text().split() if CPU_INFO.is_file() else []
    fast = sorted({"amx_bf16", "avx512_bf16"}.intersection(flags))
    if fast:
        return Precision.bf16, f"the processor has {', '.join(fast)}"
    return Precision.fp32, "the processor has no bf16 instructions"


def pick_compile(wanted: Compile, device: torch.device, operations: float) -> tuple[bool, str]:
    """Whether kernels are compiled for a training, and why.

    Args:
        wanted: as configured.
        device: of the training.
        operations: floating-point operations of the whole training.
    """
    if wanted is not Compile.auto:
        return wanted is Compile.always, "as configured"
    if device.type != "cuda":
        return False, "on a processor it pays in long runs of several threads only"
    if operations < LONG_RUN:
        return False, "the run is too short for it"
    return True, "a long run on a CUDA device"


@contextmanager
def kernels(deterministic: bool) -> Iterator[None]:
    """While active, matrix products may use TF32, and kernels give the same bits every time.

    Args:
        deterministic: whether only such kernels are taken; PyTorch warns where it has none.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    before = (
        torch.are_deterministic_algorithms_enabled(),
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.benchmark,
        torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
    )
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = not deterministic
    # filling finds no randomness that the bits of our weights would not show, and costs time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=True)
        torch.set_float32_matmul_precision(before[1])
        torch.backends.cudnn.benchmark = before[2]
        torch.utils.deterministic.fill_uninitialized_memory = before[3]  # type: ignore[attr-defined]


@contextmanager
def full_precision() -> Iterator[None]:
    """While active, CUDA devices compute float32 in all its bits: no TF32, in convolutions neither.

    Differences of scores that analyses look for are smaller than what TF32 rounds off.
    """
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


@contextmanager
def autocast(precision: Precision, device: torch.device) -> Iterator[None]:
    """Context in which the towers run forward."""
    if precision is not Precision.bf16:
        yield
        return
    # On a processor PyTorch's fused attention is slower in bf16 than in fp32, and so slow backward
    # that it takes most of a small transformer's step; its plain form is not.
    plain = sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
    with torch.autocast(device.type, dtype=torch.bfloat16), plain:
        yield
