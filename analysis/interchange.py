"""Interchange: does what a site says of a class in one domain decide the answer in another?

At a site, the class of an image of domain B is exchanged for another as domain A tells the two
apart. Images of two domains are not paired, so that no single image of A is put in: what is added
is the difference of A's class means, docs/causes.md. After interchange interventions of Geiger et
al. (2021) and activation patching across contexts.

Legend: N images, D domains, C classes, G groups of positions, U units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from tqdm import tqdm

from analysis.bench import Answers, Bench, Patched, Shown, comparable
from analysis.class_sets import ClassSet
from analysis.departure import Surroundings, departures, surroundings
from analysis.effects import Asked, means, shares, table
from analysis.sites import Site

LEAST_CLASSES = 4
"""an image's own, the one asked for, and two others for the control"""


class Change(NamedTuple):
    """What is added to the images of a domain.

    Attributes:
        control: the column of the table.
        change_NGU: what is added.
        asked_N: the class that should be the answer then, int64.
    """

    control: str
    change_NGU: torch.Tensor
    asked_N: torch.Tensor


class Targets(NamedTuple):
    """Classes that are drawn for every image, int64 [N] each.

    Attributes:
        asked: c′, in place of the own class c.
        other, other_asked: e and e′, of which none is c or c′.
    """

    asked: torch.Tensor
    other: torch.Tensor
    other_asked: torch.Tensor


def interchange(
    bench: Bench, learnt: Shown, sites: Sequence[Site], seed: int, bar: tqdm | None = None
) -> pl.DataFrame:
    """Exchange classes at residual sites, as every domain says, in images of every domain.

    To all positions of a group of an image of (B, c) is added μ(A, c′) − μ(A, c), of training
    images. c′ is drawn for every image, from the classes that are held out in the same draws.

    Args:
        bench: the model and test images.
        learnt: what training images show (`analysis.bench.shown`).
        sites: residual ones.
        seed: of c′ and of the controls.
        bar: advanced by one per site and pair of domains.

    Returns:
        The columns CAUSES, `source` A and `target` B, `control`:
        "": c′ is asked for; `random`: directions of equal length at random; `other_class`: the
        difference of two classes of A that are neither c nor c′, of equal length; `same_class`:
        μ(A, c) − μ(B, c), c is asked for: the domain alone is exchanged.

    Raises:
        ValueError: there are fewer than four classes.
    """
    bench, note = comparable(bench, learnt)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    targets = draw_targets(bench.labels.cpu().numpy(), bench.class_sets, rng)
    rows: list[dict[str, Any]] = []
    for site in sites:
        place = {"site": site.name, "level": site.level.value, "depth": site.depth}
        means_DCGU = learnt.means(site.name)
        clean = bench.states(bench.everyone, lambda _: {}, site)
        for b, target in enumerate(bench.domains):
            images = bench.of_domain(b)
            before = Patched(*(part[images] for part in clean))
            near = surroundings(learnt.states[site.name], before.states_NGU)
            for a, source in enumerate(bench.domains):
                key = {"test": "interchange", **place, "source": source, "target": target}
                for change in _changes(bench, means_DCGU, images, (a, b), targets, generator):
                    found = bench.states(images, bench.adding(change.change_NGU, site), site)
                    rows += _rows(bench, images, change, (before, found), near, key)
                if bar is not None:
                    bar.update()
    return table(rows, note)


def draw_targets(
    labels_N: np.ndarray, class_sets: Sequence[ClassSet], rng: np.random.Generator
) -> Targets:
    """For every image a class to put in place of its own, and two classes for the control.

    c′ is drawn from the classes that lie in the same sets as c: one draw of c′ then serves the
    sets of all draws. A class that is alone in its sets takes any other.

    Raises:
        ValueError: there are fewer than four classes.
    """
    present = np.unique(labels_N)
    if len(present) < LEAST_CLASSES:
        raise ValueError(f"{len(present)} classes to exchange, fewer than {LEAST_CLASSES}")
    kinds = {c: tuple(c in chosen.members for chosen in class_sets) for c in present.tolist()}
    drawn = np.empty((3, len(labels_N)), dtype=np.int64)
    for i, c in enumerate(labels_N.tolist()):
        others = present[present != c]
        alike = [d for d in others.tolist() if kinds[d] == kinds[c]]
        drawn[0, i] = rng.choice(alike or others)
        drawn[1:, i] = rng.choice(others[others != drawn[0, i]], size=2, replace=False)
    return Targets(*torch.from_numpy(drawn))


def _changes(
    bench: Bench,
    means_DCGU: torch.Tensor,
    images: torch.Tensor,
    pair: tuple[int, int],
    targets: Targets,
    generator: torch.Generator,
) -> Iterator[Change]:
    """The real change first, then its controls."""
    a, b = pair
    asked, other, other_asked = (drawn.to(bench.device)[images] for drawn in targets)
    own = bench.labels[images]
    change = means_DCGU[a, asked] - means_DCGU[a, own]
    yield Change("", change, asked)
    noise = torch.randn(change.shape, generator=generator).to(change)
    yield Change("random", of_length(noise, change), asked)
    elsewhere = means_DCGU[a, other_asked] - means_DCGU[a, other]
    yield Change("other_class", of_length(elsewhere, change), asked)
    if a != b:
        yield Change("same_class", means_DCGU[a, own] - means_DCGU[b, own], own)


def of_length(directions: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Vectors [..., U] of these directions, each as long as another's."""
    tiny = torch.finfo(directions.dtype).tiny
    length = directions.norm(dim=-1, keepdim=True).clamp(min=tiny)
    return directions * (like.norm(dim=-1, keepdim=True) / length)


def _rows(
    bench: Bench,
    images: torch.Tensor,
    change: Change,
    states: tuple[Patched, Patched],
    near: Surroundings,
    key: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Of one change in the images of one domain, from their states before and after it."""
    before, found = states
    asked_N = change.asked_N.cpu().numpy()
    asked = Asked(bench.labels[images].cpu().numpy(), bench.class_sets, asked_N)
    answers, clean = (bench.answers(state.features_NE, change.asked_N) for state in (found, before))
    key = key | {"control": change.control}
    yield from answered(asked, answers, clean, key, 1 / bench.readout.classes)
    if change.control:
        return
    whole = Asked(asked.labels_N, bench.class_sets[:1])
    for quantity, values in departures(near, found.states_NGU).items():
        yield from means(whole, values, key | {"quantity": quantity, "chance": 1.0})


def answered(
    asked: Asked, found: Answers, clean: Answers, key: dict[str, Any], chance: float
) -> Iterator[dict[str, Any]]:
    """How often the class that was asked for is the answer, and what its margin gained."""
    right = found.guesses_N == asked.targets_N
    accuracy = {"quantity": "interchange_accuracy", "chance": chance}
    yield from shares(asked, right, key | accuracy)
    gain = found.margins_N - clean.margins_N
    yield from means(asked, gain, key | {"quantity": "margin_change", "chance": 0.0})
