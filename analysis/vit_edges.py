"""The edges of a vision transformer: from every head and MLP to every later branch.

Everything that a block writes is added to the residual stream, and everything that it reads is read
from there: a source hands Δz to all branches behind it, whatever lies between (docs/edges.md).

Legend: B batch, T tokens, U units, H heads, W channels of the stream, N nodes of a site, S sources.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.functional import linear

from analysis.edge_graph import EdgeGraph
from analysis.interventions import class_tokens, of_nodes, spread, to_units
from analysis.sites import Site, list_sites
from gen.schema import SiteLevel
from splits.errors import UserError

READOUT = "readout"
NAMES = (("ln_1", "ls_1", "ln_2", "ls_2"), ("norm1", "ls1", "norm2", "ls2"))
"""of a block's normalisations and scales, in open_clip and in timm"""


@dataclass(frozen=True)
class Writer:
    """A site whose units are written to the residual stream by a linear map.

    Attributes:
        site: where.
        weight_WU: of the map; None of the stem, which is the stream.
        scale_W: of what is written, where the block has LayerScale.
    """

    site: Site
    weight_WU: torch.Tensor | None = field(default=None, repr=False)
    scale_W: torch.Tensor | None = field(default=None, repr=False)

    def edges(self, change_BTU: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        """How much a change at the site says along a gradient of the stream: [B, T, W] → [B, N].

        N is the number of heads, else 1: Σ Δz · g over tokens and the channels of a node, with the
        bias in none, for it is never taken away.
        """
        if not self.site.heads:
            written_BTW = self._written(change_BTU)
            return lambda gradient_BTW: (written_BTW * gradient_BTW).sum(dim=(1, 2))[:, None]

        def of_heads(gradient_BTW: torch.Tensor) -> torch.Tensor:
            # Δz_h W_hᵀ · g = Δz_h · (Wᵀ g)_h: no head's own [B, T, W] is ever made
            scores_BU = (change_BTU * self._read_back(gradient_BTW)).sum(dim=1)
            return of_nodes(scores_BU, self.site)

        return of_heads

    def change(self, change_BTU: torch.Tensor) -> torch.Tensor:
        """Of heads as it is, [B, T, U]; of a single node what it writes, [B, T, W]."""
        return change_BTU if self.site.heads else self._written(change_BTU)

    def lost(self, change: torch.Tensor, gone_BN: torch.Tensor) -> torch.Tensor:
        """What is not written where some nodes are gone, [B, T, W].

        Args:
            change: as `change` has it.
            gone_BN: 1 where a node of an image is gone, else 0.
        """
        gone = to_units(gone_BN, self.site, change.shape[-1])[:, None]
        return self._written(change * gone) if self.site.heads else change * gone

    def _written(self, change_BTU: torch.Tensor) -> torch.Tensor:
        if self.weight_WU is None:
            return change_BTU
        written_BTW = linear(change_BTU, self.weight_WU)
        return written_BTW if self.scale_W is None else written_BTW * self.scale_W

    def _read_back(self, gradient_BTW: torch.Tensor) -> torch.Tensor:
        scaled_BTW = gradient_BTW if self.scale_W is None else gradient_BTW * self.scale_W
        return scaled_BTW if self.weight_WU is None else scaled_BTW @ self.weight_WU


@dataclass(frozen=True)
class VitWiring:
    """See `analysis.edge_graph.Wiring`.

    Attributes:
        writers: the stem, and of every block its heads and its MLP: the i-th feeds all targets
            from the i-th on.
        tokens: how many are class tokens.
    """

    graph: EdgeGraph
    writers: tuple[Writer, ...]
    branches: tuple[Site, ...]
    tokens: int

    @property
    def sources(self) -> list[Site]:
        return [writer.site for writer in self.writers]

    def scores(
        self,
        activations: Mapping[str, torch.Tensor],
        gradients: Mapping[str, torch.Tensor],
        baselines: Mapping[str, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        found: dict[str, list[torch.Tensor]] = {target: [] for target in self.graph.targets}
        for number, writer in enumerate(self.writers):
            name = writer.site.name
            clean_BTU = activations[name]
            edges = writer.edges(clean_BTU - spread(baselines[name], clean_BTU, self.tokens))
            for target in self.graph.targets[number:]:
                found[target].append(edges(gradients[target]))
        return {target: torch.cat(parts, dim=1) for target, parts in found.items()}

    def change(
        self, source: str, activations: torch.Tensor, baselines_BGU: torch.Tensor
    ) -> torch.Tensor:
        (writer,) = (writer for writer in self.writers if writer.site.name == source)
        return writer.change(activations - spread(baselines_BGU, activations, self.tokens))

    def lost(
        self, target: str, changes: Mapping[str, torch.Tensor], kept_BS: torch.Tensor
    ) -> torch.Tensor:
        writers = self.writers[: self.graph.targets.index(target) + 1]
        first = changes[writers[0].site.name]
        gone = (1 - kept_BS.to(first)).split([writer.site.heads or 1 for writer in writers], dim=1)
        total_BTW = torch.zeros_like(first)  # of the stem, which is the stream
        for writer, gone_BN in zip(writers, gone, strict=True):
            total_BTW = total_BTW + writer.lost(changes[writer.site.name], gone_BN)
        return total_BTW


def vit_wiring(model: Any) -> VitWiring:
    """How a vision transformer of open_clip or timm, or a CLIPPO's, is wired.

    Sources: `stem`, `block1.heads.0` …, `block1.mlp` …. Targets: `block1.attention`, `block1.mlp`,
    …, and `readout`, which reads what the last block hands on.

    Raises:
        UserError: its heads cannot be read, or its blocks are none that add what they make of
            their normalised input.
    """
    heads, neurons = (list_sites(model, level) for level in (SiteLevel.head, SiteLevel.neuron))
    stem, *blocks, _ = list_sites(model, SiteLevel.residual)
    writers, branches = [Writer(stem)], list[Site]()
    for block, head, neuron in zip(blocks, heads, neurons, strict=True):
        parts = _parts(block.module)
        branches += [
            _branch(f"{block.name}.attention", len(branches), parts.norm1),
            _branch(f"{block.name}.mlp", len(branches) + 1, parts.norm2),
        ]
        writers += [_writer(head, parts.scale1), _writer(neuron, parts.scale2)]
    last = Site(READOUT, SiteLevel.residual, len(branches), blocks[-1].module, "out")
    branches.append(last)
    graph = _graph([list(_names(writer.site)) for writer in writers], branches)
    return VitWiring(graph, tuple(writers), tuple(branches), class_tokens(model.visual))


class _Parts(NamedTuple):
    norm1: nn.Module
    scale1: nn.Module
    norm2: nn.Module
    scale2: nn.Module


def _parts(block: Any) -> _Parts:
    for names in NAMES:
        if all(hasattr(block, name) for name in names):
            ln_attn = getattr(block, "ln_attn", None)  # of open_clip: behind the heads' projection
            if ln_attn is None or isinstance(ln_attn, nn.Identity):
                norm1, scale1, norm2, scale2 = (getattr(block, name) for name in names)
                return _Parts(norm1, scale1, norm2, scale2)
    raise UserError(
        f"the edges of blocks of kind {type(block).__name__} are not known",
        expected="blocks that add what attention and MLP make of their normalised input, times a "
        "constant at most",
    )


def _writer(site: Site, scale: nn.Module) -> Writer:
    gamma = None if isinstance(scale, nn.Identity) else scale.get_parameter("gamma").detach()
    return Writer(site, site.module.get_parameter("weight").detach(), gamma)


def _branch(name: str, depth: int, norm: nn.Module) -> Site:
    return Site(name, SiteLevel.residual, depth, norm, "in")


def _names(site: Site) -> Iterator[str]:
    """Names of the sources at a site: its heads, or one for all of its units."""
    if site.heads:
        yield from (f"{site.name}.{head}" for head in range(site.heads))
    else:
        yield site.name.replace(".neurons", ".mlp")


def _graph(sources: list[list[str]], branches: list[Site]) -> EdgeGraph:
    """The i-th target is fed by all sources up to the i-th site."""
    targets = [branch.name for branch in branches]
    feeds = {
        target: range(sum(len(names) for names in sources[: number + 1]))
        for number, target in enumerate(targets)
    }
    return EdgeGraph(tuple(name for names in sources for name in names), tuple(targets), feeds)
