"""What every node contributes to the margin of an image's class (docs/attribution.md).

A node's score is, to first order, what the margin m loses where the node's activations a are
exchanged for baselines a′: with p over positions, and over channels where the node is a head,

    s = Σ_p (a_p − a′_p) · ḡ_p,    ḡ_p = ∂m/∂a_p or a mean of it along a path.

Positive nodes help the class. Attribution patching (`atp`; Nanda 2023, Syed et al. 2023) takes the
gradient at the image, and scores all nodes of all sites by one forward and one backward pass.

Legend: B batch, D domains, C classes, G groups of positions, U units, N nodes, E embedding
channels, P height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

import polars as pl
import torch
from torch import nn

from analysis.cells import CellMeans, CellSums, cell_numbers, dealt
from analysis.interventions import Baselines, class_tokens, of_nodes, spread
from analysis.readout import Readout
from analysis.sites import Site, taps
from gen.evaluation.embed import inputs_of

if TYPE_CHECKING:
    from tqdm import tqdm

    from gen.models.trained import Learner

Metric = Literal["margin", "own_score"]
Score = Literal["atp", "ig_input", "ig_layer"]
SCORES: tuple[Score, ...] = get_args(Score)
STEPS = 10
"""of a path; the published number"""
Values = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Batch:
    """Images as they enter a model, and whose they are.

    Attributes:
        inputs: float32 [B, 3, P, P], on the device of the model.
        domains_B, labels_B: positions of domain and class, int64, on the device.
    """

    inputs: torch.Tensor
    domains_B: torch.Tensor
    labels_B: torch.Tensor


@dataclass(frozen=True)
class Scorer:
    """What is asked of a model, all on one device: `scorer` makes it.

    Attributes:
        model: in evaluation mode, so that no image says anything of another.
        readout: what its answers are read from.
        base: what stands in for nodes, at all of the sites.
        sites: whose nodes are scored.
        metric: margin, or own_score (the cosine to the own class, as published).
    """

    model: Any
    readout: Readout
    base: Baselines
    sites: tuple[Site, ...]
    metric: Metric

    @cached_property
    def tokens(self) -> int:
        """How many tokens stand for the whole image, a group of positions of their own."""
        return class_tokens(getattr(self.model, "visual", self.model))

    def value(self, features_BE: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        """The metric m of every image, [B]."""
        if self.metric == "margin":
            return self.readout.margins(features_BE, labels_B)
        return self.readout.own_scores(features_BE, labels_B)

    def scores(self, score: Score, batch: Batch, origins: torch.Tensor | None = None) -> Values:
        """Scores of one kind, image by image: by site, [B, N].

        Args:
            score: atp, ig_input or ig_layer.
            batch: the images.
            origins: where paths of inputs begin, for ig_input: `analysis.baselines.mean_images`.

        Raises:
            ValueError: paths of inputs have no origins.
        """
        if score == "atp":
            return self.atp(batch)
        if score == "ig_layer":
            return self.ig_layer(batch)
        if origins is None:
            raise ValueError("paths of inputs need images to begin with")
        own = origins[batch.domains_B.to(origins.device), batch.labels_B.to(origins.device)]
        return self.ig_input(batch, own.to(batch.inputs.device))

    def atp(self, batch: Batch) -> Values:
        """Gradients at the images themselves."""
        activations, gradients = self._gradients(batch.inputs, batch.labels_B, self.sites)
        return self._contributions(batch, activations, gradients)

    def ig_input(self, batch: Batch, origins: torch.Tensor) -> Values:
        """Gradients averaged on the straight path to the images from others.

        The scores of EAP-IG-inputs (Hanna et al. 2024, 2403.17806), for nodes. Gradients are taken
        in the middle of STEPS equal parts of the path: no part counts by one of its ends, and what
        is quadratic along the path is integrated without error.

        Args:
            batch: the images.
            origins: the others, [B, 3, P, P], as they enter the model.
        """
        mean: Values = {}
        for step in range(STEPS):
            share = (step + 0.5) / STEPS
            inputs = origins + share * (batch.inputs - origins)
            _, gradients = self._gradients(inputs, batch.labels_B, self.sites)
            mean = {name: found / STEPS + mean.get(name, 0) for name, found in gradients.items()}
        activations: Values = {}
        with torch.no_grad(), taps(self.sites, activations.__setitem__):
            self.model.encode_image(batch.inputs)
        return self._contributions(batch, activations, mean)

    def ig_layer(self, batch: Batch) -> Values:
        """Gradients averaged while a whole site goes to its baselines, each site by itself.

        The published scores (Kempf et al. 2025, after Marks et al. 2024), where baselines are
        zero: STEPS points from the image's own activations on, the first of them included and the
        baselines themselves not. It asks what the site's nodes do together, not what one does.
        """
        found: Values = {}
        for site in self.sites:
            values_BGU = self.base.of(site.name, batch.domains_B, batch.labels_B)
            parts = [self._on_the_way(batch, site, values_BGU, i / STEPS) for i in range(STEPS)]
            own = {site.name: parts[0][0]}
            mean = {site.name: torch.stack([gradients for _, gradients in parts]).mean(dim=0)}
            found |= self._contributions(batch, own, mean)
        return found

    def _on_the_way(
        self, batch: Batch, site: Site, values_BGU: torch.Tensor, gone: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Activations of a site with a share of their way to the baselines gone; gradients there.

        Nothing before the site is differentiated.
        """

        def edit(activations: torch.Tensor) -> torch.Tensor:
            ahead = spread(values_BGU, activations, self.tokens) - activations
            return (activations + gone * ahead).detach().requires_grad_()

        at, gradients = self._gradients(batch.inputs, batch.labels_B, [site], {site.name: edit})
        return at[site.name], gradients[site.name]

    def _gradients(
        self,
        inputs: torch.Tensor,
        labels_B: torch.Tensor,
        sites: Sequence[Site],
        edit: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] | None = None,
    ) -> tuple[Values, Values]:
        """Activations of the sites, and the gradients of every image's metric there.

        In evaluation mode an image's activations bear on no other's metric, so that the gradients
        of the sum of all metrics are those of each.
        """
        found: Values = {}
        inputs = inputs.detach().requires_grad_(edit is None)  # weights ask for no gradient
        with torch.enable_grad(), _frozen(self.model), taps(sites, found.__setitem__, edit):
            total = self.value(self.model.encode_image(inputs), labels_B).sum()
            gradients = torch.autograd.grad(total, list(found.values()))
        activations = {name: values.detach() for name, values in found.items()}
        return activations, dict(zip(found, gradients, strict=True))

    def _contributions(self, batch: Batch, activations: Values, gradients: Values) -> Values:
        """Σ_p (a_p − a′_p) · ḡ_p of every node, by site [B, N]."""
        found: Values = {}
        sites = {site.name: site for site in self.sites}
        for name, at in activations.items():
            values_BGU = self.base.of(name, batch.domains_B, batch.labels_B)
            products = (at - spread(values_BGU, at, self.tokens)) * gradients[name]
            if at.ndim == 4:
                products = products.sum(dim=(2, 3))
            elif at.ndim == 3:
                products = products.sum(dim=1)
            found[name] = of_nodes(products, sites[name])
        return found


