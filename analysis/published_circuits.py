"""Circuits as Kempf et al. 2025 published them, after Marks et al. 2024, beside ours.

A second implementation, letter by letter from the definitions and in the plainest way, independent
of ours: it says what the published numbers are made of. Nothing here shows that what is found is a
circuit in any causal sense. docs/edges.md says where the published code departs from its text, and
how that is handled.

Legend: B images of one cell, U units of a site, V units of the next site.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl
import torch
from tqdm import tqdm

from analysis.class_sets import ClassSet
from analysis.readout import Readout
from analysis.replication import PUBLISHED
from analysis.sites import STAGES, Site, list_sites, taps
from gen.schema import SiteLevel
from splits.errors import UserError

if TYPE_CHECKING:
    from gen.models.trained import Model

STEPS = 10
SHARE = 0.1
PARENTS = 3
ROUNDS = 3
INPUT = "input"
"""the site whose nodes are scored, and which no edge and no graph has"""
Node: TypeAlias = tuple[str, int]
"""a site and a unit of it"""


@dataclass(frozen=True)
class PublishedCircuit:
    """What was found for the images of one cell.

    Attributes:
        effects: by site, of every unit, float32 [U].
        kept: by site, units of the largest effects, largest first.
        edges: from a kept unit to a kept unit of the next site.
    """

    effects: Mapping[str, torch.Tensor]
    kept: Mapping[str, tuple[int, ...]]
    edges: frozenset[tuple[Node, Node]]

    @property
    def nodes(self) -> list[Node]:
        """All nodes of the graph, those without edges among them."""
        return [
            (site, unit) for site, units in self.kept.items() if site != INPUT for unit in units
        ]


def published_sites(model: Model) -> list[Site]:
    """The published places in a ResNet of open_clip, in the order of an image.

    What enters the first convolution, the stem's three activation functions, its pooling, every
    block, and the embedding: 22 in a ResNet-50.

    Raises:
        UserError: the image tower is another.
    """
    tower: Any = model.visual
    if not hasattr(tower, "attnpool"):
        raise UserError(
            f"circuits of a {type(tower).__name__} were not published",
            expected="a ResNet of open_clip",
        )
    stem = [site for site in list_sites(model, SiteLevel.channel) if site.name.startswith("stem.")]
    first, *_, embedding = list_sites(model, SiteLevel.residual)
    places = [(INPUT, tower.conv1), *((site.name, site.module) for site in (*stem, first))]
    for stage in STAGES:
        places += [(f"{stage}.{i}", block) for i, block in enumerate(getattr(tower, stage))]
    places.append((embedding.name, embedding.module))
    return [
        Site(name, SiteLevel.residual, depth, module, "in" if name == INPUT else "out")
        for depth, (name, module) in enumerate(places)
    ]


def published_circuit(
    model: Model,
    inputs: torch.Tensor,
    labels_B: torch.Tensor,
    readout: Readout,
    sites: Sequence[Site],
    bar: tqdm | None = None,
) -> PublishedCircuit:
    """Nodes of all sites, and edges between every two sites that follow each other.

    Args:
        model: in evaluation mode.
        inputs: normalised images of one cell, float [B, 3, P, P]; published were up to 50.
        labels_B: their class, B times.
        readout: whose score of the own class, a cosine, is the metric.
        sites: in the order of an image; [B, U, H, W], [B, T, U] or [B, U].
        bar: advanced by one per forward pass of the images.
    """
    effects = node_effects(model, inputs, labels_B, readout, sites, bar)
    kept = {site: largest(values_U) for site, values_U in effects.items()}
    edges = set()
    for upper, lower in pairwise(site for site in sites if site.name != INPUT):
        parents, children = kept[upper.name], kept[lower.name]
        found_VU = edge_effects(model, inputs, upper, lower, parents, children, bar)
        for child, best in zip(children, top_parents(found_VU), strict=True):
            edges |= {((upper.name, parents[one]), (lower.name, child)) for one in best}
    return PublishedCircuit(effects, kept, frozenset(edges))


def node_effects(
    model: Model,
    inputs: torch.Tensor,
    labels_B: torch.Tensor,
    readout: Readout,
    sites: Sequence[Site],
    bar: tqdm | None = None,
) -> dict[str, torch.Tensor]:
    """Integrated gradients of every site in its turn, from itself to zero.

    effect(z) = mean over α of ∂m/∂z at (1 − α) z, times (0 − z), with α = 0, 0.1, … 0.9: summed
    over positions, averaged over images. Published sign: what the metric gains when z is taken to
    zero, to which our scores have the opposite one.

    Arguments as of `published_circuit`.

    Returns:
        By site, float32 [U].
    """
    clean = _activations(model, inputs, sites, bar)
    effects = {}
    for site in sites:
        total = torch.zeros_like(clean[site.name])
        for step in range(STEPS):
            scaled = _scaled(clean[site.name], step)
            features = _forward(model, inputs, [site], {site.name: scaled}, {}, bar)
            metric = readout.own_scores(features, labels_B).sum()
            total += torch.autograd.grad(metric, scaled)[0]
        effects[site.name] = _per_unit(total / STEPS * (0 - clean[site.name]))
    return effects


def edge_effects(
    model: Model,
    inputs: torch.Tensor,
    upper: Site,
    lower: Site,
    parents: Sequence[int],
    children: Sequence[int],
    bar: tqdm | None = None,
) -> torch.Tensor:
    """What units of one site do to single units of the next.

    Integrated gradients as of `node_effects`, of the mean squared difference, over images and
    positions, between a child's clean activations and those that it has while all of the upper site
    is scaled. One forward and backward per child and step.

    Args:
        model, inputs, bar: as of `published_circuit`.
        upper, lower: two sites, in the order of an image.
        parents, children: units of theirs.

    Returns:
        float32 [children, parents].
    """
    clean = _activations(model, inputs, [upper, lower], bar)
    found = []
    for child in children:
        total = torch.zeros_like(clean[upper.name])
        for step in range(STEPS):
            scaled = _scaled(clean[upper.name], step)
            read: dict[str, torch.Tensor] = {}
            _forward(model, inputs, [upper, lower], {upper.name: scaled}, read, bar)
            now, before = (_unit(each[lower.name], child) for each in (read, clean))
            error = torch.nn.functional.mse_loss(now, before)
            total += torch.autograd.grad(error, scaled)[0]
        found.append(_per_unit(total / STEPS * (0 - clean[upper.name]))[list(parents)])
    return torch.stack(found)


def largest(effects_U: torch.Tensor) -> tuple[int, ...]:
    """The tenth of the units, rounded up, with the largest absolute effects, largest first."""
    count = math.ceil(len(effects_U) * SHARE)
    return tuple(effects_U.abs().topk(count).indices.tolist())


def top_parents(effects_VU: torch.Tensor) -> list[list[int]]:
    """By child the PARENTS positions of the largest effects: of the signed ones, as published."""
    count = min(PARENTS, effects_VU.shape[1])
    return effects_VU.topk(count, dim=1).indices.tolist()


def jaccard(a: set[Any] | frozenset[Any], b: set[Any] | frozenset[Any]) -> float:
    """|a ∩ b| / |a ∪ b|; of two empty sets 0."""
    return len(a & b) / len(a | b) if a | b else 0.0


def node_jaccard(a: PublishedCircuit, b: PublishedCircuit, site: str) -> float:
    """Of the kept units of a site."""
    return jaccard(set(a.kept[site]), set(b.kept[site]))


def edge_jaccard(a: PublishedCircuit, b: PublishedCircuit) -> float:
    """Of the edges of two graphs."""
    return jaccard(a.edges, b.edges)


def wl_kernel(a: PublishedCircuit, b: PublishedCircuit, rounds: int = ROUNDS) -> float:
    """Weisfeiler-Lehman subtree kernel of two graphs, normalised (Shervashidze et al. 2011).

    A node's first label is its name; in every round it becomes its own with those of the nodes that
    it leads to. k counts pairs of nodes with equal labels, over all rounds and the start; the value
    is k(a, b) / √(k(a, a) k(b, b)). Names are unique in a graph: a round counts the nodes that both
    graphs have with all that is within so many steps downstream.
    """
    known: dict[Any, int] = {}
    first, second = (_label_counts(circuit, rounds, known) for circuit in (a, b))
    scale = math.sqrt(_product(first, first) * _product(second, second))
    return _product(first, second) / scale if scale else 0.0


def _label_counts(circuit: PublishedCircuit, rounds: int, known: dict[Any, int]) -> Counter[int]:
    """How often every label stands in a graph; `known` numbers the labels of all graphs."""
    following = defaultdict(list)
    for upper, lower in circuit.edges:
        following[upper].append(lower)
    labels = {node: known.setdefault(node, len(known)) for node in circuit.nodes}
    counts = Counter(labels.values())
    for _ in range(rounds):
        wide = {
            node: (label, *sorted(labels[one] for one in following[node]))
            for node, label in labels.items()
        }
        labels = {node: known.setdefault(label, len(known)) for node, label in wide.items()}
        counts.update(labels.values())
    return counts


def _product(a: Counter[int], b: Counter[int]) -> int:
    return sum(count * b[label] for label, count in a.items())


GRAPH_MEASURES: dict[str, Callable[[PublishedCircuit, PublishedCircuit], float]] = {
    "circuit_edge_jaccard": edge_jaccard,
    "circuit_wl": wl_kernel,
}


def published_circuit_sharing(
    circuits: Mapping[tuple[str, int], PublishedCircuit],
    sites: Sequence[Site],
    domains: Sequence[str],
    class_sets: Sequence[ClassSet],
) -> pl.DataFrame:
    """Published sharing of circuits between every two domains, averaged over classes.

    Args:
        circuits: by domain and class id.
        sites: theirs.
        domains: names of the domains.
        class_sets: sets of class ids.

    Returns:
        `analysis.replication.PUBLISHED`: `circuit_node_jaccard` of every site, and of the whole
        graphs (`site` "edges") `circuit_edge_jaccard` and `circuit_wl`. `n` counts the classes that
        have a circuit in both domains; `ours` is null.
    """

    def per_node(name: str) -> Callable[[PublishedCircuit, PublishedCircuit], float]:
        return lambda a, b: node_jaccard(a, b, name)

    compare: list[tuple[dict[str, Any], Callable[[PublishedCircuit, PublishedCircuit], float]]] = [
        (
            {"measure": "circuit_node_jaccard", "site": site.name, "depth": site.depth}
            | {"level": site.level.value},
            per_node(site.name),
        )
        for site in sites
    ]
    compare += [
        ({"measure": name, "site": "edges", "depth": 0, "level": "edge"}, measure)
        for name, measure in GRAPH_MEASURES.items()
    ]
    rows: list[dict[str, Any]] = []
    for a, b in combinations(domains, 2):
        for key, measure in compare:
            for name, draw, members in class_sets:
                both = [c for c in members if (a, c) in circuits and (b, c) in circuits]
                values = [measure(circuits[a, c], circuits[b, c]) for c in both]
                rows.append(
                    key
                    | {"domain_a": a, "domain_b": b, "classes": name, "draw": draw}
                    | {"n": len(both), "value": float(np.mean(values)) if values else None}
                    | {"note": "" if values else "no class of this set has both circuits"}
                )
    return pl.DataFrame(rows, schema=PUBLISHED)


def _activations(
    model: Model, inputs: torch.Tensor, sites: Sequence[Site], bar: tqdm | None
) -> dict[str, torch.Tensor]:
    """What passes the sites, nothing changed."""
    read: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        _forward(model, inputs, sites, {}, read, bar)
    return read


def _forward(
    model: Model,
    inputs: torch.Tensor,
    sites: Sequence[Site],
    put: Mapping[str, torch.Tensor],
    read: dict[str, torch.Tensor],
    bar: tqdm | None,
) -> torch.Tensor:
    """One pass of the images, with some activations put in place: their embeddings.

    Args:
        model, inputs, bar: as of `published_circuit`.
        sites: that are read, or changed.
        put: what stands at a site, by its name.
        read: gets what passes the sites.
    """

    def instead(activations: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        return lambda _: activations

    with taps(sites, read.__setitem__, {name: instead(found) for name, found in put.items()}):
        features = model.encode_image(inputs)
    if bar is not None:
        bar.update()
    return features


def _scaled(clean: torch.Tensor, step: int) -> torch.Tensor:
    """(1 − α) z of a step, α = step / STEPS, from which gradients are taken."""
    return ((1 - step / STEPS) * clean).requires_grad_()


def _per_unit(values: torch.Tensor) -> torch.Tensor:
    """Summed over positions, averaged over images: [U]."""
    if values.ndim == 4:
        values = values.sum(dim=(2, 3))
    elif values.ndim == 3:
        values = values.sum(dim=1)
    return values.mean(dim=0)


def _unit(activations: torch.Tensor, unit: int) -> torch.Tensor:
    """A unit's activations at all positions of all images."""
    return activations[:, unit] if activations.ndim == 4 else activations[..., unit]
