"""Do nodes that a domain shares with others matter more than those that it has for itself?

Of the nodes that carry a class most in a domain, some carry it in other domains too. These and the
private ones are taken away, equally many at every site and with equal scores; docs/causes.md has
the matching, on which the comparison rests.

Legend: N images, D domains, C classes, U nodes of a site, P pairs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import polars as pl
import torch
from scipy.optimize import linear_sum_assignment
from tqdm import tqdm

from analysis.bench import Answers, Bench, EditOf
from analysis.cells import CellMeans
from analysis.effects import Asked, means, shares, table
from analysis.interventions import Baselines, Edit, keeping
from analysis.sites import Site

SHARE = 0.1
"""of a site's nodes that carry a class most"""
LIKE = 2.0
"""a pair's scores differ by this factor at most"""
SHARED, PRIVATE, RANDOM = "", "private", "random"
"""the column `control`"""
EVERYWHERE = "all"
"""the column `site`: nodes of all sites are taken away together"""


@dataclass(frozen=True)
class Matched:
    """Nodes of one site to be taken away for every domain and class.

    Attributes:
        masks: by control, bool [D, C, U]: equally many for each.
        scores: by control, what a cell's nodes add to its margin by images that had no part in
            choosing them, summed; float64 [D, C].
    """

    masks: Mapping[str, np.ndarray]
    scores: Mapping[str, np.ndarray]


def unit_ablation(
    bench: Bench,
    scores: CellMeans,
    base: Baselines,
    sites: Sequence[Site],
    seed: int,
    bar: tqdm | None = None,
) -> pl.DataFrame:
    """Take away shared, private and random nodes of every domain, in images of every domain.

    Args:
        bench: the model and test images; their classes and domains are among those of the scores.
        scores: what nodes add to the margin, per cell of training images.
        base: baselines of the sites, by number of domain and class.
        sites: whose nodes are taken away, all together.
        seed: of the random nodes.
        bar: advanced by one per domain that nodes are chosen for.

    Returns:
        The columns CAUSES: `source` the domain for which nodes were chosen, `target` the images'
        domain, `control` "" (shared), `private` or `random`. `margin_loss` and `accuracy` (dose 1;
        clean at dose 0); `shared_minus_private`, of the losses of the same images; where target is
        source, `matched_score` and `nodes`, what was taken away. Classes without a matched pair
        are in no row: `n_classes`.

    Raises:
        UserError: scores lack a class or a domain.
    """
    names = bench.images.samples["class_name"]
    cells = scores.of_domains(bench.domains).of_classes(names.unique(maintain_order=True).to_list())
    order = {name: number for number, name in enumerate(cells.classes)}
    class_N = np.array([order[name] for name in names])
    rng = np.random.default_rng(seed)
    chosen = {site.name: matched(cells, site.name, rng) for site in sites}
    clean = bench.answers(bench.clean, bench.labels)
    rows: list[dict[str, Any]] = []
    for number, source in enumerate(bench.domains):
        pairs_C = _counts(chosen.values(), SHARED, number)
        kept = torch.from_numpy(pairs_C[class_N] > 0).to(bench.device)
        images = bench.everyone[kept]
        found = {}
        for control in (SHARED, PRIVATE, RANDOM) if len(images) else ():
            masks = {name: nodes.masks[control][number][class_N] for name, nodes in chosen.items()}
            features = bench.embeddings(images, sites, _without(bench, images, masks, base, sites))
            found[control] = bench.answers(features, bench.labels[images])
        where = images.cpu().numpy()
        before = Answers(*(part[where] for part in clean))
        key = {"test": "ablation", "site": EVERYWHERE, "source": source}
        rows += _rows(bench, where, before, found, key)
        own = where[bench.places.cpu().numpy()[where] == number]
        rows += _sizes(bench, own, chosen.values(), number, class_N[own], key | {"target": source})
        if bar is not None:
            bar.update()
    return table(rows)


def matched(cells: CellMeans, site: str, rng: np.random.Generator) -> Matched:
    """Pairs of a shared and a private node with like scores, for every domain and class.

    Candidates are the tenth of the site's nodes with the largest scores above 0. A candidate is
    shared where half of the other domains or more have it among theirs, private where none has.
    Each half of the images has its part: one chooses the candidates, the other says what they
    score. Pairs differ by a factor of LIKE at most, and their scores are above 0
    again; there are as many as can be, and of such pairings it is that with the least differences.

    Args:
        cells: scores of nodes.
        site: whose nodes.
        rng: of the random nodes: as many, from those that are no candidates of the cell.
    """
    choosing, saying = cells.halves(site)[0]
    candidates = top_share(choosing)
    elsewhere = candidates.sum(axis=0) - candidates
    most = ceil((len(candidates) - 1) / 2)
    masks = {name: np.zeros_like(candidates) for name in (SHARED, PRIVATE, RANDOM)}
    for cell in np.ndindex(*candidates.shape[:2]):
        shared = np.flatnonzero(candidates[cell] & (elsewhere[cell] >= max(most, 1)))
        private = np.flatnonzero(candidates[cell] & (elsewhere[cell] == 0))
        pairs = _pairs(saying[cell][shared], saying[cell][private])
        masks[SHARED][cell][shared[pairs[0]]] = True
        masks[PRIVATE][cell][private[pairs[1]]] = True
        others = np.flatnonzero(~candidates[cell])
        masks[RANDOM][cell][rng.choice(others, size=len(pairs[0]), replace=False)] = True
    sums = {name: (saying * mask).sum(axis=2) for name, mask in masks.items()}
    return Matched(masks, sums)


