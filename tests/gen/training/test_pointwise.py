"""A 1 × 1 convolution as a matrix product: the same function of the same parameters."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gen.training.pointwise import PointwiseConv2d, use_matrix_products


@pytest.mark.parametrize("bias", [True, False])
def test_outputs_and_gradients_are_those_of_the_convolution(bias):
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Conv2d(3, 6, 1, bias=bias), nn.Conv2d(6, 4, 3, bias=bias)).double()
    plain = plain.to(memory_format=torch.channels_last)
    product = copy.deepcopy(plain)
    use_matrix_products(product)
    assert [type(module) for module in product] == [PointwiseConv2d, nn.Conv2d]
    assert product.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(2, 3, 5, 5).double().to(memory_format=torch.channels_last)
    outputs = [model(images) for model in (plain, product)]
    torch.testing.assert_close(*outputs)
    assert outputs[1].is_contiguous(memory_format=torch.channels_last)
    for output in outputs:
        output.square().sum().backward()
    for ours, theirs in zip(product.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize(
    "options", [{"stride": 2}, {"padding": 1}, {"groups": 2}, {"kernel_size": 3}]
)
def test_other_convolutions_stay_as_they_are(options):
    convolution = nn.Conv2d(**{"in_channels": 4, "out_channels": 4, "kernel_size": 1} | options)
    use_matrix_products(convolution)
    assert type(convolution) is nn.Conv2d
