"""A model on the bench: what it answers while activations of held images are edited.

Legend: N images, B batch, D domains, C classes, G groups of positions, U units, E embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from analysis.class_sets import ClassSet
from analysis.held_images import Images
from analysis.interventions import Edit, class_tokens, group_means, spread
from analysis.readout import Readout
from analysis.sites import Site, list_sites, taps
from gen.evaluation.embed import batch_size, inputs_of
from gen.schema import SiteLevel

if TYPE_CHECKING:
    from gen.models.trained import Learner

EditOf = Callable[[torch.Tensor], Mapping[str, Edit]]
"""from the positions of a batch's images, int64 [B], to its edits by site"""


class Answers(NamedTuple):
    """What a model says of images.

    Attributes:
        guesses_N: the class that fits best, int64.
        margins_N: of the class that was asked for, float64 (`analysis.readout`).
    """

    guesses_N: np.ndarray
    margins_N: np.ndarray


@dataclass(frozen=True)
class Bench:
    """A trained model and the images that it is asked about.

    Attributes:
        learner: the model, and how images enter it.
        readout: from its embeddings to classes.
        images: held; `class_id` are positions among the classes of the readout.
        domains: names along D.
        class_sets: for each of which numbers are made; the first holds all classes.
        device: where to compute.
    """

    learner: Learner
    readout: Readout
    images: Images
    domains: tuple[str, ...]
    class_sets: Sequence[ClassSet]
    device: torch.device

    @cached_property
    def sites(self) -> list[Site]:
        """The residual sites."""
        return list_sites(self.learner.model, SiteLevel.residual)

    @cached_property
    def tokens(self) -> int:
        """`class_tokens` of the image tower."""
        return class_tokens(self.learner.model.visual)

    @cached_property
    def labels(self) -> torch.Tensor:
        """Class of every image, int64 [N], on the device."""
        return self.images.labels.to(self.device)

    @cached_property
    def places(self) -> torch.Tensor:
        """Number of every image's domain, int64 [N], on the device."""
        return self.images.domain_numbers(self.domains).to(self.device)

    @cached_property
    def everyone(self) -> torch.Tensor:
        """Positions of all images, int64 [N]."""
        return torch.arange(len(self.images), device=self.device)

    def of_domain(self, number: int) -> torch.Tensor:
        """Positions of a domain's images."""
        return self.everyone[self.places == number]

    def on(self, images: Images) -> Bench:
        """The same model, asked about other images."""
        return replace(self, images=images)

    @cached_property
    def clean(self) -> torch.Tensor:
        """Embeddings of all images, nothing edited, [N, E]."""
        return self.embeddings(self.everyone)

    @torch.inference_mode()
    def embeddings(
        self,
        rows: torch.Tensor,
        sites: Sequence[Site] = (),
        edit_of: EditOf | None = None,
        read: Callable[[str, torch.Tensor], None] | None = None,
    ) -> torch.Tensor:
        """Embeddings of some images, with edits that may differ from image to image.

        Args:
            rows: their positions, int64 [n].
            sites: that are edited or read.
            edit_of: gets the positions in `rows` of every batch's images.
            read: as of `analysis.sites.taps`, batch by batch in the order of `rows`.

        Returns:
            float32 [n, E], on the device.
        """
        model, enter = (
            self.learner.model.to(self.device).eval(),
            inputs_of(self.learner, self.device),
        )
        pixels_NCHW = self.images.pixels_NCHW
        order = torch.arange(len(rows), device=self.device)
        parts = []
        for batch in order.split(batch_size(pixels_NCHW.shape[-1])):
            shown = pixels_NCHW[rows[batch].to(pixels_NCHW.device)]
            with taps(sites, read, edit_of(batch) if edit_of else None):
                parts.append(model.encode_image(enter(shown)).float())
        return torch.cat(parts)

    def states(self, rows: torch.Tensor, edit_of: EditOf, site: Site) -> Patched:
        """Embeddings of some images under edits of one site, and what the site then shows."""
        found: list[torch.Tensor] = []
        features = self.embeddings(
            rows, [site], edit_of, lambda _, a: found.append(group_means(a.float(), self.tokens))
        )
        return Patched(features, torch.cat(found))

    def answers(self, features_NE: torch.Tensor, asked_N: torch.Tensor) -> Answers:
        """What embeddings say, with the margins of the classes asked for."""
        read = self.readout.to(self.device)
        guesses = read.scores(features_NE).argmax(dim=1)
        margins = read.margins(features_NE, asked_N).double()
        return Answers(guesses.cpu().numpy(), margins.cpu().numpy())

    def adding(self, change_NGU: torch.Tensor, site: Site) -> EditOf:
        """An edit that adds to every image's activations a change of its own, at all positions."""

        def edit_of(batch: torch.Tensor) -> Mapping[str, Edit]:
            change = change_NGU[batch]
            return {site.name: lambda a: a + spread(change, a, self.tokens).to(a)}

        return edit_of


