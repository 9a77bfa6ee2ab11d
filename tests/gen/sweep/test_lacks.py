"""What a study lacks on this machine, told before anything is started."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from planted_runs import TRAINING, planned, study_of

from gen.schema import PretrainedConfig, ResourcesConfig, StreamConfig
from gen.sweep import lacks as room
from gen.sweep.lacks import lacks
from splits.errors import UserError


def dataset(folder: Path, kind="icons", shards=("a.tar",)):
    manifest = {"shards": [{"name": name} for name in shards], "config": {"kind": kind}}
    return SimpleNamespace(name="icons", folder=folder, manifest=manifest)


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study that lacks nothing, on a machine of two cores and no GPU."""
    monkeypatch.setattr(room, "visible_gpus", lambda: [])
    monkeypatch.setattr(room, "cores", lambda: 2)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "a.tar").touch()
    found = study_of(tmp_path, planned(tmp_path))
    found.dataset = dataset(tmp_path)
    return found


def of(study, *runs, here=True):
    return lacks(study, runs or study.runs, here=here)


def test_a_study_that_lacks_nothing_says_nothing(study):
    assert of(study) == []


def test_a_study_that_is_done_lacks_nothing(study):
    study.dataset.manifest["shards"].append({"name": "b.tar"})
    assert lacks(study, [], here=True) == []


def test_shards_that_are_gone_are_named(study):
    study.dataset.manifest["shards"] += [{"name": f"{name}.tar"} for name in "bcdef"]
    assert of(study) == ["dataset icons lacks shards: b.tar, c.tar, d.tar and 2 more"]


def test_shards_of_a_stream_are_looked_for_where_they_are_files(study, tmp_path):
    stream = StreamConfig(shards=[str(tmp_path / "no.tar"), "pipe:cat x", "https://x/y.tar"])
    run = planned(tmp_path, training=replace(TRAINING, stream=stream))
    assert of(study, run) == [f"shards of the stream are not there: {tmp_path / 'no.tar'}"]


def test_weights_that_no_run_would_fetch_are_missing(study, tmp_path, monkeypatch):
    def refuse(source):
        raise UserError(f"the weights of `{source.model}` are not there", fix="fetch them")

    monkeypatch.setattr(room, "check_there", refuse)
    run = replace(planned(tmp_path), pretrained=PretrainedConfig("b32", "laion"))
    assert of(study, run) == ["the weights of `b32` are not there; fetch them"]


def test_a_logger_that_is_not_installed_is_missing(study, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "find_spec", lambda name: None)
    run = planned(tmp_path, training=replace(TRAINING, loggers=["tensorboard"]))
    (told,) = of(study, run)
    assert told.startswith("tensorboard is not installed")


def test_the_fast_decoder_is_missed_where_there_may_be_jpegs(study, tmp_path, monkeypatch):
    monkeypatch.setattr(room, "find_spec", lambda name: None)
    assert of(study) == []
    study.dataset = dataset(tmp_path, kind="folder")
    (told,) = of(study)
    assert told.startswith("simplejpeg is not installed")


@pytest.mark.parametrize(
    ("gpus", "expected"),
    [
        ([], "resources.gpus is 4, and this machine has none: processors do the work"),
        (["0", "1"], "resources.gpus is 4, and this machine has 2"),
        (["0", "1", "2", "3"], None),
    ],
)
def test_gpus_that_are_not_there_are_missing(study, monkeypatch, gpus, expected):
    monkeypatch.setattr(room, "visible_gpus", lambda: gpus)
    study.config.resources = ResourcesConfig(gpus=4)
    assert of(study) == ([expected] if expected else [])
    assert of(study, here=False) == []


def test_cores_and_machines_that_are_not_there_are_missing(study):
    study.config.resources = ResourcesConfig(cpus=8, nodes=2)
    cpus, nodes = of(study)
    assert cpus == "resources.cpus is 8, and this machine has 2"
    assert "--executor slurm" in nodes
