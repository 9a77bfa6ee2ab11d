"""Batch norm over the global batch: the same outputs for any number of processes.

torch's `SyncBatchNorm` does this on CUDA devices only; `GlobalBatchNorm2d` does it anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from splits.errors import UserError

Gather = Callable[[torch.Tensor], torch.Tensor]


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm with the mean and variance of the images of all processes.

    Every process has as many images as every other. Mean and variance of the whole come from
    those of the parts (Chan et al. 1979): one exchange of 2 C numbers each way.

    Args:
        norm: the module to replace; its parameters and buffers are taken over, and so are the
            dropout and the activation that timm's batch norms have inside.
        gather: rows of this process → rows of all processes, differentiable.
    """

    def __init__(self, norm: nn.BatchNorm2d, gather: Gather) -> None:
        super().__init__(
            norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
        )
        self.weight, self.bias = norm.weight, norm.bias
        self.running_mean, self.running_var = norm.running_mean, norm.running_var
        self.num_batches_tracked = norm.num_batches_tracked
        self.drop = getattr(norm, "drop", nn.Identity())
        self.act = getattr(norm, "act", nn.Identity())
        self.gather = gather
        self.train(norm.training)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Float [b, C, H, W] → the same shape."""
        if not self.training:
            return self.act(self.drop(super().forward(input)))
        wide = input.to(torch.promote_types(input.dtype, torch.float32))
        own_variance, own_mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
        means, variances = self.gather(torch.stack([own_mean, own_variance])[None]).unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        if self.track_running_stats:
            self._update(mean.detach(), variance.detach(), len(means) * wide[:, 0].numel())
        scale = torch.rsqrt(variance + self.eps)
        shift = -mean * scale
        if self.affine:
            scale, shift = scale * self.weight, shift * self.weight + self.bias
        output = torch.addcmul(shift[:, None, None], wide, scale[:, None, None])
        return self.act(self.drop(output.to(input.dtype)))

    def _update(self, mean: torch.Tensor, variance: torch.Tensor, values: int) -> None:
        """Move the running statistics; they hold the unbiased variance, as torch's do."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * values / (values - 1), share)


def synchronise_batch_norm(model: nn.Module, gather: Gather, device: torch.device) -> None:
    """Make the batch norms inside `model` global; names of parameters and buffers stay.

    Args:
        model: changed in place.
        gather: as of `GlobalBatchNorm2d`.
        device: on CUDA devices torch's fused `SyncBatchNorm` takes the place.

    Raises:
        UserError: a batch norm of other than images, on processors.
    """
    norms = [norm for norm in model.modules() if isinstance(norm, _BatchNorm)]
    if norms and device.type == "cuda":
        from timm.layers import convert_sync_batchnorm  # knows its own norms with activations

        convert_sync_batchnorm(model)
        return
    if strange := [norm for norm in norms if not isinstance(norm, nn.BatchNorm2d)]:
        raise UserError(
            f"the model has a {type(strange[0]).__name__}, which cannot be shared by processes on "
            "processors",
            expected="batch norms of images (BatchNorm2d), or none",
            fix="train it in one process, on CUDA devices, or take another image tower",
        )
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, GlobalBatchNorm2d(child, gather))


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Within, batch norms in training mode leave their running statistics alone."""
    norms = [
        norm
        for norm in model.modules()
        if isinstance(norm, _BatchNorm) and norm.track_running_stats
    ]
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
