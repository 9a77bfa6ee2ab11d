"""The family of analyses of images and words: from a run's model to tables."""

from __future__ import annotations

from functools import partial

import numpy as np
import polars as pl
import torch

from analysis.attribution import node_scores
from analysis.baselines import baselines
from analysis.cells import CellMeans, beside
from analysis.circuit_subject import CircuitSubject
from analysis.domain_distances import modality_gaps
from analysis.modal_cells import EMBEDDING, TEXT, modal_cells, rendered, sentence_table
from analysis.modality_sharing import (
    modality_circuits,
    modality_distances,
    modality_similarity,
)
from analysis.probe_features import image_batches
from analysis.probes import Activations
from analysis.readout import Readout
from analysis.subject import Subject, counted
from gen.evaluation.prompts import wording_of
from gen.evaluation.zero_shot import logit_scale
from gen.models.clippo import Clippo
from gen.models.trained import Learner, build_learner
from gen.progress import progress
from splits.errors import UserError

Tables = dict[str, pl.DataFrame]


def modalities(subject: Subject) -> Tables:
    """How alike images and sentences are, site by site, and of one tower node by node.

    Raises:
        ValueError: the model reads no texts.
        UserError: a domain of the dataset has the name of the sentences' own.
    """
    if subject.texts is None:
        raise ValueError("a classifier has no sentences to hold images against")
    if TEXT in subject.dataset.domains:
        raise UserError(
            f"the dataset has a domain `{TEXT}`, which is what sentences are called",
            expected="a dataset whose domains have other names",
            where="key `analysis.kinds`",
            fix="take `modalities` out of analysis.kinds",
        )
    is_one = isinstance(subject.learner.model, Clippo)
    cells, untrained, floor = _cells(subject, subject.learner, "images and sentences"), None, None
    one_basis = list(cells.folds) if is_one else [EMBEDDING]
    sets, seed = subject.class_sets, subject.run.seed
    if subject.run.pretrained is None:
        learner = build_learner(subject.run, subject.dataset)
        untrained = _cells(subject, learner, "images and sentences before training")
        floor = modality_similarity(untrained, sets, one_basis, None)
    sharing = [modality_similarity(cells, sets, one_basis, seed, floor)]
    if is_one:
        sharing.append(subject.pieces.table("modal-nodes", partial(_nodes, subject)))
    domains = tuple(subject.dataset.domains)
    gaps = [
        modality_distances(cells, one_basis, untrained),
        _at_depth(modality_gaps(subject.tested, domains, subject.texts), len(cells.folds) - 1),
    ]
    return {"modality_sharing": pl.concat(sharing), "modality_gaps": pl.concat(gaps)}


def _cells(subject: Subject, learner: Learner, name: str) -> CellMeans:
    rows, dataset = subject.test_images, subject.dataset
    with progress(rows.height, name, "images") as bar:
        batches = image_batches(dataset.folder, rows, learner.pixels, subject.device)
        return modal_cells(
            learner,
            counted(batches, bar),
            rows,
            dataset.domains,
            subject.classes,
            _spoken(subject),
            subject.device,
        )


def _spoken(subject: Subject) -> pl.DataFrame:
    return sentence_table(subject.classes, wording_of(subject.dataset))


def _at_depth(gaps: pl.DataFrame, depth: int) -> pl.DataFrame:
    """Gaps of the embedding at its depth among the sites here."""
    return gaps.with_columns(depth=pl.lit(depth, dtype=pl.Int64))


# ---------------------------------------------------------------------------- nodes


def _nodes(subject: Subject) -> pl.DataFrame:
    """Overlap of nodes of images and of drawn sentences."""
    of = CircuitSubject(subject)
    places = {site.name: (site.level, site.depth) for site in of.sites}
    sentences = subject.pieces.cells("scores-sentences", partial(sentence_scores, of))
    scores = beside(of.scores("test"), sentences)
    return modality_circuits(scores, subject.class_sets, subject.run.seed, places)


def sentence_scores(of: CircuitSubject) -> CellMeans:
    """What every node of one tower adds to the margin of a sentence's class.

    Sentences are read out by images: the other modality, as images are by sentences. Other classes'
    sentences stand in for nodes.
    """
    subject, learner = of.subject, of.subject.learner
    spoken = _spoken(subject)
    if learner.texts is None:
        raise ValueError("a classifier reads no sentences")
    batches = partial(rendered, learner.texts, spoken["text"].to_list(), learner.pixels)
    names = [TEXT], subject.classes
    base = baselines(learner, batches(), spoken, *names, of.device, of.sites)
    read = image_readout(learner, subject.shown, subject.classes)
    with progress(spoken.height, "attribution (sentences)", "sentences") as bar:
        asked = learner, batches(), spoken, *names, read, base, of.device, of.sites
        return node_scores(*asked, bar=bar)


def image_readout(learner: Learner, shown: Activations, classes: list[str]) -> Readout:
    """Classes as the mean of their training images' normalised embeddings, of length 1.

    Images of a cell count alike, and so do domains.

    Args:
        learner: the model.
        shown: training images of every cell, with the site `embedding`.
        classes: names by class id.
    """
    x_NE = shown.sites[EMBEDDING].astype(np.float64)
    x_NE /= np.linalg.norm(x_NE, axis=1, keepdims=True)
    cells = pl.DataFrame({"domain": shown.samples["domain"], "label": shown.labels})
    sizes = cells.select(pl.len().over("domain", "label")).to_series().to_numpy()
    means_CE = np.zeros((len(classes), x_NE.shape[1]))
    np.add.at(means_CE, shown.labels, x_NE / sizes[:, None])
    means_CE /= np.linalg.norm(means_CE, axis=1, keepdims=True)
    return Readout(torch.from_numpy(means_CE).float(), None, logit_scale(learner))