def scorer(
    learner: Learner,
    readout: Readout,
    base: Baselines,
    device: torch.device,
    sites: Sequence[Site],
    metric: Metric = "margin",
) -> Scorer:
    """What is asked of a model, on a device.

    Args:
        learner: a model with an image tower.
        readout: what its answers are read from.
        base: what stands in for nodes, at all of the sites.
        device: where to compute.
        sites: of the image tower.
        metric: whose contributions are asked for.
    """
    values = {site.name: base.values[site.name].to(device) for site in sites}
    model = learner.model.to(device).eval()
    return Scorer(model, readout.to(device), Baselines(base.kind, values), tuple(sites), metric)


def node_scores(
    learner: Learner,
    batches: Iterable[torch.Tensor],
    samples: pl.DataFrame,
    domains: Sequence[str],
    classes: Sequence[str],
    readout: Readout,
    base: Baselines,
    device: torch.device,
    sites: Sequence[Site],
    metric: Metric = "margin",
    bar: tqdm | None = None,
    score: Score = "atp",
    origins: torch.Tensor | None = None,
) -> CellMeans:
    """Stream images and average the scores of all nodes per cell and fold: [F, D, C, N] per site.

    A backward pass holds the activations of a batch: take smaller batches than for embeddings.

    Args:
        learner: any model with an image tower, and how images enter it.
        batches: of the images, uint8, each of shape [b, 3, P, P].
        samples: the images' rows (`domain`, `class_id`).
        domains: names of the domains, the order of D.
        classes: names of the classes, by class id; those of the readout and of the baselines.
        readout: what the model's answers are read from.
        base: what stands in for nodes, at all of the sites.
        device: where to compute.
        sites: of the image tower.
        metric: whose contributions are asked for.
        bar: advanced by one per image.
        score: atp costs two passes; ig_input 21, ig_layer up to 20 per site.
        origins: as of `Scorer.scores`.

    Raises:
        ValueError: a cell has fewer than two images; there are more rows than images, or fewer; or
            paths of inputs have no origins.
    """
    cells = cell_numbers(samples, domains, len(classes))
    buckets, sizes = dealt(cells, len(domains) * len(classes))
    sums, asked = (
        CellSums(buckets, sizes, device),
        scorer(learner, readout, base, device, sites, metric),
    )
    numbers, enter, start = torch.from_numpy(cells).to(device), inputs_of(learner, device), 0
    for pixels in batches:
        rows = numbers[start : start + len(pixels)]
        start += len(pixels)
        if len(rows) < len(pixels):
            raise ValueError(f"{start} of {len(cells)} images")
        batch = Batch(enter(pixels), rows // len(classes), rows % len(classes))
        for site, values_BN in asked.scores(score, batch, origins).items():
            sums.add(site, values_BN)
        if bar is not None:
            bar.update(len(pixels))
    return sums.cells([site.name for site in sites], domains, classes)


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """While active, no graph is kept for the gradients of weights."""
    learned = [weight for weight in model.parameters() if weight.requires_grad]
    try:
        for weight in learned:
            weight.requires_grad_(False)
        yield
    finally:
        for weight in learned:
            weight.requires_grad_(True)
