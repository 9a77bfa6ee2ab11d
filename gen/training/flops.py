"""Arithmetic of training: how much a sample takes, and what share of a GPU's peak that uses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gen.schema import Precision

TERA = 1e12

Utilisation = Callable[[float], float | None]
"""samples per second of one device → share of its peak (MFU), or None where that is not known"""


class Peak(NamedTuple):
    """Peak rates of a GPU's dense matrix products, in 10¹² operations per second."""

    bf16: float | None
    """None where the GPU has no bf16 units"""
    fp32: float
    """TF32 where the GPU has it, else fp32"""


PEAKS = {
    # NVIDIA Tesla V100 and V100S data sheets; no bf16 or TF32 units: plain fp32
    r"Tesla V100-SXM2.*": Peak(None, 15.7),
    r"Tesla V100-PCIE.*": Peak(None, 14.0),
    r"Tesla V100S-PCIE.*": Peak(None, 16.4),
    # NVIDIA A100 data sheet
    r"(NVIDIA )?A100.*": Peak(312.0, 156.0),
    # NVIDIA H100 data sheet, of which the figures with sparsity are halved
    r"NVIDIA H100 PCIe": Peak(756.5, 378.0),
    r"NVIDIA H100 NVL": Peak(835.5, 417.5),
    r"NVIDIA H100( \d+GB)?( HBM3)?": Peak(989.5, 494.5),
    # NVIDIA H200 data sheet, halved likewise
    r"NVIDIA H200 NVL": Peak(835.5, 417.5),
    r"NVIDIA H200": Peak(989.5, 494.5),
    # NVIDIA L4, L40S and A10 data sheets
    r"NVIDIA L4": Peak(121.0, 60.0),
    r"NVIDIA L40S": Peak(362.05, 183.0),
    r"NVIDIA A10": Peak(125.0, 62.5),
    # NVIDIA Ada GPU architecture white paper, appendix A (bf16 with fp32 accumulation)
    r"NVIDIA GeForce RTX 4090": Peak(165.2, 82.6),
}
"""by the whole name that the driver gives; each rate as its source states it"""


def flops_per_sample(step: Callable[[], object], samples: int) -> float:
    """Floating-point operations of training on one sample: those of matrix products, 2 per pair.

    Attention is computed in its plain form, so that its products are counted wherever it runs.

    Args:
        step: one forward and backward pass over a batch, on any device (`meta` costs nothing).
        samples: size of that batch.
    """
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        step()
    return counter.get_total_flops() / samples


def peak_flops(device_name: str, precision: Precision) -> float | None:
    """Peak operations per second of a GPU; None where they are not known.

    A slice of a GPU (MIG) is not known: its name says more than the GPU's.

    Args:
        device_name: as `torch.cuda.get_device_name` gives it.
        precision: of the towers; `fp32` is held against TF32 where the GPU has it.
    """
    for pattern, peak in PEAKS.items():
        if re.fullmatch(pattern, device_name) and "MIG" not in device_name:
            rate = peak.bf16 if precision is Precision.bf16 else peak.fp32
            return None if rate is None else rate * TERA
    return None


def mfu(
    flops_per_sample: float, samples_per_second: float, device_name: str, precision: Precision
) -> float | None:
    """Model FLOPs utilisation (Chowdhery et al. 2022, appendix B), between 0 and 1.

    The share of the peak that the model's own arithmetic makes up, without anything computed
    twice to save memory. None where the peak is not known.

    Args:
        flops_per_sample: from `flops_per_sample`.
        samples_per_second: of one GPU.
        device_name, precision: as for `peak_flops`.
    """
    peak = peak_flops(device_name, precision)
    return None if peak is None else flops_per_sample * samples_per_second / peak
