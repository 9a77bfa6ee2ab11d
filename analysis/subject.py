"""What analyses of a run look at: its model, the images it is shown, the classes that count."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
import torch
from tqdm import tqdm

from analysis.cells import CellMeans, cell_means
from analysis.class_sets import ClassSet, class_sets
from analysis.pieces import Pieces
from analysis.probe_features import image_batches, site_activations
from analysis.probe_images import capped
from analysis.probes import Activations
from analysis.sites import levels_of, list_sites
from gen.datasets.samples import Dataset
from gen.device import pick_device
from gen.evaluation.prompts import ANY_DOMAIN, wording_of
from gen.evaluation.zero_shot import class_embeddings
from gen.models.trained import Learner
from gen.progress import progress
from gen.runs import Run, sha256_of
from gen.schema import PromptSet, SiteLevel


@dataclass(frozen=True)
class Subject:
    """A run's model with what is computed of it once, for all analyses.

    Only classes with two or more test images in every domain are looked at; their numbers, also
    `class_id` of all tables here, are positions in `classes`.
    """

    run: Run
    dataset: Dataset
    learner: Learner

    @cached_property
    def device(self) -> torch.device:
        return pick_device()

    @cached_property
    def pieces(self) -> Pieces:
        """What long analyses of these weights have done."""
        key = sha256_of([self.run.analyses_key, self.learner.checkpoint])
        return Pieces(self.run.analysis_table("any").parent / "pieces", key)

    @cached_property
    def classes(self) -> list[str]:
        return self.dataset.comparable_classes

    @cached_property
    def class_sets(self) -> list[ClassSet]:
        """All classes; of every draw the seen and the held-out ones."""
        return class_sets(self.classes, self.run.draws)

    def held_out(self, test_domain: str) -> dict[int, list[int]]:
        """Numbers of the held-out classes of a test domain, by draw."""
        return {
            target.draw: [self.classes.index(name) for name in names if name in self.classes]
            for target, names in self.run.held_out.items()
            if target.test_domain == test_domain
        }

    @cached_property
    def test_images(self) -> pl.DataFrame:
        return compared_samples(self.dataset.samples, "test", self.classes)

    @cached_property
    def levels(self) -> list[SiteLevel]:
        """The levels that the study asks for and the tower has.

        Towers that are built here are asked before training; of timm's and of pretrained ones only
        the tower itself knows.
        """
        asked, there = list(self.run.analysis.levels), levels_of(self.learner.model)
        missing = ", ".join(level.name for level in asked if level not in there)
        if missing:
            warnings.warn(f"{self.run.name} has no sites of level {missing}", stacklevel=2)
        return [level for level in asked if level in there]

    @cached_property
    def places(self) -> dict[str, tuple[SiteLevel, int]]:
        """Level and depth of every site that similarity compares."""
        sites = [site for level in self.levels for site in list_sites(self.learner.model, level)]
        return {site.name: (site.level, site.depth) for site in sites}

    def cells(
        self, learner: Learner, levels: Sequence[SiteLevel], name: str = "cell means"
    ) -> CellMeans:
        """Mean activations of all test images under some weights of the run's model."""
        rows = self.test_images
        with progress(rows.height, name, "images") as bar:
            batches = image_batches(self.dataset.folder, rows, learner.pixels, self.device)
            return cell_means(
                learner,
                counted(batches, bar),
                rows,
                self.dataset.domains,
                self.classes,
                self.device,
                levels,
            )

    @cached_property
    def final_cells(self) -> CellMeans:
        """Of the final weights, at all levels."""
        return self.cells(self.learner, self.levels)

    @cached_property
    def shown(self) -> Activations:
        """Training images of every cell, a few: what classifiers and autoencoders learn from."""
        return self._activations("train")

    @cached_property
    def tested(self) -> Activations:
        """Test images of every cell, a few: what they are tested on."""
        return self._activations("test")

    def _activations(self, split: str) -> Activations:
        samples = compared_samples(self.dataset.samples, split, self.classes)
        rows = capped(samples, self.run.analysis.images)
        with progress(rows.height, f"activations ({split})", "images") as bar:
            folder = self.dataset.folder
            return Activations(rows, site_activations(self.learner, folder, rows, self.device, bar))

    @cached_property
    def texts(self) -> np.ndarray | None:
        """Class embeddings by prompts that name no domain, [C, E]; None of a classifier."""
        if not self.run.reads_texts:
            return None
        prompts = [PromptSet.domain_free]
        wording = wording_of(self.dataset)
        heads = class_embeddings(self.learner, prompts, self.classes, wording, self.device)
        return heads[PromptSet.domain_free][ANY_DOMAIN].numpy()


def counted(batches: Iterator[torch.Tensor], bar: tqdm) -> Iterator[torch.Tensor]:
    """The batches; the bar is advanced by one per image."""
    for batch in batches:
        yield batch
        bar.update(len(batch))


def compared_samples(samples: pl.DataFrame, split: str, classes: Sequence[str]) -> pl.DataFrame:
    """Samples of a split and of these classes; `class_id` becomes the position among them."""
    compared = samples.filter(pl.col("split") == split, pl.col("class_name").is_in(classes))
    position = pl.col("class_name").replace_strict(classes, range(len(classes)))
    return compared.with_columns(class_id=position.cast(pl.Int64))
