"""Steering: how answers follow as ever more of a direction is added to what a site shows.

Directions are learnt in one domain and added in another: that of a class, and that between the two
domains. docs/causes.md has the doses.

Legend: N images, D domains, C classes, G groups of positions, U units, M training images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from tqdm import tqdm

from analysis.bench import Bench, Patched, Shown, comparable
from analysis.departure import Surroundings, departures, surroundings
from analysis.effects import Asked, means, shares, table
from analysis.interchange import draw_targets, of_length
from analysis.sites import Site

DOSES = (0.5, 1.0, 2.0, 4.0)
"""beside 0, where nothing is added"""


class Push(NamedTuple):
    """A direction for every image of a domain, at dose 1.

    Attributes:
        kind: `steered` by a class, or `shifted` to a domain: the beginning of the quantity's name.
        source: domain that it was learnt in; None of random ones.
        control: the column of the table.
        change_NGU: what dose 1 adds.
        asked_N: the class whose margin counts, int64.
    """

    kind: str
    source: str | None
    control: str
    change_NGU: torch.Tensor
    asked_N: torch.Tensor


def steering(
    bench: Bench, learnt: Shown, sites: Sequence[Site], seed: int, bar: tqdm | None = None
) -> pl.DataFrame:
    """Add class directions and domain shifts of every domain to images of every domain.

    Args:
        bench: the model and test images.
        learnt: what training images show.
        sites: residual ones.
        seed: of the steered classes and of the random directions.
        bar: advanced by one per site and domain of images.

    Returns:
        The columns CAUSES: `source` where the direction was learnt, `target` the images' domain.
        Quantities `steered_accuracy` and `steered_margin` are of the class that the direction is
        of, `shifted_accuracy` and `shifted_margin` of the own class after a domain shift; each
        with `…_norm_ratio` and `…_knn_distance`. `control` random: directions of equal length at
        random, of no source.

    Raises:
        ValueError: there are fewer than four classes.
    """
    bench, note = comparable(bench, learnt)
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    asked = draw_targets(bench.labels.cpu().numpy(), bench.class_sets, rng).asked.to(bench.device)
    rows: list[dict[str, Any]] = []
    for site in sites:
        place = {"site": site.name, "level": site.level.value, "depth": site.depth}
        steps, shifts = class_steps(learnt, site.name), domain_shifts(learnt, site.name)
        clean = bench.states(bench.everyone, lambda _: {}, site)
        for number, target in enumerate(bench.domains):
            images = bench.of_domain(number)
            before = Patched(*(part[images] for part in clean))
            near = surroundings(learnt.states[site.name], before.states_NGU)
            key = {"test": "steering", **place, "target": target}
            for push in _pushes(bench, images, number, (steps, shifts), asked, generator):
                found = _pushed(bench, images, push, before, site)
                rows += _rows(bench, images, push, found, near, key)
            if bar is not None:
                bar.update()
    return table(rows, note)


def class_steps(learnt: Shown, site: str) -> torch.Tensor:
    """One standard deviation along the direction of every class in every domain, [D, C, G, U].

    The direction leads from the mean of the domain's other classes to that of the class; the
    deviation is that of the domain's images of all classes, along it. 0 where there is none.
    """
    means_DCGU, states = learnt.means(site), learnt.states[site]
    there = (learnt.counts_DC > 0).to(means_DCGU)[..., None, None]
    whole, count = (means_DCGU * there).sum(dim=1, keepdim=True), there.sum(dim=1, keepdim=True)
    others = (whole - means_DCGU * there) / (count - there).clamp(min=1)
    directions = of_length((means_DCGU - others) * there, torch.ones_like(means_DCGU[..., :1]))
    steps = torch.zeros_like(directions)
    for domain in range(learnt.domains):
        own = states[learnt.places_N == domain]
        if len(own) > 1:
            along_MCG = torch.einsum("mgu,cgu->mcg", own, directions[domain])
            steps[domain] = directions[domain] * along_MCG.std(dim=0)[..., None]
    return steps


def domain_shifts(learnt: Shown, site: str) -> torch.Tensor:
    """From the mean of every domain to that of every other: [D (from), D (to), G, U].

    All classes that every domain has count alike.
    """
    fitted = (learnt.counts_DC > 0).all(dim=0)
    middle_DGU = learnt.means(site)[:, fitted].mean(dim=1)
    return middle_DGU[None] - middle_DGU[:, None]


def _pushes(
    bench: Bench,
    images: torch.Tensor,
    target: int,
    directions: tuple[torch.Tensor, torch.Tensor],
    asked: torch.Tensor,
    generator: torch.Generator,
) -> Iterator[Push]:
    """Every source's class directions and shifts, and random ones as long as those of any."""
    steps_DCGU, shifts_DDGU = directions
    wanted, own = asked[images], bench.labels[images]
    count, domains = len(images), len(bench.domains)
    steered = steps_DCGU[:, wanted]
    shifted = shifts_DDGU[target][:, None].expand(-1, count, -1, -1)
    others = [number for number in range(domains) if number != target]
    for kind, real_DNGU, classes, sources in (
        ("steered", steered, wanted, list(range(domains))),
        ("shifted", shifted, own, others),
    ):
        for source in sources:
            yield Push(kind, bench.domains[source], "", real_DNGU[source], classes)
        if not sources:
            continue
        drawn = torch.randint(len(sources), (count,), generator=generator)
        any_source = torch.tensor(sources)[drawn].to(bench.device)
        like = real_DNGU[any_source, torch.arange(count, device=bench.device)]
        noise = torch.randn(like.shape, generator=generator).to(like)
        yield Push(kind, None, "random", of_length(noise, like), classes)


def _pushed(
    bench: Bench, images: torch.Tensor, push: Push, before: Patched, site: Site
) -> list[tuple[float, Patched]]:
    """Dose 0, which is what was there before, and all others in one go."""
    doses = torch.tensor(DOSES, device=bench.device)
    change = (doses[:, None, None, None] * push.change_NGU).flatten(0, 1)
    found = bench.states(images.repeat(len(DOSES)), bench.adding(change, site), site)
    parts = zip(*(part.chunk(len(DOSES)) for part in found), strict=True)
    return [(0.0, before), *zip(DOSES, (Patched(*part) for part in parts), strict=True)]


def _rows(
    bench: Bench,
    images: torch.Tensor,
    push: Push,
    found: list[tuple[float, Patched]],
    near: Surroundings,
    key: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Of one direction, at all doses."""
    labels, chance = bench.labels[images].cpu().numpy(), 1 / bench.readout.classes
    wanted = push.asked_N.cpu().numpy()
    asked = Asked(labels, bench.class_sets, wanted)
    whole = Asked(labels, bench.class_sets[:1])
    for dose, patched in found:
        answers = bench.answers(patched.features_NE, push.asked_N)
        row = key | {"source": push.source, "control": push.control, "dose": dose}
        name = {"quantity": f"{push.kind}_accuracy", "chance": chance}
        yield from shares(asked, answers.guesses_N == wanted, row | name)
        name = {"quantity": f"{push.kind}_margin", "chance": None}
        yield from means(asked, answers.margins_N, row | name)
        for quantity, values in departures(near, patched.states_NGU).items():
            name = {"quantity": f"{push.kind}_{quantity}", "chance": 1.0}
            yield from means(whole, values, row | name)
