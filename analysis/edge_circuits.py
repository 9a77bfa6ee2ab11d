"""What a model answers with a few of its edges alone.

An edge is what one source hands to one target (docs/edges.md). Without some edges a target v reads

    x_v − Σ_s (z_s − z_s^base), s the sources whose edge to v is not kept,

z_s what s writes in this very forward, in which all targets before it have lost edges, too. Where
the edge to another target stays, that one reads z_s itself: an edge is less than its node. So
circuits of edges are evaluated by Hanna et al. (2024) and MIB (Mueller et al. 2025); their code
also drops edges that lead nowhere, here none is dropped.

Legend: B batch, S sources of a target.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from analysis.circuits import EDGES, Batch
from analysis.edge_graph import Wiring
from analysis.readout import Readout
from analysis.sites import Site, taps

if TYPE_CHECKING:
    from gen.models.trained import Model


@dataclass(frozen=True)
class Edges:
    """Edges as the parts of a tower, by target: see `analysis.circuits.Parts`."""

    wiring: Wiring

    @property
    def kind(self) -> str:
        return EDGES

    @property
    def places(self) -> Sequence[str]:
        return self.wiring.graph.targets

    @property
    def sites(self) -> Sequence[Site]:
        return self.wiring.sources

    def margins(
        self, model: Model, batch: Batch, kept: Mapping[str, torch.Tensor], readout: Readout
    ) -> torch.Tensor:
        return edge_margins(model, self.wiring, batch, kept, readout)


def edge_margins(
    model: Model,
    wiring: Wiring,
    batch: Batch,
    kept: Mapping[str, torch.Tensor],
    readout: Readout,
) -> torch.Tensor:
    """Margins of images of which only some edges are kept, [B].

    Args:
        model: on the batch's device, in evaluation mode.
        wiring: of the model.
        batch: the images, with the baselines of the wiring's sources.
        kept: by target, 1 where an edge of an image stays, else 0; [B, S], S in the order of the
            graph's `sources_of(target)`.
        readout: on the same device.
    """
    changes: dict[str, torch.Tensor] = {}
    sources = {site.name for site in wiring.sources}

    def read(name: str, found: torch.Tensor) -> None:
        if name in sources:  # at once: some activation functions overwrite what they get
            changes[name] = wiring.change(name, found, batch.baselines[name])

    def branch(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda entered: entered - wiring.lost(name, changes, kept[name])

    edit = {site.name: branch(site.name) for site in wiring.branches}
    with taps([*wiring.sources, *wiring.branches], read, edit):
        return readout.margins(model.encode_image(batch.inputs), batch.labels_B)
