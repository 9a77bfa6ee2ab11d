"""1 × 1 convolutions as what they are: one matrix product over all positions.

On processors PyTorch's convolutions take about twice the time of the product itself where images
are small; `benchmarks/train_vs_openclip.py` trains with it.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import linear


class PointwiseConv2d(nn.Conv2d):
    """A 1 × 1 convolution without stride, padding or groups, computed as a matrix product."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Float [B, C, H, W] in channels-last memory → [B, D, H, W], likewise."""
        product = linear(input.permute(0, 2, 3, 1), self.weight[:, :, 0, 0], self.bias)
        return product.permute(0, 3, 1, 2)


def use_matrix_products(model: nn.Module) -> None:
    """Let every 1 × 1 convolution inside `model` compute so; its parameters stay as they are."""
    for module in model.modules():
        if type(module) is nn.Conv2d and _is_product(module):
            module.__class__ = PointwiseConv2d
            # of the equal strides that describe such a weight those that its gradient will have
            channels = module.in_channels
            shape, strides = module.weight.shape, (channels, 1, 1, 1)
            module.weight.data = module.weight.data.contiguous().as_strided(shape, strides)


def _is_product(convolution: nn.Conv2d) -> bool:
    plain = convolution.kernel_size == convolution.stride == (1, 1)
    return plain and convolution.groups == 1 and convolution.padding in ((0, 0), "same", "valid")
