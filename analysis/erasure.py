"""Erasure: what becomes of answers when no site tells domains apart, as far as is linear.

LEACE (Belrose et al. 2023) is the affine map that changes activations least, of all that leave no
covariance with a concept: no linear probe can then do better than guess it. The concept here is the
domain, among the domains that the map is fitted on; every domain is left out in turn.

Legend: N images, D domains, G groups of positions, U units, R rank.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import torch
from torch.nn.functional import one_hot
from tqdm import tqdm

from analysis.bench import Bench, EditOf, Shown
from analysis.effects import Asked, means, shares, table
from analysis.interventions import Edit
from analysis.sites import Site

TOLERANCE = 1e-5
"""correlations below it count as none: those of one domain too many, which the others give away"""
FEWEST_DOMAINS = 3
"""one is left out, and two are there to be told apart"""


@dataclass(frozen=True)
class Projection:
    """x ↦ x − L R (x − b): what is taken from activations, at every position.

    Attributes:
        left_UR, right_RU: an oblique projection of rank R.
        bias_U: b, which stays as it is.
    """

    left_UR: torch.Tensor
    right_RU: torch.Tensor
    bias_U: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """[..., U] → [..., U]."""
        return x - (x - self.bias_U) @ self.right_RU.T @ self.left_UR.T

    @property
    def rank(self) -> int:
        return self.left_UR.shape[1]


def eraser(states_NU: torch.Tensor, domains_N: torch.Tensor) -> Projection:
    """The least change after which states say nothing linear of their domain.

    With W = Σ_xx^(-1/2), shrunk, and the left singular vectors V of W Σ_xz: L = W⁻¹ V, R = Vᵀ W
    (Belrose et al. 2023). The rank is one less than there are domains.

    Args:
        states_NU: on which it is fitted.
        domains_N: their domains, int64 from 0.
    """
    with warnings.catch_warnings():  # of torch's own compiler, which it still uses
        warnings.simplefilter("ignore", FutureWarning)
        from concept_erasure import LeaceFitter
    fitter = LeaceFitter.fit(
        states_NU.double(),
        one_hot(domains_N).double(),
        svd_tol=TOLERANCE,
        # W whitens the very covariance whose trace it would watch: it cannot grow
        constrain_cov_trace=False,
    )
    found = fitter.eraser
    used = found.proj_right.norm(dim=1) > 0
    left, right = found.proj_left[:, used], found.proj_right[used]
    return Projection(left.float(), right.float(), fitter.mean_x.float())


def random_projection(like: Projection, generator: torch.Generator) -> Projection:
    """An orthogonal projection along as many directions at random."""
    noise = torch.randn(like.left_UR.shape, generator=generator)
    frame = torch.linalg.qr(noise)[0].to(like.left_UR)
    return Projection(frame, frame.T, like.bias_U)


def erasing(groups: Sequence[Projection], tokens: int) -> Edit:
    """An edit that applies its projection to every position of a group.

    Args:
        groups: one, or that of the class tokens and that of all others.
        tokens: how many are class tokens.
    """

    def edit(activations: torch.Tensor) -> torch.Tensor:
        if activations.ndim == 4:
            return groups[0](activations.movedim(1, -1)).movedim(-1, 1)
        if len(groups) == 1:
            return groups[0](activations)
        parts = activations[:, :tokens], activations[:, tokens:]
        return torch.cat([one(part) for one, part in zip(groups, parts, strict=True)], dim=1)

    return edit


def erasure(
    bench: Bench, learnt: Shown, sites: Sequence[Site], seed: int, bar: tqdm | None = None
) -> pl.DataFrame:
    """Erase the domain at residual sites; every domain is left out of the fit in turn.

    Fitted on the mean over the positions of a group, per image, and applied at all positions: an
    affine map of the mean is the mean of the maps, so that what is fitted holds.

    Args:
        bench: the model and test images.
        learnt: what training images show.
        sites: residual ones.
        seed: of the random projections.
        bar: advanced by one per site and domain that is left out.

    Returns:
        The columns CAUSES: `source` the domain that was left out, `target` the images' domain.
        `accuracy` at dose 1 (erased) and 0 (nothing done), and `margin_loss`, clean − erased;
        `control` random: a projection of equal rank.

    Raises:
        ValueError: there are fewer than three domains.
    """
    if len(bench.domains) < FEWEST_DOMAINS:
        raise ValueError(f"{len(bench.domains)} domains: one left out, two told apart")
    generator = torch.Generator().manual_seed(seed)
    rows: list[dict[str, Any]] = []
    for site in sites:
        place = {"site": site.name, "level": site.level.value, "depth": site.depth}
        for number, out in enumerate(bench.domains):
            real = erasers(learnt, site.name, number)
            chance = [random_projection(one, generator) for one in real]
            for control, groups in (("", real), ("random", chance)):
                edit = erasing(groups, bench.tokens)
                features = bench.embeddings(bench.everyone, [site], _same(site, edit))
                row = {"test": "erasure", **place, "source": out, "control": control}
                rows += domain_rows(bench, features, row)
            if bar is not None:
                bar.update()
    return table(rows)


def erasers(learnt: Shown, site: str, left_out: int) -> list[Projection]:
    """One per group of positions, fitted on all domains but one."""
    kept = learnt.places_N != left_out
    states, places = learnt.states[site][kept], learnt.places_N[kept]
    _, domains = places.unique(return_inverse=True)
    return [eraser(states[:, group], domains) for group in range(states.shape[1])]


def _same(site: Site, edit: Edit) -> EditOf:
    """The same edit for all images."""
    return lambda _: {site.name: edit}


def domain_rows(
    bench: Bench, features_NE: torch.Tensor, key: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Accuracy before and after, and the margin lost, in every domain of images."""
    found, clean = (bench.answers(part, bench.labels) for part in (features_NE, bench.clean))
    labels, chance = bench.labels.cpu().numpy(), 1 / bench.readout.classes
    places = bench.places.cpu().numpy()
    for number, target in enumerate(bench.domains):
        mask = places == number
        asked = Asked(labels[mask], bench.class_sets)
        row = key | {"target": target}
        for dose, answers in ((0.0, clean), (1.0, found)):
            right: np.ndarray = answers.guesses_N[mask] == asked.labels_N
            name = {"quantity": "accuracy", "dose": dose, "chance": chance}
            yield from shares(asked, right, row | name)
        loss = clean.margins_N[mask] - found.margins_N[mask]
        name = {"quantity": "margin_loss", "dose": 1.0, "chance": 0.0}
        yield from means(asked, loss, row | name)