def top_share(scores_DCU: np.ndarray) -> np.ndarray:
    """The SHARE of a site's nodes with the largest scores, where above 0: bool [D, C, U]."""
    count = ceil(SHARE * scores_DCU.shape[2])
    best = np.argsort(-scores_DCU, axis=2, kind="stable")[..., :count]
    found = np.zeros(scores_DCU.shape, dtype=bool)
    np.put_along_axis(found, best, True, axis=2)
    return found & (scores_DCU > 0)


def _pairs(shared_S: np.ndarray, private_P: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions among the shared and among the private nodes whose scores are alike."""
    low_SP = np.minimum(shared_S[:, None], private_P[None])
    high_SP = np.maximum(shared_S[:, None], private_P[None])
    alike_SP = (low_SP > 0) & (high_SP <= LIKE * low_SP)
    apart_SP = high_SP - low_SP
    never = 1 + apart_SP.sum()  # so that there are as many pairs as can be
    first, second = linear_sum_assignment(np.where(alike_SP, apart_SP, never))
    alike = alike_SP[first, second]
    return first[alike], second[alike]


def _without(
    bench: Bench,
    images: torch.Tensor,
    masks: Mapping[str, np.ndarray],
    base: Baselines,
    sites: Sequence[Site],
) -> EditOf:
    """Every image goes without the nodes of its own mask, [N, U] over all images of the bench."""
    gone = {name: torch.from_numpy(mask).to(bench.device)[images] for name, mask in masks.items()}
    places, labels = bench.places[images], bench.labels[images]
    values = {site.name: base.values[site.name].to(bench.device) for site in sites}

    def edit_of(batch: torch.Tensor) -> dict[str, Edit]:
        own = places[batch], labels[batch]
        return {
            site.name: keeping(
                site, (~gone[site.name][batch]).float(), values[site.name][own], bench.tokens
            )
            for site in sites
        }

    return edit_of


def _rows(
    bench: Bench,
    images: np.ndarray,
    before: Answers,
    found: Mapping[str, Answers],
    key: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """What the images of every domain lose."""
    labels, places = bench.labels.cpu().numpy()[images], bench.places.cpu().numpy()[images]
    chance = 1 / bench.readout.classes
    accuracy = {"quantity": "accuracy", "chance": chance}
    margin = {"dose": 1.0, "chance": 0.0}
    for number, target in enumerate(bench.domains):
        mask = places == number
        asked = Asked(labels[mask], bench.class_sets)
        row = key | {"target": target}
        losses = {}
        for control, after in found.items():
            losses[control] = before.margins_N[mask] - after.margins_N[mask]
            one = row | {"control": control}
            for dose, answers in ((0.0, before), (1.0, after)):
                right = answers.guesses_N[mask] == asked.labels_N
                yield from shares(asked, right, one | accuracy | {"dose": dose})
            yield from means(asked, losses[control], one | margin | {"quantity": "margin_loss"})
        if losses:
            name = {"control": "", "quantity": "shared_minus_private"}
            yield from means(asked, losses[SHARED] - losses[PRIVATE], row | margin | name)


def _sizes(
    bench: Bench,
    images: np.ndarray,
    chosen: Collection[Matched],
    number: int,
    class_N: np.ndarray,
    key: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """How many nodes were taken away for a class, and what they score together."""
    asked = Asked(bench.labels.cpu().numpy()[images], bench.class_sets)
    for control in (SHARED, PRIVATE, RANDOM):
        score_C = np.sum([nodes.scores[control][number] for nodes in chosen], axis=0)
        count_C = _counts(chosen, control, number)
        row = key | {"control": control, "dose": 1.0, "chance": None}
        yield from means(asked, score_C[class_N], row | {"quantity": "matched_score"})
        yield from means(asked, count_C[class_N], row | {"quantity": "nodes"})


def _counts(chosen: Collection[Matched], control: str, number: int) -> np.ndarray:
    """Nodes of all sites that are taken away for every class of a domain, int [C]."""
    return np.sum([nodes.masks[control][number].sum(axis=1) for nodes in chosen], axis=0)
