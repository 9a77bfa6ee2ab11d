"""Edges: what one part of a tower hands to one other, and how a tower is wired for them.

Legend: B batch, G groups of positions, U units, S sources of a target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from analysis.sites import Site


@dataclass(frozen=True)
class EdgeGraph:
    """Which parts of a tower feed which.

    Attributes:
        sources: parts that write, in the order in which an image passes them.
        targets: parts that read.
        feeds: by target the positions, along `sources`, of those that feed it.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    feeds: Mapping[str, range]

    def sources_of(self, target: str) -> tuple[str, ...]:
        """Names of a target's sources: the order of S in its scores."""
        return tuple(self.sources[position] for position in self.feeds[target])


class Wiring(Protocol):
    """A tower whose edges can be scored, and taken away.

    Attributes:
        graph: its edges.
        sources: sites of what sources write, under the names of their baselines.
        branches: sites of what targets read, under the names of the targets. What enters a branch
            leads nowhere else.
    """

    @property
    def graph(self) -> EdgeGraph: ...

    @property
    def sources(self) -> Sequence[Site]: ...

    @property
    def branches(self) -> Sequence[Site]: ...

    def scores(
        self,
        activations: Mapping[str, torch.Tensor],
        gradients: Mapping[str, torch.Tensor],
        baselines: Mapping[str, torch.Tensor],
    ) -> dict[str, torch.Tensor]:
        """Scores of all edges, by target [B, S].

        Args:
            activations: by source site.
            gradients: of the metric by what enters every branch.
            baselines: by source site, [B, G, U].
        """
        ...

    def change(
        self, source: str, activations: torch.Tensor, baselines_BGU: torch.Tensor
    ) -> torch.Tensor:
        """What a source site says beyond its baseline, in the shape that `lost` works with.

        Args:
            source: name of the site.
            activations: at the site.
            baselines_BGU: of the site.
        """
        ...

    def lost(
        self, target: str, changes: Mapping[str, torch.Tensor], kept_BS: torch.Tensor
    ) -> torch.Tensor:
        """What a target reads no more without some edges: Σ (z_s − z_s^base) over these.

        Args:
            target: name of the branch.
            changes: `change` of all source sites before the target.
            kept_BS: 1 where an edge of an image stays, else 0; S in the order of the graph's
                `sources_of(target)`.

        Returns:
            Of the shape of what enters the branch.
        """
        ...
