"""Operations are counted as they are by hand, and held against the peaks of known GPUs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gen.schema import Precision
from gen.training.flops import flops_per_sample, mfu, peak_flops

BATCH, TOKENS, WIDTH, HEADS = 4, 10, 32, 2


def test_a_linear_layer_takes_six_operations_per_weight_and_row():
    with torch.device("meta"):
        layer, rows = nn.Linear(16, 8), torch.empty(BATCH, 16, requires_grad=True)
    counted = flops_per_sample(lambda: layer(rows).sum().backward(), BATCH)
    assert counted == 6 * 16 * 8  # 2 forward, 2 for the input's gradient, 2 for the weight's


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_attention_is_counted_wherever_it_runs(device):
    heads = [
        torch.zeros(BATCH, HEADS, TOKENS, WIDTH // HEADS, device=device, requires_grad=True)
        for _ in range(3)
    ]

    def step():
        nn.functional.scaled_dot_product_attention(*heads).sum().backward()

    # two products forward, four backward, each 2 · tokens² · width
    assert flops_per_sample(step, BATCH) == 6 * 2 * TOKENS**2 * WIDTH


@pytest.mark.parametrize(
    ("name", "bf16", "fp32"),
    [
        ("Tesla V100-SXM2-32GB", None, 15.7),
        ("NVIDIA A100-SXM4-80GB", 312, 156),
        ("NVIDIA A100 80GB PCIe", 312, 156),
        ("A100-SXM4-40GB", 312, 156),
        ("NVIDIA H100 80GB HBM3", 989.5, 494.5),
        ("NVIDIA H100 PCIe", 756.5, 378),
        ("NVIDIA H100 NVL", 835.5, 417.5),
        ("NVIDIA H200", 989.5, 494.5),
        ("NVIDIA L4", 121, 60),
        ("NVIDIA L40S", 362.05, 183),
        ("NVIDIA A10", 125, 62.5),
        ("NVIDIA GeForce RTX 4090", 165.2, 82.6),
    ],
)
def test_the_peaks_of_known_gpus_are_those_of_their_data_sheets(name, bf16, fp32):
    assert peak_flops(name, Precision.bf16) == (
        None if bf16 is None else pytest.approx(bf16 * 1e12)
    )
    assert peak_flops(name, Precision.fp32) == pytest.approx(fp32 * 1e12)


@pytest.mark.parametrize(
    "name",
    [
        *("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "NVIDIA H100 80GB HBM3 MIG 1g.10gb"),
        *("NVIDIA A10G", "NVIDIA L40", "NVIDIA GeForce RTX 4090 Laptop GPU"),
        *("NVIDIA GeForce RTX 4090 D", "Intel(R) Xeon(R) Processor", "", "NVIDIA H20"),
    ],
)
def test_of_another_device_no_peak_is_claimed(name):
    assert peak_flops(name, Precision.bf16) is None
    assert mfu(1e9, 100.0, name, Precision.fp32) is None


def test_utilisation_is_the_share_of_the_peak():
    # 100 GFLOP × 1560 / s = 156 TFLOP/s, half of an A100's peak
    assert mfu(1e11, 1560, "NVIDIA A100-SXM4-80GB", Precision.bf16) == pytest.approx(0.5)
    assert mfu(1e11, 1560, "NVIDIA A100-SXM4-80GB", Precision.fp32) == pytest.approx(1.0)
