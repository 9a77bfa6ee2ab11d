"""The edges of a ResNet: from the channels of a block's output to the two branches of the next.

Channels are rectified where two branches meet, so that nothing but the next block reads what a
block wrote: there are no edges past a block (docs/edges.md).

Legend: B batch, U units, H × W places of a feature map.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import torch
from torch import nn

from analysis.edge_graph import EdgeGraph
from analysis.interventions import spread
from analysis.sites import Site, list_sites
from analysis.vit_edges import READOUT
from gen.schema import SiteLevel
from splits.errors import UserError

LAST_CONVOLUTIONS = ("conv3", "conv2")
"""of a block, where there is one: its channels are those of the block's output"""


@dataclass(frozen=True)
class BlockWiring:
    """See `analysis.edge_graph.Wiring`.

    Attributes:
        source_of: by target the site of its sources.
    """

    graph: EdgeGraph
    sources: tuple[Site, ...]
    branches: tuple[Site, ...]
    source_of: Mapping[str, str]

    def scores(
        self,
        activations: Mapping[str, torch.Tensor],
        gradients: Mapping[str, torch.Tensor],
        baselines: Mapping[str, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        changes = {
            name: clean - spread(baselines[name], clean, 0) for name, clean in activations.items()
        }
        return {
            target: (changes[self.source_of[target]] * gradients[target]).sum(dim=(2, 3))
            for target in self.graph.targets
        }

    def change(
        self, source: str, activations: torch.Tensor, baselines_BGU: torch.Tensor
    ) -> torch.Tensor:
        return activations - spread(baselines_BGU, activations, 0)

    def lost(
        self, target: str, changes: Mapping[str, torch.Tensor], kept_BS: torch.Tensor
    ) -> torch.Tensor:
        change_BUHW = changes[self.source_of[target]]
        return change_BUHW * (1 - kept_BS.to(change_BUHW))[:, :, None, None]


def block_wiring(model: Any) -> BlockWiring:
    """How a ResNet of open_clip or timm is wired.

    Sources: channels of the stem and of every block's output (`layer1.0.act3.17`). Targets: of
    every block `layer1.0.main`, what its convolutions make, and `layer1.0.skip`, what passes them
    by; and `readout`, which reads the last block's output. The stem's channels are those of its
    last activation function, read behind its pooling: a constant baseline is the same there, and so
    is the score.

    Raises:
        UserError: it has no such blocks.
    """
    tower: Any = model.visual
    trunk = getattr(tower, "trunk", tower)
    named = groupby(list_sites(model, SiteLevel.channel), lambda site: site.name.rpartition(".")[0])
    (_, stem), *others = [(part, list(sites)[-1]) for part, sites in named]
    sources: list[Site] = []
    branches: list[Site] = []
    width: dict[str, int] = {}
    before = stem
    for part, last in others:
        stage, _, number = part.partition(".")
        block = getattr(trunk, stage)[int(number)]
        _check(block)
        sources.append(replace(before, module=block, side="in"))
        width[before.name] = block.conv1.in_channels
        branches += _branches(part, block, last, len(branches))
        before = last
    sources.append(before)
    width[before.name] = next(
        getattr(block, name).out_channels for name in LAST_CONVOLUTIONS if hasattr(block, name)
    )
    branches.append(replace(before, name=READOUT, depth=len(branches)))
    twice = [site.name for site in sources[:-1] for _ in range(2)]  # the sources of two branches
    read = dict(zip([branch.name for branch in branches], [*twice, before.name], strict=True))
    return BlockWiring(_graph(width, read), tuple(sources), tuple(branches), read)


def _check(block: Any) -> None:
    last = any(hasattr(block, name) for name in LAST_CONVOLUTIONS)
    if not (last and isinstance(getattr(block, "conv1", None), nn.Conv2d)) or not hasattr(
        block, "downsample"
    ):
        raise UserError(
            f"the edges of blocks of kind {type(block).__name__} are not known",
            expected="blocks of a ResNet: conv1 to conv2 or conv3, and a skip connection",
        )


def _branches(part: str, block: Any, last: Site, depth: int) -> list[Site]:
    """What enters a block's convolutions, and its skip connection.

    A skip connection without a module is read where it ends: what enters the block's last
    activation function is the sum of both branches, and ∂m/∂sum is the gradient by either.
    """
    main = replace(last, name=f"{part}.main", depth=depth, module=block.conv1, side="in")
    end = last.module if block.downsample is None else block.downsample
    return [main, replace(main, name=f"{part}.skip", depth=depth + 1, module=end)]


def _graph(width: Mapping[str, int], source_of: Mapping[str, str]) -> EdgeGraph:
    names: list[str] = []
    ranges: dict[str, range] = {}
    for site, units in width.items():
        ranges[site] = range(len(names), len(names) + units)
        names += [f"{site}.{unit}" for unit in range(units)]
    feeds = {target: ranges[site] for target, site in source_of.items()}
    return EdgeGraph(tuple(names), tuple(source_of), feeds)
