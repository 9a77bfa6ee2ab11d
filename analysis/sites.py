"""Sites: named places in an image tower where activations are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from open_clip import CLIP


def image_sites(model: CLIP) -> dict[str, nn.Module]:
    """Sites of a CLIP image tower, in the order in which an image passes them.

    ResNet: the stem and every residual stage. ViT: the patch embedding (before the blocks) and
    every block. Both end with `embedding`, the tower's output.
    """
    tower = model.visual
    if hasattr(tower, "layer1"):
        stages = {f"layer{number}": getattr(tower, f"layer{number}") for number in range(1, 5)}
        return {"stem": tower.avgpool, **stages, "embedding": tower}
    blocks = {f"block{i}": block for i, block in enumerate(tower.transformer.resblocks, start=1)}
    return {"stem": tower.ln_pre, **blocks, "embedding": tower}


@contextmanager
def reading(
    sites: dict[str, nn.Module], use: Callable[[str, torch.Tensor], None]
) -> Iterator[None]:
    """While active, `use(site, activations)` gets every site's output, pooled over space.

    Activations have shape [B, U]: channel maps [B, U, H, W] and tokens [B, T, U] are averaged
    over positions.
    """
    handles = [
        module.register_forward_hook(lambda _m, _i, output, site=site: use(site, pool(output)))
        for site, module in sites.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def pool(activations: torch.Tensor) -> torch.Tensor:
    """Mean over positions: [B, U, H, W] or [B, T, U] → [B, U]; [B, U] stays."""
    if activations.ndim == 4:
        return activations.mean(dim=(2, 3))
    return activations.mean(dim=1) if activations.ndim == 3 else activations
