"""The nodes that carry a class most, and what a model answers with these alone.

Nodes of all sites are ranked together, per class and domain, by how much they add to the margin of
the class. A node that is not kept is replaced by its baseline, those of all sites at once. Whether
the best of them are a circuit is not said here: `analysis.faithfulness` asks.

Legend: D domains, C classes, N nodes of all sites together, B batch, G groups of positions, U units
of a site.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from analysis.cells import CellMeans
from analysis.class_sets import ClassSet
from analysis.held_images import Images
from analysis.interventions import Baselines, class_tokens, keeping
from analysis.readout import Readout
from analysis.sites import Site, taps
from gen.evaluation.embed import batch_size, inputs_of

if TYPE_CHECKING:
    from gen.models.trained import Learner, Model

NODES, EDGES = "nodes", "edges"
"""kinds of parts"""
ROUNDING = 1e-9
"""of a share times a number of nodes, before it is cut to a whole number"""


@dataclass(frozen=True)
class Rankings:
    """Nodes of all sites in the order of what they add to a class, per domain.

    Attributes:
        places_DCN: place of every node, int64; 0 adds most. Of equal ones the first is before.
        nodes: how many every site has, in the order along N.
    """

    places_DCN: torch.Tensor
    nodes: Mapping[str, int]

    def kept(self, domain: int, share: float) -> torch.Tensor:
        """The best nodes for every class in a domain, bool [C, N].

        Args:
            domain: its number along D.
            share: of all nodes; of their product with N the whole part is kept, maybe none.
        """
        places_CN = self.places_DCN[domain]
        return places_CN < int(share * places_CN.shape[-1] + ROUNDING)

    def by_site(self, nodes: torch.Tensor) -> dict[str, torch.Tensor]:
        """What is said of all nodes, by site: [..., N] → [..., nodes of the site] each."""
        return dict(zip(self.nodes, nodes.split(list(self.nodes.values()), dim=-1), strict=True))

    def at_random(self, kept_CN: torch.Tensor, lots_CN: torch.Tensor) -> torch.Tensor:
        """Other nodes by lot, of every site as many, bool [C, N].

        Args:
            kept_CN: how many.
            lots_CN: distinct numbers; with the same ones more nodes contain fewer.
        """
        lots = self.by_site(lots_CN)
        parts = [
            lots[site].argsort(dim=-1) < kept.sum(dim=-1, keepdim=True)
            for site, kept in self.by_site(kept_CN).items()
        ]
        return torch.cat(parts, dim=-1)


def rank_nodes(scores: CellMeans, sites: Sequence[str]) -> Rankings:
    """Rank the nodes of all sites together by their mean scores, the largest first.

    Signed, as MIB ranks for its CPR (Mueller et al. 2025): what carries a class adds to its margin.
    A node that takes away from it comes last, however strong.

    Args:
        scores: what nodes add to the margin of a cell's images, per cell; [F, D, C, nodes] a site.
        sites: names; their order is that along N, and decides between equal scores.
    """
    means = {site: scores.means(site) for site in sites}
    together_DCN = np.concatenate(list(means.values()), axis=-1)
    order = np.argsort(-together_DCN, axis=-1, kind="stable")
    places = np.argsort(order, axis=-1, kind="stable")
    nodes = {site: values.shape[-1] for site, values in means.items()}
    return Rankings(torch.from_numpy(places), nodes)


@dataclass(frozen=True)
class Batch:
    """Images that a model is shown again and again with other nodes taken away.

    Attributes:
        inputs: float32 [B, 3, P, P], as they enter the model.
        labels_B: their classes.
        baselines: what stands in for their nodes, by site [B, G, U].
    """

    inputs: torch.Tensor
    labels_B: torch.Tensor
    baselines: Mapping[str, torch.Tensor]


def batches(
    learner: Learner,
    images: Images,
    base: Baselines,
    domains: Sequence[str],
    sites: Sequence[Site],
    device: torch.device,
) -> Iterator[Batch]:
    """Images in their order, with the baselines of their own domain and class.

    Args:
        learner: says how images enter its model.
        images: of these domains.
        base: of the sites, for these domains; its classes are those of the images' `class_id`.
        domains: names along D of the baselines.
        sites: where nodes are taken away.
        device: where to compute.
    """
    enter, step = inputs_of(learner, device), batch_size(images.pixels_NCHW.shape[-1])
    numbers, labels = images.domain_numbers(domains), images.labels
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        values = {site.name: base.of(site.name, numbers[part], labels[part]) for site in sites}
        yield Batch(
            enter(images.pixels_NCHW[part]),
            labels[part].to(device),
            {name: found.to(device) for name, found in values.items()},
        )


def masked_margins(
    model: Model,
    batch: Batch,
    kept: Mapping[str, torch.Tensor],
    readout: Readout,
    sites: Sequence[Site],
) -> torch.Tensor:
    """Margins of images of which only some nodes are kept, [B].

    All sites are edited in one forward, in which what comes before a site is edited already: a node
    that is kept answers to what is left of the others.

    Args:
        model: on the batch's device, in evaluation mode.
        batch: the images.
        kept: by site, 1 where a node of an image stays, else 0; [B, nodes].
        readout: on the same device.
        sites: of the model's image tower, those of `kept`.
    """
    tokens = class_tokens(model.visual)
    edit = {
        site.name: keeping(site, kept[site.name], batch.baselines[site.name], tokens)
        for site in sites
    }
    with taps(sites, edit=edit):
        return readout.margins(model.encode_image(batch.inputs), batch.labels_B)


class Parts(Protocol):
    """What a tower is taken apart into, and how some of it is taken away.

    Attributes:
        kind: what the parts are called in a table.
        places: names of what the parts are ranked under, in their order: those of scores.
        sites: whose baselines stand in for parts.
    """

    @property
    def kind(self) -> str: ...

    @property
    def places(self) -> Sequence[str]: ...

    @property
    def sites(self) -> Sequence[Site]: ...

    def margins(
        self, model: Model, batch: Batch, kept: Mapping[str, torch.Tensor], readout: Readout
    ) -> torch.Tensor:
        """Margins of images of which only some parts are kept, [B].

        Args:
            model: on the batch's device, in evaluation mode.
            batch: the images.
            kept: by place, 1 where a part of an image stays, else 0; [B, parts].
            readout: on the same device.
        """
        ...


@dataclass(frozen=True)
class Nodes:
    """Nodes as the parts of a tower, see `Parts`."""

    sites: Sequence[Site]

    @property
    def kind(self) -> str:
        return NODES

    @property
    def places(self) -> list[str]:
        return [site.name for site in self.sites]

    def margins(
        self, model: Model, batch: Batch, kept: Mapping[str, torch.Tensor], readout: Readout
    ) -> torch.Tensor:
        return masked_margins(model, batch, kept, readout, self.sites)


def chosen_classes(class_sets: Sequence[ClassSet], most: int, seed: int) -> list[int]:
    """All classes, or of too many some of every set: positions, ascending.

    The seen and the held-out classes of every draw give one each in turn, in random order, until
    there are `most`: of a few held-out ones among many seen ones enough are tested.

    Args:
        class_sets: the first holds all classes.
        most: how many are chosen at most.
        seed: of the order.
    """
    everyone = class_sets[0].members
    if len(everyone) <= most:
        return list(everyone)
    rng = np.random.default_rng(seed)
    waiting = [rng.permutation(found.members) for found in class_sets[1:] or class_sets]
    turns = [
        members[turn] for turn in range(len(everyone)) for members in waiting if turn < len(members)
    ]
    return sorted(int(c) for c in list(dict.fromkeys(turns))[:most])
