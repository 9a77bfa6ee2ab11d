"""The families of analyses of circuits and of causes: from a run's model to tables, by pieces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import polars as pl

from analysis.attribution_quality import attribution_quality
from analysis.baselines import mean_images
from analysis.causes import Causes
from analysis.cells import CellMeans
from analysis.circuit_parts import circuit_parts
from analysis.circuit_replication import (
    MOST_IMAGES,
    beside_ours,
    compared_sets,
    not_published,
    our_sharing,
    over_classes,
)
from analysis.circuit_sharing import circuit_sharing
from analysis.circuit_subject import CircuitSubject
from analysis.circuits import Nodes, Parts
from analysis.class_sets import ClassSet
from analysis.edge_circuits import Edges
from analysis.edges import edge_scores, wiring_of
from analysis.faithfulness import faithfulness, forwards
from analysis.held_images import hold
from analysis.probe_images import capped
from analysis.published_circuits import (
    published_circuit,
    published_circuit_sharing,
    published_sites,
)
from analysis.sites import Site
from analysis.subject import Subject
from gen.evaluation.embed import inputs_of
from gen.progress import progress
from splits.errors import UserError

EDGE = "edge"
OF_QUALITY = 10
"""classes of which an image of every domain has its scores compared with exact effects"""
Tables = dict[str, pl.DataFrame]


def circuits(subject: Subject) -> Tables:
    """Which nodes and edges carry a class, whether domains share them, how faithful they are."""
    of = CircuitSubject(subject)
    pieces = subject.pieces
    edges = (_edges(of, "test"), wiring_of(subject.learner.model).graph) if of.has_edges else None
    sharing = [pieces.table("sharing-nodes", lambda: _node_sharing(of))]
    if edges is not None:
        sharing.append(pieces.table("sharing-edges", lambda: _edge_sharing(of, edges[0])))
    quality = pieces.table("quality", lambda: _quality(of))
    faithful = [pieces.table("faithfulness-nodes", lambda: _node_faithfulness(of))]
    if edges is not None:
        faithful.append(pieces.table("faithfulness-edges", lambda: _edge_faithfulness(of)))
    return {
        "circuit_sharing": pl.concat(sharing),
        "attribution_quality": quality,
        "faithfulness": pl.concat(faithful),
        "circuit_parts": circuit_parts(of.scores("test"), subject.class_sets, edges),
    }


def _edges(of: CircuitSubject, split: str) -> CellMeans:
    """Scores of all edges, per cell of a split's images."""

    def scored() -> CellMeans:
        rows = of.rows(split)
        with progress(rows.height, f"edges ({split})", "images") as bar:
            found = of.subject.learner, of.batches(rows), rows, *of.names, of.readout, of.base
            return edge_scores(*found, of.device, bar)[0]

    return of.subject.pieces.cells(f"edges-{split}", scored)


def _node_sharing(of: CircuitSubject) -> pl.DataFrame:
    places = {site.name: (site.level, site.depth) for site in of.sites}
    return circuit_sharing(of.scores("test"), of.subject.class_sets, of.subject.run.seed, places)


def _edge_sharing(of: CircuitSubject, edges: CellMeans) -> pl.DataFrame:
    places = {target: (EDGE, depth) for depth, target in enumerate(edges.folds)}
    found = edges, of.subject.class_sets, of.subject.run.seed
    return circuit_sharing(*found, places, level=EDGE)


def _quality(of: CircuitSubject) -> pl.DataFrame:
    rows, images = of.rows("train"), of.held("test", 1)
    first = sorted(set(images.samples["class_id"]))[:OF_QUALITY]
    few = images.of(images.samples["class_id"].is_in(first).to_numpy())
    learner, names = of.subject.learner, of.names
    origins = mean_images(learner, of.batches(rows), rows, *names, of.device)
    with progress(len(of.sites), "exact effects", "sites") as bar:
        found = learner, few, names[0], of.readout, of.base, origins, of.device, of.sites
        return attribution_quality(*found, seed=of.subject.run.seed, bar=bar)


def _node_faithfulness(of: CircuitSubject) -> pl.DataFrame:
    return _faithfulness(of, of.scores("train"), Nodes(of.sites))


def _edge_faithfulness(of: CircuitSubject) -> pl.DataFrame:
    return _faithfulness(of, _edges(of, "train"), Edges(wiring_of(of.subject.learner.model)))


def _faithfulness(of: CircuitSubject, scores: CellMeans, parts: Parts) -> pl.DataFrame:
    images, (domains, _) = of.held("test"), of.names
    total = len(images) * forwards(len(domains), parts.kind)
    with progress(total, f"faithfulness ({parts.kind})", "images") as bar:
        return faithfulness(
            of.subject.learner,
            images,
            scores,
            of.base,
            of.readout,
            domains,
            of.subject.class_sets,
            parts,
            of.device,
            of.subject.run.seed,
            bar,
        )


def causes(subject: Subject) -> Tables:
    """What becomes of answers when activations are exchanged, steered, erased or ablated."""
    of = CircuitSubject(subject)
    domains, _ = of.names
    tests = Causes(
        subject.learner,
        of.readout,
        of.held("train", subject.run.analysis.images),
        of.held("test"),
        tuple(domains),
        subject.class_sets,
        of.device,
        subject.run.seed,
    )
    site = subject.run.analysis.primary_site
    made: dict[str, Callable[[], pl.DataFrame]] = {
        f"{test}-{place.name}": partial(tests.at, test, place)
        for test, places in tests.sites.items()
        for place in places
    }
    made["alignment"] = lambda: tests.alignment(subject.run.test_domains, site)
    made["ablation"] = lambda: tests.ablation(of.scores("train"), of.base, of.sites)
    tables = []
    with progress(len(made), "causes", "steps") as bar:
        for name, make in made.items():
            tables.append(subject.pieces.table(name, make))
            bar.update()
    return {"causes": pl.concat(tables)}


def published_circuits(subject: Subject) -> Tables:
    """The published nodes and edges of a few held-out classes, a piece per class; beside ours."""
    of = CircuitSubject(subject)
    (domains, _), sets = of.names, compared_sets(subject.class_sets)
    try:
        sites = published_sites(subject.learner.model)
    except UserError as error:  # of pretrained models, which stand beside the study's own
        return {"published_circuits": not_published(domains, sets, error.found)}
    found = {
        number: subject.pieces.table(f"published-{number}", partial(_published, of, sites, number))
        for number in sorted({number for chosen in sets for number in chosen.members})
    }
    ours = our_sharing(of.scores("test"), sites, sets, subject.run.seed)
    return {"published_circuits": beside_ours(over_classes(found, sites, domains, sets), ours)}


def _published(of: CircuitSubject, sites: Sequence[Site], number: int) -> pl.DataFrame:
    """Published sharing of one class."""
    learner, (domains, classes) = of.subject.learner, of.names
    rows = capped(of.rows("test").filter(class_id=number), MOST_IMAGES)
    images = hold(of.subject.dataset.folder, rows, learner.pixels, of.device)
    model, enter = learner.model.to(of.device).eval(), inputs_of(learner, of.device)
    read, circuits = of.readout.to(of.device), {}
    with progress(len(domains), f"published nodes and edges of {classes[number]}", "cells") as bar:
        for domain in domains:
            cell = images.of((images.samples["domain"] == domain).to_numpy())
            found = enter(cell.pixels_NCHW), cell.labels.to(of.device)
            circuits[domain, number] = published_circuit(model, *found, read, sites)
            bar.update()
    return published_circuit_sharing(
        circuits, sites, domains, [ClassSet("held_out", None, (number,))]
    )
