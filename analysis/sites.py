"""Sites: named places in an image tower where activations are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from splits.errors import UserError

if TYPE_CHECKING:
    from gen.models.trained import Model


def image_sites(model: Model) -> dict[str, nn.Module]:
    """Sites of a model's image tower, in the order in which an image passes them.

    ResNet: the stem and every residual stage. ViT, of CLIPPO and timm too: the patch embedding
    (before the blocks) and every block. Any other model of timm: the stages that timm lists as
    its features, under timm's names. All end with `embedding`, the tower's output.

    Raises:
        UserError: the tower's feature maps have their channels last, or it names no stages.
    """
    tower: Any = model.visual
    return {**_inner_sites(tower), "embedding": tower}


def _inner_sites(tower: Any) -> dict[str, nn.Module]:
    if hasattr(tower, "attnpool"):
        stages = {f"layer{number}": getattr(tower, f"layer{number}") for number in range(1, 5)}
        return {"stem": tower.avgpool, **stages}
    if hasattr(tower, "transformer"):
        return _block_sites(tower.ln_pre, tower.transformer.resblocks)
    trunk = getattr(tower, "trunk", tower)  # timm's, alone or in open_clip's adapter
    if hasattr(trunk, "norm_pre") and hasattr(trunk, "blocks"):
        return _block_sites(trunk.norm_pre, trunk.blocks)
    return _listed_sites(trunk)


def _listed_sites(trunk: Any) -> dict[str, nn.Module]:
    names = [info["module"] for info in getattr(trunk, "feature_info", ())]
    modules = dict(trunk.named_modules())
    if (
        getattr(trunk, "output_fmt", "NCHW") != "NCHW"  # pooled over its channels otherwise
        or not names
        or not modules.keys() >= set(names)
    ):
        raise UserError(
            f"the stages of timm's {type(trunk).__name__} cannot be read",
            expected="a model of timm with feature_info and channels-first feature maps",
            where="key `vision.timm_model`",
        )
    return {name: modules[name] for name in names}


def _block_sites(stem: nn.Module, blocks: Iterable[nn.Module]) -> dict[str, nn.Module]:
    return {"stem": stem, **{f"block{i}": block for i, block in enumerate(blocks, start=1)}}


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


def pool(output: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Mean over positions: [B, U, H, W] or [B, T, U] → [B, U]; [B, U] stays.

    Of several outputs (CoCa's tower: its embedding, and tokens for a decoder) the first counts.
    """
    activations = output[0] if isinstance(output, tuple) else output
    if activations.ndim == 4:
        return activations.mean(dim=(2, 3))
    return activations.mean(dim=1) if activations.ndim == 3 else activations
