"""What becomes of answers when parts of what a model shows are exchanged, pushed or taken away.

The five tests of docs/causes.md, each with the images and sites that its cost allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import polars as pl
import torch
from tqdm import tqdm

from analysis.alignment import alignment
from analysis.autoencoders import early_middle_last
from analysis.bench import Bench, Shown, shown
from analysis.cells import CellMeans
from analysis.class_sets import ClassSet
from analysis.effects import CAUSES
from analysis.erasure import erasure
from analysis.held_images import Images
from analysis.interchange import interchange
from analysis.interventions import Baselines
from analysis.probe_images import capped
from analysis.readout import Readout
from analysis.sites import Site
from analysis.steering import steering
from analysis.unit_ablation import unit_ablation

if TYPE_CHECKING:
    from gen.models.trained import Learner

__all__ = ["CAUSES", "Causes"]

PER_CELL = {"interchange": 3, "steering": 2, "erasure": 3, "alignment": 4, "ablation": 4}
"""test images of a cell, at most: how often each of them goes through the model differs"""
EMBEDDING = "embedding"


@dataclass(frozen=True)
class Causes:
    """All tests of one model.

    Attributes:
        learner: the model.
        readout: of all classes that count.
        training: images of the training split, from which edits are learnt.
        tested: images of the test split, of the classes that are looked at.
        domains: names of all domains.
        class_sets: of class ids; the first holds all classes.
        device: where to compute.
        seed: of all that is drawn.
    """

    learner: Learner
    readout: Readout
    training: Images
    tested: Images
    domains: tuple[str, ...]
    class_sets: Sequence[ClassSet]
    device: torch.device
    seed: int

    @cached_property
    def learning(self) -> Bench:
        """The model on training images."""
        return self._bench(self.training)

    @cached_property
    def learnt(self) -> Shown:
        """What training images show."""
        return shown(self.learning)

    @cached_property
    def sites(self) -> dict[str, list[Site]]:
        """By test the residual sites that it changes, each by itself: all of them; of steering an
        early one, a middle one and the last before the embedding."""
        every = self.learning.sites
        inner = {site.name: site for site in _inner(self.learning)}
        few = [inner[name] for name in early_middle_last(list(inner))]
        return {"interchange": every, "steering": few, "erasure": every}

    def at(self, test: str, site: Site, bar: tqdm | None = None) -> pl.DataFrame:
        """One of the tests of `sites` at one site; `bar` as of the module of its name."""
        made = {"interchange": interchange, "steering": steering, "erasure": erasure}[test]
        return made(self._testing(test), self.learnt, [site], self.seed, bar)

    def alignment(
        self, test_domains: Sequence[str], site: str = "", bar: tqdm | None = None
    ) -> pl.DataFrame:
        """At one residual site: the one named, else the last before the embedding."""
        bench = self._testing("alignment")
        inner = _inner(bench)
        sites = [one for one in inner if one.name == site] or inner[-1:]
        found = self.learning, self.learnt, bench, sites, test_domains, self.seed
        return alignment(*found, bar=bar)

    def ablation(
        self, scores: CellMeans, base: Baselines, sites: Sequence[Site], bar: tqdm | None = None
    ) -> pl.DataFrame:
        """At all node sites together; scores of training images."""
        bench = self._testing("ablation")
        return unit_ablation(bench, scores, base, sites, self.seed, bar)

    def _bench(self, images: Images) -> Bench:
        return Bench(self.learner, self.readout, images, self.domains, self.class_sets, self.device)

    def _testing(self, test: str) -> Bench:
        """The model on a few test images of every cell, the same for every model."""
        rows = self.tested.samples
        kept = rows["id"].is_in(capped(rows, PER_CELL[test])["id"].to_list())
        return self._bench(self.tested.of(kept.to_numpy()))


def _inner(bench: Bench) -> list[Site]:
    return [site for site in bench.sites if site.name != EMBEDDING]
