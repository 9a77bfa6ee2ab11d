"""The analyses of one run, from its weights to `analysis/*.parquet`."""

from __future__ import annotations

import polars as pl

from analysis.families import FAMILIES
from analysis.probe_features import site_activations
from analysis.probe_images import probe_pool
from analysis.probes import Activations, ProbePlan, linear_probes
from analysis.sites import probed_sites, split_heads
from analysis.subject import Subject
from analysis.text_features import sentence_activations
from analysis.text_probes import sentence_bank, text_probes
from gen.datasets.samples import Dataset
from gen.device import full_precision
from gen.evaluation.prompts import can_read, wording_of
from gen.models.trained import load_trained
from gen.progress import progress
from gen.runs import Run, timed_stage
from gen.schema import AnalysisKind, SiteLevel
from splits.files import replacing

OF_HEADS = {AnalysisKind.circuits, AnalysisKind.causes}
"""families that ask for the heads of vision transformers"""


def analyze_run(run: Run, dataset: Dataset) -> None:
    """Write the tables of every family of analyses that the study asks for, and of no other."""
    with timed_stage(run.folder, "analyze"), full_precision():
        learner = load_trained(run, dataset)
        if SiteLevel.head in run.analysis.levels or set(run.analysis.kinds) & OF_HEADS:
            split_heads(learner.model)
        subject = Subject(run, dataset, learner)
        for kind in run.analysis.kinds:
            for name, table in FAMILIES[kind](subject).items():
                _write(run, name, table)
        if run.evaluation.probes:
            _write(run, "probes", _probes(subject))
        if "text_probes" in run.analyses:
            _write(run, "text_probes", _text_probes(subject))
        for path in run.analysis_table("any").parent.glob("*.parquet"):
            if path not in run.analyses.values():  # of another configuration
                path.unlink()
        subject.pieces.clear()


def _write(run: Run, name: str, table: pl.DataFrame) -> None:
    with replacing(run.analysis_table(name)) as temporary:
        table.write_parquet(temporary)


def _probes(subject: Subject) -> pl.DataFrame:
    run, dataset, asked = subject.run, subject.dataset, subject.run.evaluation
    plan = ProbePlan(
        run.test_domains,
        dataset.natural,
        asked.shots,
        asked.probe_seeds,
        run.draws,
        len(dataset.classes),
    )
    pool = probe_pool(dataset.samples, plan.domains, asked.probe_images)
    is_tested = (pl.col("split") == "test") & pl.col("domain").is_in(plan.domains)
    tested = dataset.samples.filter(is_tested)
    learner, sites = subject.learner, probed_sites(subject.learner.model)
    with progress(pool.height + tested.height, "activations", "images") as bar:
        shown, asked_of = (
            Activations(
                rows,
                site_activations(learner, dataset.folder, rows, subject.device, bar, sites),
            )
            for rows in (pool, tested)
        )
    with progress(plan.probes_per_site * len(shown.sites), "probes", "probes") as bar:
        return linear_probes(shown, asked_of, plan, bar)


def _text_probes(subject: Subject) -> pl.DataFrame:
    dataset, learner = subject.dataset, subject.learner
    bank = sentence_bank(dataset.classes, dataset.super_categories, wording_of(dataset))
    assert learner.texts is not None
    is_read = [can_read(learner.texts, text) for text in bank["text"]]
    read = bank.filter(pl.Series(is_read, dtype=pl.Boolean))
    gone = bank.height - read.height
    told = f"{gone} of {bank.height} sentences cannot be read" if gone else ""
    texts = read["text"].to_list()
    return text_probes(read, sentence_activations(learner, texts, subject.device), told)
