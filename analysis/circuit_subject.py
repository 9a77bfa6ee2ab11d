"""What circuits and causes ask of a run's model, made once for both and kept on disk meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import polars as pl
import torch

from analysis.attribution import node_scores
from analysis.baselines import baselines
from analysis.cells import CellMeans
from analysis.circuits import chosen_classes
from analysis.edges import wiring_of
from analysis.held_images import Images, hold
from analysis.interventions import Baselines
from analysis.probe_features import image_batches
from analysis.probe_images import capped
from analysis.readout import Readout, readout
from analysis.sites import Site, levels_of, list_sites
from analysis.subject import Subject, compared_samples, counted
from gen.progress import progress
from gen.schema import SiteLevel
from splits.errors import UserError

MOST_CLASSES = 30
"""classes whose images go through a model again and again"""
PER_CELL = 8
"""such images of a cell, at most"""
NODE_LEVELS = (SiteLevel.head, SiteLevel.neuron, SiteLevel.channel)


@dataclass(frozen=True)
class CircuitSubject:
    """The nodes of a run's model, what they add to margins, and the images that are shown to it."""

    subject: Subject

    @cached_property
    def sites(self) -> list[Site]:
        """The node sites: heads and neurons, or channels."""
        model = self.subject.learner.model
        there = levels_of(model)
        return [s for level in NODE_LEVELS if level in there for s in list_sites(model, level)]

    @cached_property
    def has_edges(self) -> bool:
        """Whether it is known how the tower is wired."""
        try:
            wiring_of(self.subject.learner.model)
        except UserError:
            return False
        return True

    @cached_property
    def readout(self) -> Readout:
        dataset = self.subject.dataset
        positions = [dataset.classes.index(name) for name in self.subject.classes]
        return readout(self.subject.learner, self.subject.texts, positions)

    @cached_property
    def base(self) -> Baselines:
        """Of nodes and of what writes edges: other classes of the same domain, training images."""
        sources = wiring_of(self.subject.learner.model).sources if self.has_edges else []
        sites = {site.name: site for site in [*self.sites, *sources]}
        rows = self.rows("train")
        with progress(rows.height, "baselines", "images") as bar:
            batches = self.batches(rows)
            watched = counted(batches, bar)
            return baselines(
                self.subject.learner, watched, rows, *self.names, self.device, list(sites.values())
            )

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """Domains and classes."""
        return list(self.subject.dataset.domains), self.subject.classes

    @property
    def device(self) -> torch.device:
        return self.subject.device

    def rows(self, split: str) -> pl.DataFrame:
        """Images of every cell, a few."""
        samples = compared_samples(self.subject.dataset.samples, split, self.subject.classes)
        return capped(samples, self.subject.run.analysis.images)

    def batches(self, rows: pl.DataFrame) -> Iterator[torch.Tensor]:
        folder, pixels = self.subject.dataset.folder, self.subject.learner.pixels
        return image_batches(folder, rows, pixels, self.device)

    def scores(self, split: str) -> CellMeans:
        """What every node adds to the margin, per cell of a split's images."""
        return self.subject.pieces.cells(f"scores-{split}", lambda: self._scores(split))

    def _scores(self, split: str) -> CellMeans:
        rows = self.rows(split)
        with progress(rows.height, f"attribution ({split})", "images") as bar:
            return node_scores(
                self.subject.learner,
                self.batches(rows),
                rows,
                *self.names,
                self.readout,
                self.base,
                self.device,
                self.sites,
                bar=bar,
            )

    def held(self, split: str, most: int = PER_CELL) -> Images:
        """Images of some classes, in memory."""
        classes = chosen_classes(self.subject.class_sets, MOST_CLASSES, self.subject.run.seed)
        rows = self.rows(split).filter(pl.col("class_id").is_in(classes))
        folder, pixels = self.subject.dataset.folder, self.subject.learner.pixels
        return hold(folder, capped(rows, most), pixels, self.device)