class Patched(NamedTuple):
    """What comes of an edit.

    Attributes:
        features_NE: embeddings.
        states_NGU: what the edited site shows, mean over the positions of every group.
    """

    features_NE: torch.Tensor
    states_NGU: torch.Tensor


@dataclass(frozen=True)
class Shown:
    """What training images show at residual sites: what edits are made of.

    Attributes:
        labels_N: classes of the images, int64.
        places_N: numbers of their domains, int64.
        states: by site, mean over the positions of every group, float32 [N, G, U].
        domains, classes: how many there are of each.
    """

    labels_N: torch.Tensor
    places_N: torch.Tensor
    states: Mapping[str, torch.Tensor]
    domains: int
    classes: int

    @cached_property
    def counts_DC(self) -> torch.Tensor:
        """Images of every cell."""
        cells = self.places_N * self.classes + self.labels_N
        return cells.bincount(minlength=self.domains * self.classes).reshape(self.domains, -1)

    def means(self, site: str) -> torch.Tensor:
        """Mean state of every cell, float32 [D, C, G, U]; 0 where a cell has no image."""
        states = self.states[site]
        sums = states.new_zeros(self.domains * self.classes, *states.shape[1:], dtype=torch.float64)
        sums.index_add_(0, self.places_N * self.classes + self.labels_N, states.double())
        means = sums.unflatten(0, (self.domains, self.classes))
        return (means / self.counts_DC.clamp(min=1)[..., None, None]).float()

    def there(self, classes_N: torch.Tensor) -> torch.Tensor:
        """Whether every domain has an image of these classes, bool [N]."""
        return (self.counts_DC > 0).all(dim=0)[classes_N]


def shown(bench: Bench) -> Shown:
    """What the images of a bench show at all residual sites, in one pass.

    N · G · U floats are kept per site: N is a few images of every cell.
    """
    found: dict[str, list[torch.Tensor]] = {site.name: [] for site in bench.sites}
    bench.embeddings(
        bench.everyone,
        bench.sites,
        read=lambda name, a: found[name].append(group_means(a.float(), bench.tokens)),
    )
    states = {name: torch.cat(parts) for name, parts in found.items()}
    sizes = len(bench.domains), bench.readout.classes
    return Shown(bench.labels, bench.places, states, *sizes)


def comparable(bench: Bench, learnt: Shown) -> tuple[Bench, str]:
    """The bench with the images whose classes have training images in every domain.

    Returns:
        It, and a note on the classes that are left out; empty where there are none.

    Raises:
        ValueError: no class is left.
    """
    there = learnt.there(bench.labels).cpu()
    if not there.any():
        raise ValueError("no class has training images in every domain")
    if there.all():
        return bench, ""
    out = len(bench.images.of(~there).labels.unique())
    note = f"{out} classes without training images in some domain are left out"
    return bench.on(bench.images.of(there)), note
