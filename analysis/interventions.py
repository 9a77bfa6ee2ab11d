"""What stands in for units that are taken away, and how: the edits of every causal question.

A node is a unit of a site (a channel, a neuron), or a head: all channels of one head together.
Nodes are removed at all positions, and what stands in their place is the same at all positions of
a group: class tokens are one group, patches or places of a feature map the other.

Legend: B batch, D domains, C classes, T tokens, G groups of positions, U units, N nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from analysis.sites import Site

Edit = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Baselines:
    """Activations that say nothing of an image's class, per cell.

    Attributes:
        kind: where they come from; `docs/circuits.md` has the kinds.
        values: by site, float32 [D, C, G, U].
    """

    kind: str
    values: Mapping[str, torch.Tensor]

    def of(self, site: str, domains_B: torch.Tensor, classes_B: torch.Tensor) -> torch.Tensor:
        """Those of images of these domains and classes, [B, G, U]."""
        return self.values[site][domains_B, classes_B]


def class_tokens(tower: Any) -> int:
    """How many of an image tower's tokens stand for the whole image; they come first."""
    trunk = getattr(tower, "trunk", tower)
    if hasattr(trunk, "num_prefix_tokens"):  # timm
        return int(trunk.num_prefix_tokens)
    return int(hasattr(tower, "class_embedding"))


def group_means(activations: torch.Tensor, tokens: int) -> torch.Tensor:
    """Means over the positions of every group, [B, G, U].

    Args:
        activations: [B, U, H, W], [B, T, U] or [B, U].
        tokens: how many of T are class tokens: a group of their own, if there are any.
    """
    if activations.ndim == 4:
        return activations.mean(dim=(2, 3))[:, None]
    if activations.ndim == 2:
        return activations[:, None]
    parts = [activations[:, :tokens], activations[:, tokens:]] if tokens else [activations]
    return torch.stack([part.mean(dim=1) for part in parts], dim=1)


def spread(values_BGU: torch.Tensor, activations: torch.Tensor, tokens: int) -> torch.Tensor:
    """Values of groups at every position: of the shape of the activations, or broadcast to it."""
    if activations.ndim == 4:
        return values_BGU[:, 0, :, None, None]
    if activations.ndim == 2:
        return values_BGU[:, 0]
    if not tokens:
        return values_BGU[:, :1]
    rest = activations.shape[1] - tokens
    return torch.cat(
        [values_BGU[:, :1].expand(-1, tokens, -1), values_BGU[:, 1:].expand(-1, rest, -1)], dim=1
    )


def nodes(site: Site, units: int) -> int:
    """How many nodes a site with so many units has: its heads, or its units."""
    return site.heads or units


def of_nodes(values_BU: torch.Tensor, site: Site) -> torch.Tensor:
    """Values of units summed to nodes: [..., U] → [..., N]."""
    if not site.heads:
        return values_BU
    return values_BU.unflatten(-1, (site.heads, -1)).sum(dim=-1)


def to_units(values_BN: torch.Tensor, site: Site, units: int) -> torch.Tensor:
    """What holds of a node holds of its units: [..., N] → [..., U]."""
    if not site.heads:
        return values_BN
    return values_BN.repeat_interleave(units // site.heads, dim=-1)


def keeping(site: Site, kept_BN: torch.Tensor, values_BGU: torch.Tensor, tokens: int) -> Edit:
    """An edit that keeps some nodes of every image and puts others' baselines in place of the rest.

    Args:
        site: where.
        kept_BN: 1 where a node stays, 0 where it is taken away, between them a mixture; [B, N], or
            [1, N] for all images alike.
        values_BGU: what stands in for nodes that are taken away.
        tokens: `class_tokens`.
    """

    def edit(activations: torch.Tensor) -> torch.Tensor:
        units = activations.shape[1] if activations.ndim == 4 else activations.shape[-1]
        kept_BU = to_units(kept_BN, site, units).to(activations)
        shape = (
            [-1, units, 1, 1]
            if activations.ndim == 4
            else [-1, *[1] * (activations.ndim - 2), units]
        )
        kept = kept_BU.reshape(shape)
        return activations * kept + spread(values_BGU, activations, tokens) * (1 - kept)

    return edit
