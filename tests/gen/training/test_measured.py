"""A few steps of a model, to tell how long its runs will take."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import polars as pl
import pytest
import torch

from gen.config import load_config
from gen.schema import TrainingConfig
from gen.training import measured
from gen.training.measured import measure_here

CPU = torch.device("cpu")


@pytest.fixture
def study():
    """A run of a classifier, and what it asks of its dataset."""
    ids = pl.Series("id", [f"sample_{number}" for number in range(80)])
    run = SimpleNamespace(
        model=load_config("models", "classifier-rn-tiny"),
        training=TrainingConfig(samples_seen=6400, batch_size=64),
        seed=0,
        mixture=SimpleNamespace(ids=ids),
        caption="caption",
    )
    samples = pl.DataFrame({"id": ids, "caption": [f"a thing, {name}" for name in ids]})
    dataset = SimpleNamespace(samples=samples, pixels=32, classes=["axe", "bed"])
    return SimpleNamespace(run=run, dataset=dataset)


def test_a_few_steps_tell_rate_and_weights_and_write_nothing(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    found = measure_here(study.run, study.dataset, 1, CPU)
    assert found.samples_per_second > 0
    assert found.how.startswith("measured on 6 steps here (")
    assert 10**5 < found.weight_bytes < 10**8
    assert list(tmp_path.iterdir()) == []
    assert torch.get_num_threads() == threads


def test_a_slow_model_is_measured_on_small_batches(study, monkeypatch):
    monkeypatch.setattr(measured, "SECONDS", 0.0)
    found = measure_here(study.run, study.dataset, 1, CPU)
    assert found.how.startswith("measured on 1 step of 4 samples here (")


def test_batches_grow_up_to_what_goes_through_the_towers_at_once(study):
    config = study.run.training
    assert measured._sizes(config) == [4, 16, 64]
    assert measured._sizes(replace(config, batch_size=1024, accumulate=4)) == [4, 16, 64, 256]
    assert measured._sizes(replace(config, batch_size=2)) == [2]


def test_a_memory_that_is_too_small_is_told(study, monkeypatch):
    def fail(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(measured, "take_step", fail)
    found = measure_here(study.run, study.dataset, 1, CPU)
    assert found.samples_per_second is None
    assert "too small" in found.how
