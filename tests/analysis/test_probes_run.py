"""A run's probes: activations are those of its model, and the table stands beside the others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from analysis import cells, probe_features
from analysis.probe_features import site_activations
from analysis.probes import PROBES
from analysis.run import analyze_run
from analysis.sites import list_sites, pool, taps
from gen.config import load_config
from gen.datasets.samples import Dataset
from gen.datasets.shards import encode_png, read_images, write_shard
from gen.models.trained import build_learner
from gen.runs import Run, Target
from gen.schema import EvaluationConfig, SiteLevel, TrainingConfig
from gen.training.checkpoint import save_weights
from splits.errors import UserError

CPU = torch.device("cpu")
CLASSES, DOMAINS, PIXELS = tuple(f"class {i}" for i in range(5)), ("real", "sketch"), 32
COUNTS = {"train": 4, "test": 3}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Dataset:
    """Flat colours, one per class, with noise; a sketch has its channels turned round."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("colours")
    colours = rng.integers(40, 200, size=(len(CLASSES), 3))
    members, rows = [], []
    for split, count in COUNTS.items():
        for domain in DOMAINS:
            for label, name in enumerate(CLASSES):
                for i in range(count):
                    colour = colours[label][:: 1 if domain == "real" else -1]
                    image = colour + rng.integers(0, 40, size=(PIXELS, PIXELS, 3))
                    key = f"{split}_{domain}_{label}_{i}"
                    members.append({"__key__": key, "png": encode_png(image.astype(np.uint8))})
                    rows.append((key, split, domain, name, label, key))
    places = write_shard(folder / "shards" / "all.tar", members)
    columns = ["id", "split", "domain", "class_name", "class_id", "instance"]
    table = pl.DataFrame(rows, columns, orient="row").with_columns(
        shard=pl.lit("all.tar"),
        offset=pl.Series([places[f"{row[0]}.png"][0] for row in rows]),
        size=pl.Series([places[f"{row[0]}.png"][1] for row in rows]),
        width=pl.lit(PIXELS),
        height=pl.lit(PIXELS),
    )
    table.write_parquet(folder / "samples.parquet")
    manifest = {
        "config": {"name": "colours", "pixels": PIXELS},
        "domains": list(DOMAINS),
        "natural": "real",
        "classes": list(CLASSES),
    }
    return Dataset(folder, manifest)


def run_of(folder: Path, dataset: Dataset, **evaluation) -> Run:
    """A classifier that was never trained, with its weights on disk."""
    run = Run(
        folder=folder,
        setting="natural_only",
        held_out={Target("sketch", 0): ("class 1",), Target("sketch", 1): ("class 2",)},
        mixtures={},
        model=load_config("models", "classifier-rn-tiny"),
        training=TrainingConfig(samples_seen=100),
        seed=0,
        pixels=PIXELS,
        evaluation=EvaluationConfig(**evaluation),
    )
    save_weights(run.final_weights, build_learner(run, dataset).model)
    return run


def test_activations_are_those_of_the_model_whatever_the_batches(dataset, tmp_path, monkeypatch):
    learner = build_learner(run_of(tmp_path, dataset), dataset)
    rows = dataset.samples[::-1]
    whole = site_activations(learner, dataset.folder, rows, CPU)
    monkeypatch.setattr(probe_features, "batch_size", lambda pixels: 7)
    parts = site_activations(learner, dataset.folder, rows, CPU)
    images = torch.from_numpy(read_images(dataset.folder, rows, PIXELS)).permute(0, 3, 1, 2)
    expected: dict[str, torch.Tensor] = {}
    inputs = (images / 255 - 0.5) / 0.5
    sites = list_sites(learner.model, SiteLevel.residual)
    with (
        torch.inference_mode(),
        taps(sites, lambda site, read: expected.__setitem__(site, pool(read))),
    ):
        learner.model.encode_image(inputs)
    assert list(whole) == list(parts) == list(expected)
    for site, values in expected.items():
        assert whole[site] == pytest.approx(values.numpy(), abs=1e-4)
        assert parts[site] == pytest.approx(values.numpy(), abs=1e-4)


def test_activations_of_some_sites_are_no_others(dataset, tmp_path):
    learner = build_learner(run_of(tmp_path, dataset), dataset)
    sites = list_sites(learner.model, SiteLevel.channel)[2:4]
    found = site_activations(learner, dataset.folder, dataset.samples, CPU, sites=sites)
    shapes = {site: values.shape for site, values in found.items()}
    rows = dataset.samples.height
    assert shapes == {"stem.act3": (rows, 12), "layer1.0.act1": (rows, 12)}


def test_activations_that_do_not_fit_together_are_told_at_the_first_batch(
    dataset, tmp_path, monkeypatch
):
    learner = build_learner(run_of(tmp_path, dataset), dataset)
    units = {site: a.shape[1] for site, a in activations_of(learner, dataset).items()}
    together = 2 * 4 * dataset.samples.height * sum(units.values())
    monkeypatch.setattr(probe_features, "available_memory", lambda: together)
    activations_of(learner, dataset)
    monkeypatch.setattr(probe_features, "available_memory", lambda: together - 1)
    with pytest.raises(UserError, match="at 6 sites need") as caught:
        activations_of(learner, dataset)
    assert {"analysis.images", "evaluation.probe_images"} <= set(str(caught.value).split("`"))


def activations_of(learner, dataset):
    return site_activations(learner, dataset.folder, dataset.samples, CPU)


def test_no_stage_decodes_all_images_at_once(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(probe_features, "batch_size", lambda pixels: 4)
    largest, embed_batches = [], cells.embed_batches

    def watched(learner, batches, *rest):
        embed_batches(learner, (largest.append(len(b)) or b for b in batches), *rest)

    monkeypatch.setattr(cells, "embed_batches", watched)
    analyze_run(run_of(tmp_path, dataset), dataset)
    assert max(largest) == 4
    trained_and_not = 2 * COUNTS["test"] * len(DOMAINS) * len(CLASSES)
    assert sum(largest) == trained_and_not


def test_a_run_has_probes_where_the_study_asks(dataset, tmp_path):
    run = run_of(tmp_path, dataset, probes=True, shots=[1, 4, 16], probe_seeds=1, probe_images=4)
    analyze_run(run, dataset)
    probes = pl.read_parquet(run.analysis_table("probes"))
    assert dict(probes.schema) == PROBES
    assert probes["site"].unique(maintain_order=True).to_list() == [
        *("stem", "layer1", "layer2", "layer3", "layer4", "embedding"),
    ]
    assert set(probes["shots"].drop_nulls()) == {1, 4}  # no class has 16 images
    assert probes["draw"].unique().sort().to_list() == [0, 1]
    everything = probes.filter(classes="all", kind="full", trained_on="sketch", site="stem")
    assert (everything["value"] > 0.8).all()  # mean colours tell the classes apart
    assert everything["n"].to_list() == [15, 15]
    assert pl.read_parquet(run.analysis_table("similarity"))["site"].n_unique() == 6


def test_a_run_has_no_probes_where_the_study_asks_for_none(dataset, tmp_path):
    run = run_of(tmp_path, dataset)
    analyze_run(run, dataset)
    assert run.analysis_table("similarity").is_file()
    assert not run.analysis_table("probes").exists()
