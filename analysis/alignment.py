"""Alignment: a subspace of a site that holds the class, learnt in some domains, tried in another.

Distributed alignment search (Geiger et al. 2024) looks for r orthonormal directions such that
giving an image the coordinates of another image changes the answer to that one's class, and nothing
else. docs/causes.md has the loss and the controls.

Legend: N images, B batch, C classes, G groups of positions, U units, R directions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy
from torch.nn.utils import skip_init
from torch.nn.utils.parametrizations import orthogonal
from tqdm import tqdm

from analysis.bench import Bench, Shown, comparable
from analysis.effects import Asked, means, shares, table
from analysis.interchange import draw_targets
from analysis.interventions import spread
from analysis.sites import Site, taps
from gen.evaluation.embed import inputs_of

STEPS, BATCH, RATE = 60, 64, 0.03
RANKS = (4, 16)
FEWEST_DOMAINS = 3
"""one is left out, and images of two are exchanged"""


class Swap(NamedTuple):
    """Pairs of images, int64 [B] each.

    Attributes:
        bases: positions of the images that are shown.
        sources: of those whose coordinates they get, from other domains.
        asked: the class that should be the answer then.
    """

    bases: torch.Tensor
    sources: torch.Tensor
    asked: torch.Tensor


@dataclass(frozen=True)
class Cells:
    """Which images a cell has.

    Attributes:
        labels_N, places_N: classes and domains.
    """

    labels_N: np.ndarray
    places_N: np.ndarray

    @cached_property
    def members(self) -> dict[tuple[int, int], np.ndarray]:
        """Positions of the images by domain and class."""
        cells = np.unique(np.stack([self.places_N, self.labels_N], axis=1), axis=0)
        return {
            (place, label): np.flatnonzero((self.places_N == place) & (self.labels_N == label))
            for place, label in cells.tolist()
        }

    def partner(
        self, place: int, label: int, domains: Sequence[int], rng: np.random.Generator
    ) -> int:
        """An image of a class from a domain that is not the given one; -1 where there is none."""
        others = [d for d in domains if d != place and (d, label) in self.members]
        return (
            int(rng.choice(self.members[others[rng.integers(len(others))], label]))
            if others
            else -1
        )

    def swaps(
        self,
        bases: np.ndarray,
        asked: np.ndarray,
        domains: Sequence[int],
        rng: np.random.Generator,
    ) -> Swap:
        """A source in other domains for every base and class; pairs without one are left out."""
        places = self.places_N[bases]
        pairs = zip(places.tolist(), asked.tolist(), strict=True)
        sources = np.array([self.partner(*pair, domains, rng) for pair in pairs])
        kept = sources >= 0
        return Swap(*(torch.from_numpy(part[kept]) for part in (bases, sources, asked)))


def alignment(
    learning: Bench,
    learnt: Shown,
    bench: Bench,
    sites: Sequence[Site],
    test_domains: Sequence[str],
    seed: int,
    ranks: Sequence[int] = RANKS,
    bar: tqdm | None = None,
) -> pl.DataFrame:
    """Learn the subspace without a test domain, and exchange coordinates in every domain.

    Args:
        learning: the model and the training images that subspaces are learnt on.
        learnt: what these show.
        bench: the model and test images.
        sites: residual ones; few, for every subspace is learnt by gradients.
        test_domains: each is left out in turn.
        seed: of pairs, starts and controls.
        ranks: r; those that a site has too few units for are left out.
        bar: advanced by one per subspace.

    Returns:
        The columns CAUSES: `source` the domain that was left out, `target` that of the images
        whose coordinates are exchanged, with those of images of other domains, never of the one
        left out; `dose` r. `interchange_accuracy` and `margin_change` of the class that is asked
        for, `kept_accuracy` of the own class after an exchange with it. `control` random: a random
        subspace; `random_labels`: one learnt with random answers.

    Raises:
        ValueError: there are fewer than three domains, or than four classes.
    """
    if len(bench.domains) < FEWEST_DOMAINS:
        raise ValueError(f"{len(bench.domains)} domains: one left out, two exchanged")
    bench, note = comparable(bench, learnt)
    rows: list[dict[str, Any]] = []
    for site in sites:
        place = {"site": site.name, "level": site.level.value, "depth": site.depth}
        units = learnt.states[site.name].shape[-1]
        states = bench.states(bench.everyone, lambda _: {}, site).states_NGU
        for out in test_domains:
            number = bench.domains.index(out)
            swaps = _test_swaps(bench, number, seed)
            for rank in [rank for rank in ranks if rank <= units]:
                key = {"test": "alignment", **place, "source": out, "dose": float(rank)}
                for control in ("", "random", "random_labels"):
                    frame = _frame(learning, learnt, site, number, rank, control, seed)
                    row = key | {"control": control}
                    rows += _rows(bench, states, frame, swaps, site, row)
                    if bar is not None:
                        bar.update()
    return table(rows, note)


def _frame(
    learning: Bench,
    learnt: Shown,
    site: Site,
    left_out: int,
    rank: int,
    control: str,
    seed: int,
) -> torch.Tensor:
    """Orthonormal rows [R, U], on the device: learnt, or one of the controls."""
    generator = torch.Generator().manual_seed(seed)
    start = random_frame(rank, learnt.states[site.name].shape[-1], generator)
    if control == "random":
        return start.to(learning.device)
    rng = np.random.default_rng([seed, left_out, rank])
    return fit_frame(
        learning, learnt, site, left_out, start, rng, random_labels=control == "random_labels"
    )


def random_frame(rank: int, units: int, generator: torch.Generator) -> torch.Tensor:
    """Orthonormal rows at random, [R, U]."""
    return torch.linalg.qr(torch.randn(units, rank, generator=generator))[0].T.contiguous()


def fit_frame(
    learning: Bench,
    learnt: Shown,
    site: Site,
    left_out: int,
    start_RU: torch.Tensor,
    rng: np.random.Generator,
    *,
    random_labels: bool = False,
) -> torch.Tensor:
    """Learn orthonormal rows [R, U] on all domains but one.

    Half of every batch gets the coordinates of another class, half those of its own; all from
    another domain. Loss: cross-entropy of the class that they come from, and 1 − cos to the
    embedding without exchange for those of the own class, in which nothing should change.

    Args:
        learning, learnt: the model, training images, and what they show.
        site: where.
        left_out: number of the domain that is not looked at.
        start_RU: what learning begins with.
        rng: of the pairs.
        random_labels: whether the class to be answered is drawn at random: a control.
    """
    device = learning.device
    layer: Any = skip_init(nn.Linear, start_RU.shape[1], start_RU.shape[0], bias=False)
    layer.weight = nn.Parameter(start_RU.clone())
    # the trivialization would complete the start with numbers of torch's global generator
    layer = orthogonal(layer.to(device), orthogonal_map="householder", use_trivialization=False)
    # states of inference mode cannot be part of a graph; a copy can
    states_NGU, clean_NE = learnt.states[site.name].clone(), learning.clean.clone()
    read = learning.readout.to(device)
    optimizer = torch.optim.Adam(layer.parameters(), lr=RATE)
    cells = Cells(learnt.labels_N.cpu().numpy(), learnt.places_N.cpu().numpy())
    with _at_rest(learning):
        for _ in range(STEPS):
            swap, same = _training_swap(learning, learnt, cells, left_out, rng)
            change = exchanged(states_NGU, swap, layer.weight)
            features = _forward(learning, swap.bases, change, site)
            asked = swap.asked
            if random_labels:
                drawn = rng.choice(asked.cpu().numpy(), size=len(asked))
                asked = torch.from_numpy(drawn).to(device)
            loss = cross_entropy(read.temperature * read.scores(features), asked)
            kept = clean_NE[swap.bases[same]]
            if same.any():
                loss = loss + (1 - cosine_similarity(features[same], kept, dim=-1)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    frame: torch.Tensor = layer.weight
    return frame.detach()


def exchanged(states_NGU: torch.Tensor, swap: Swap, frame_RU: torch.Tensor) -> torch.Tensor:
    """What gives bases the coordinates of sources: (z_s − z_b) RᵀR, [B, G, U]."""
    apart = states_NGU[swap.sources] - states_NGU[swap.bases]
    return apart @ frame_RU.T @ frame_RU


def _training_swap(
    learning: Bench, learnt: Shown, cells: Cells, left_out: int, rng: np.random.Generator
) -> tuple[Swap, torch.Tensor]:
    """A batch of pairs, and which of them are of one class."""
    seen = [number for number in range(learnt.domains) if number != left_out]
    bases = rng.choice(np.flatnonzero(cells.places_N != left_out), size=BATCH)
    asked = cells.labels_N[bases].copy()
    asked[: BATCH // 2] = rng.choice(np.unique(cells.labels_N), size=BATCH // 2)
    swap = Swap(*(part.to(learning.device) for part in cells.swaps(bases, asked, seen, rng)))
    return swap, swap.asked == learnt.labels_N[swap.bases]


def _forward(bench: Bench, rows: torch.Tensor, change_BGU: torch.Tensor, site: Site) -> Any:
    """Embeddings [B, E] with something added at a site, as part of a graph."""
    pixels_NCHW = bench.images.pixels_NCHW
    inputs = inputs_of(bench.learner, bench.device)(pixels_NCHW[rows.to(pixels_NCHW.device)])
    edit = {site.name: lambda a: a + spread(change_BGU, a, bench.tokens).to(a)}
    with taps([site], edit=edit):
        return bench.learner.model.encode_image(inputs).float()


@contextmanager
def _at_rest(bench: Bench) -> Iterator[None]:
    """While active, the model is in evaluation mode and no weight asks for a gradient."""
    parameters = list(bench.learner.model.to(bench.device).eval().parameters())
    before = [parameter.requires_grad for parameter in parameters]
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, asked in zip(parameters, before, strict=True):
            parameter.requires_grad_(asked)


def _test_swaps(bench: Bench, left_out: int, seed: int) -> tuple[Swap, Swap]:
    """For every test image one source of another class and one of its own."""
    rng = np.random.default_rng([seed, left_out])
    cells = Cells(bench.labels.cpu().numpy(), bench.places.cpu().numpy())
    seen = [number for number in range(len(bench.domains)) if number != left_out]
    asked = draw_targets(cells.labels_N, bench.class_sets, rng).asked.numpy()
    bases = np.arange(len(asked))
    found = [cells.swaps(bases, part, seen, rng) for part in (asked, cells.labels_N)]
    other, own = (Swap(*(part.to(bench.device) for part in swap)) for swap in found)
    return other, own


def _rows(
    bench: Bench,
    states_NGU: torch.Tensor,
    frame_RU: torch.Tensor,
    swaps: tuple[Swap, Swap],
    site: Site,
    key: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Of one subspace, in every domain of images."""
    chance = 1 / bench.readout.classes
    for swap, name in zip(swaps, ("interchange_accuracy", "kept_accuracy"), strict=True):
        change = exchanged(states_NGU, swap, frame_RU)
        features = bench.embeddings(swap.bases, [site], bench.adding(change, site))
        found = bench.answers(features, swap.asked)
        clean = bench.answers(bench.clean[swap.bases], swap.asked)
        labels, asked = bench.labels[swap.bases].cpu().numpy(), swap.asked.cpu().numpy()
        places = bench.places[swap.bases].cpu().numpy()
        for number, target in enumerate(bench.domains):
            mask = places == number
            row = key | {"target": target}
            images = Asked(labels[mask], bench.class_sets, asked[mask])
            right = found.guesses_N[mask] == asked[mask]
            yield from shares(images, right, row | {"quantity": name, "chance": chance})
            if name == "interchange_accuracy":
                gain = found.margins_N[mask] - clean.margins_N[mask]
                more = {"quantity": "margin_change", "chance": 0.0}
                yield from means(images, gain, row | more)
