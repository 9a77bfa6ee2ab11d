"""The families of analyses: what each makes of a run's model, as tables by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import polars as pl

from analysis.autoencoders import SaePlan, early_middle_last, sae_tables
from analysis.binding.family import binding
from analysis.circuit_families import causes, circuits, published_circuits
from analysis.decodability import domain_decodability
from analysis.domain_distances import domain_distances, modality_gaps
from analysis.domain_similarity import domain_similarity
from analysis.embedding_maps import embedding_maps
from analysis.factorization import factorization
from analysis.feature_images import feature_images
from analysis.lens import logit_lens, readout, tuned_lens
from analysis.modality_family import modalities
from analysis.probe_features import image_batches
from analysis.probes import Activations
from analysis.published_sae import published_codes
from analysis.replication import KERNELS, published_sae_sharing, published_similarity
from analysis.subject import Subject
from analysis.transfer import class_transfer
from gen.evaluation.tables import checkpoints
from gen.models.trained import build_learner, load_trained
from gen.progress import progress
from gen.schema import AnalysisKind, SiteLevel

WHILE_TRAINING = ("cka", "cka_nc", "s_id", "s_id_nc")
"""measures that are followed over training"""
Tables = dict[str, pl.DataFrame]


def similarity(subject: Subject) -> Tables:
    """Of the final weights everything; of milestones a few measures at the residual sites.

    The floor is the run's network before training; a pretrained model has none.
    """
    run, sets, seed = subject.run, subject.class_sets, subject.run.seed
    floor = None
    if run.pretrained is None:
        untrained = subject.cells(
            build_learner(run, subject.dataset), subject.levels, "cell means before training"
        )
        floor = domain_similarity(untrained, sets, None, places=subject.places)
    *kept, (_, seen) = checkpoints(run)
    final = domain_similarity(subject.final_cells, sets, seed, floor=floor, places=subject.places)
    tables = [_at(final, seen, final=True)]
    for weights, samples in kept if run.analysis.milestones else []:
        learner = load_trained(run, subject.dataset, weights)
        name = f"cell means after {samples} samples"
        cells = subject.cells(learner, [SiteLevel.residual], name)
        table = domain_similarity(cells, sets, seed, WHILE_TRAINING, floor=floor)
        tables.append(_at(table, samples, final=False))
    return {"similarity": pl.concat(tables)}


def _at(table: pl.DataFrame, samples_seen: int | None, *, final: bool) -> pl.DataFrame:
    """A table of similarities as that of some weights; `left_out` is kept of the final ones."""
    moment = [
        pl.lit(samples_seen, dtype=pl.Int64).alias("samples_seen"),
        pl.lit(final).alias("final"),
    ]
    kept = pl.col("left_out") if final else pl.lit(None, dtype=table.schema["left_out"])
    return table.select(*moment, pl.exclude("left_out"), kept.alias("left_out"))


def additive_factors(subject: Subject) -> Tables:
    """Of every test domain of the run."""
    return {
        "factorization": pl.concat(
            factorization(
                subject.final_cells,
                test_domain,
                subject.held_out(test_domain),
                subject.texts,
                subject.places,
            )
            for test_domain in subject.run.test_domains
        )
    }


def transfer(subject: Subject) -> Tables:
    domains = subject.dataset.domains
    with progress(len(domains) * len(subject.shown.sites), "class transfer", "classifiers") as bar:
        table = class_transfer(subject.shown, subject.tested, domains, subject.class_sets, bar)
    return {"transfer": table}


def decodability(subject: Subject) -> Tables:
    domains, seed = subject.dataset.domains, subject.run.seed
    return {"decodability": domain_decodability(subject.shown, subject.tested, domains, seed)}


def lens(subject: Subject) -> Tables:
    """Tuned lenses of every tower, and the logit lens where the tower has one."""
    return {"lens": pl.concat(_lenses(subject))}


def _lenses(subject: Subject) -> Iterator[pl.DataFrame]:
    domains, sets, texts = subject.dataset.domains, subject.class_sets, subject.texts
    if texts is None:
        raise ValueError("a classifier has no texts to read sites by")
    yield tuned_lens(subject.shown, subject.tested, domains, sets, texts)  # each left out in turn
    if readout(subject.learner.model.visual) is not None:
        rows, device = subject.tested.samples, subject.device
        pixels = subject.learner.pixels
        batches = image_batches(subject.dataset.folder, rows, pixels, device)
        yield logit_lens(subject.learner, batches, rows, domains, sets, texts, device)


def sae(subject: Subject) -> Tables:
    plan, texts = SaePlan(), subject.texts
    count = len(early_middle_last(list(subject.tested.sites))) * len(plan.seeds)
    with progress(count, "autoencoders", "autoencoders") as bar:
        features, sharing = sae_tables(
            subject.shown,
            subject.tested,
            subject.dataset.domains,
            subject.classes,
            subject.class_sets,
            None if texts is None else (subject.classes, texts),
            plan,
            subject.device,
            bar,
        )
    dataset = subject.dataset
    images = feature_images(features, dataset.samples, dataset.folder, subject.learner.pixels)
    return {"sae": features, "sae_sharing": sharing, "sae_images": images}


def maps(subject: Subject) -> Tables:
    domains = subject.dataset.domains
    with progress(2 * len(subject.tested.sites), "maps", "maps") as bar:
        points = embedding_maps(subject.tested, domains, seed=subject.run.seed, bar=bar)
    distances = [domain_distances(subject.final_cells, subject.places)]
    if subject.texts is not None:
        distances.append(modality_gaps(subject.tested, tuple(domains), subject.texts))
    return {"maps": points, "map_distances": pl.concat(distances)}


def published(subject: Subject) -> Tables:
    """The published measures of sharing; ours are of the same cells and images."""
    cells, sets = subject.final_cells, subject.class_sets
    ours = domain_similarity(cells, sets, subject.run.seed, tuple(KERNELS), places=subject.places)
    similar = published_similarity(cells, sets, ours, subject.places)
    return {"published": pl.concat([similar, _published_features(subject)])}


def _published_features(subject: Subject) -> pl.DataFrame:
    """Sharing of features of the embedding, of one autoencoder; beside ours where it is asked."""
    site, seed = list(subject.tested.sites)[-1], SaePlan().seeds[0]
    shown, tested = subject.shown, subject.tested
    is_asked = AnalysisKind.sae in subject.run.analysis.kinds
    return published_sae_sharing(
        published_codes(shown.sites[site], tested.sites[site], seed, subject.device),
        tested.samples,
        subject.dataset.domains,
        subject.class_sets,
        _our_features(subject, site, seed) if is_asked else None,
        site,
        len(tested.sites) - 1,
    )


def _our_features(subject: Subject, site: str, seed: int) -> pl.DataFrame:
    """`overlap` of our autoencoder of a site: that of sae_sharing.parquet, found again."""
    shown, tested = (
        Activations(images.samples, {site: images.sites[site]})
        for images in (subject.shown, subject.tested)
    )
    _, sharing = sae_tables(
        shown,
        tested,
        subject.dataset.domains,
        subject.classes,
        subject.class_sets,
        plan=replace(SaePlan(), seeds=(seed,)),
        device=subject.device,
    )
    return sharing.filter(pl.col("k").is_null(), measure="overlap")


FAMILIES: dict[AnalysisKind, Callable[[Subject], Tables]] = {
    AnalysisKind.similarity: similarity,
    AnalysisKind.factorization: additive_factors,
    AnalysisKind.transfer: transfer,
    AnalysisKind.decodability: decodability,
    AnalysisKind.lens: lens,
    AnalysisKind.sae: sae,
    AnalysisKind.maps: maps,
    AnalysisKind.modalities: modalities,
    AnalysisKind.binding: binding,
    AnalysisKind.published: published,
    AnalysisKind.circuits: circuits,
    AnalysisKind.causes: causes,
    AnalysisKind.published_circuits: published_circuits,
}
