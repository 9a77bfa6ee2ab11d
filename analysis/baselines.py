"""What stands in for a node that is taken away: means of other images, or nothing.

docs/attribution.md says what each kind asks. All come from one pass over the images, of which
sums per cell are kept and no activations.

Legend: D domains, C classes, G groups of positions, U units, P height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import polars as pl
import torch

from analysis.cells import CellSums, cell_numbers
from analysis.interventions import Baselines, class_tokens, group_means
from analysis.sites import Site, taps
from gen.evaluation.embed import embed_batches, inputs_of

if TYPE_CHECKING:
    from gen.models.trained import Learner

Kind = Literal["domain_other_class", "pooled", "zero"]
KINDS: tuple[Kind, ...] = get_args(Kind)
IMAGE = "image"


def baselines(
    learner: Learner,
    batches: Iterable[torch.Tensor],
    samples: pl.DataFrame,
    domains: Sequence[str],
    classes: Sequence[str],
    device: torch.device,
    sites: Sequence[Site],
    kind: Kind = "domain_other_class",
) -> Baselines:
    """Baselines of one kind; `stand_ins` makes several of one pass over the images.

    Args:
        learner: any model with an image tower, and how images enter it.
        batches: of the images, uint8, each of shape [b, 3, P, P].
        samples: the images' rows (`domain`, `class_id`).
        domains: names of the domains, the order of D.
        classes: names of the classes, by class id.
        device: where to compute.
        sites: of the image tower.
        kind: as of `stand_ins`.

    Raises:
        ValueError: a cell has no image; there are more rows than images, or fewer; or only one
            class where other classes are to stand in.
    """
    cells = group_cells(learner, batches, samples, domains, classes, device, sites)
    return stand_ins(cells, kind)


def group_cells(
    learner: Learner,
    batches: Iterable[torch.Tensor],
    samples: pl.DataFrame,
    domains: Sequence[str],
    classes: Sequence[str],
    device: torch.device,
    sites: Sequence[Site],
) -> dict[str, torch.Tensor]:
    """Mean activations of every cell by group of positions: by site, float64 [D, C, G, U].

    Args and errors: those of `baselines`.
    """
    sums, groups = _sums(samples, domains, classes, device), dict[str, int]()
    tokens = class_tokens(getattr(learner.model, "visual", learner.model))

    def add(site: str, activations: torch.Tensor) -> None:
        means_BGU = group_means(activations, tokens)
        groups[site] = means_BGU.shape[1]
        sums.add(site, means_BGU.flatten(1))

    with taps(sites, add):
        embed_batches(learner, batches, device, lambda _features: None)
    shape = (len(domains), len(classes))
    return {
        site: torch.from_numpy(means.reshape(*shape, groups[site], -1))
        for site, means in sums.means().items()
    }


def stand_ins(cells: Mapping[str, torch.Tensor], kind: Kind) -> Baselines:
    """Baselines from the means of cells.

    Args:
        cells: by site, [D, C, G, U].
        kind: domain_other_class: the mean over the other classes of the same domain, all classes
            alike. pooled: the mean over all cells, alike. zero.

    Raises:
        ValueError: there is one class only, so that no other can stand in for it.
    """
    return Baselines(kind, {site: _stand_in(means, kind) for site, means in cells.items()})


def mean_images(
    learner: Learner,
    batches: Iterable[torch.Tensor],
    samples: pl.DataFrame,
    domains: Sequence[str],
    classes: Sequence[str],
    device: torch.device,
) -> torch.Tensor:
    """Of every cell the mean image of the same domain's other classes, float32 [D, C, 3, P, P].

    It is where paths of inputs begin (`analysis.attribution`), as it enters the model. Sums take
    24 · D · C · P² bytes on the device.

    Args and errors: those of `baselines`, of kind domain_other_class.
    """
    sums, enter = _sums(samples, domains, classes, device), inputs_of(learner, device)
    shape: tuple[int, ...] = ()
    for batch in batches:
        inputs = enter(batch)
        shape = tuple(inputs.shape[1:])
        sums.add(IMAGE, inputs.flatten(1))
    means = torch.from_numpy(sums.means()[IMAGE])
    return _stand_in(means.reshape(len(domains), len(classes), *shape), "domain_other_class")


def _sums(
    samples: pl.DataFrame, domains: Sequence[str], classes: Sequence[str], device: torch.device
) -> CellSums:
    """Sums of cells, undivided: baselines need no halves."""
    cells = cell_numbers(samples, domains, len(classes))
    sizes = np.bincount(cells, minlength=len(domains) * len(classes))
    if sizes.min() == 0:
        raise ValueError("every (domain, class) cell needs an image")
    return CellSums(cells, sizes, device)


def _stand_in(means: torch.Tensor, kind: Kind) -> torch.Tensor:
    """Of means of cells [D, C, ...] what stands in for each, float32 of the same shape."""
    if kind == "zero":
        return torch.zeros_like(means, dtype=torch.float32)
    if kind == "pooled":
        return means.mean(dim=(0, 1)).float().expand(means.shape)
    others = means.shape[1] - 1
    if not others:
        raise ValueError("there is one class, and no other to stand in for it")
    return ((means.sum(dim=1, keepdim=True) - means) / others).float()
