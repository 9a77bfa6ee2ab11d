"""What a dry run prints: runs, what is left of them, sources of the estimates, what is missing."""

from __future__ import annotations

import re
from dataclasses import replace
from types import SimpleNamespace

import polars as pl
import pytest
from planted_runs import TRAINING, finish, planned, study_of

from gen import machine
from gen.commands import plan
from gen.schema import PretrainedConfig, ResourcesConfig
from gen.sweep import lacks
from gen.sweep import slots as slots_of_machine


@pytest.fixture
def printed(tmp_path, monkeypatch, capsys):
    """Prints the plan of a study of these runs, on one slot of a machine of two cores."""
    monkeypatch.setattr(plan, "_device", lambda study: "here")

    def show(*runs, slots=1, base=None, free=10**12, gpus=(), wanted_gpus=1):
        for module in (lacks, slots_of_machine, machine):
            monkeypatch.setattr(module, "visible_gpus", lambda: list(gpus))
        monkeypatch.setattr(slots_of_machine, "cores", lambda: 2)
        study = study_of(tmp_path / "s", *runs)
        study.config.resources = ResourcesConfig(gpus=wanted_gpus)
        manifest = {"shards": [], "config": {"kind": "icons"}}
        samples = pl.DataFrame({"split": ["test"] * 600})
        study.dataset = SimpleNamespace(samples=samples, manifest=manifest, folder=tmp_path)
        study.base = base
        monkeypatch.setattr(plan, "_free_bytes", lambda _: free)
        steps = SimpleNamespace(samples_per_second=100.0, weight_bytes=10**6, how="measured here")
        plan.print_plan(study, slots, measure=lambda run: steps)
        return capsys.readouterr().out

    return show


def test_every_run_has_a_line_with_its_mixture_time_and_disk(printed, tmp_path):
    done, new = (planned(tmp_path / "s", setting=name) for name in ("a", "b"))
    finish(done, rate=50.0, seconds=20.0, evaluate=4.0, analyze=1.0)
    lines = printed(done, new).splitlines()
    assert re.fullmatch(rf"done +300  a0{{11}} +{done.name}", lines[1])
    assert re.fullmatch(rf"new +300  b0{{11}}  25 s  [\d.]+ kB  {new.name}", lines[2])


def test_the_rest_is_summed_up_with_the_source_of_the_numbers(printed, tmp_path):
    runs = [planned(tmp_path / "s", setting=name) for name in ("a", "b", "c")]
    text = printed(*runs, slots=2)
    assert "3 runs of 3 different mixtures, 1,000 samples seen by each" in text
    # 14 seconds each; seven times the weights, and four times 600 predictions
    assert "left: 3 runs, 28 s on 2 slots (42 s of one); 21.2 MB of disk" in text
    assert "estimates: measured here; evaluation and analyses guessed at 3 times" in text


def test_slots_beyond_what_the_machine_has_save_no_time(printed, tmp_path):
    runs = [planned(tmp_path / "s", setting=name) for name in ("a", "b", "c")]
    told = "28 s on 2 slots (42 s of one), as which 8 that share this machine are counted;"
    assert told in printed(*runs, slots=8)
    assert "28 s on 2 slots (42 s of one); " in printed(*runs, slots=None)
    assert "42 s on one slot; " in printed(*runs, slots=1)


def test_too_many_gpus_are_missing_and_the_plan_is_told(printed, tmp_path):
    text = printed(planned(tmp_path / "s"), slots=None, gpus=("0", "1"), wanted_gpus=4)
    assert "missing: resources.gpus is 4, and this machine has 2" in text


def test_nothing_is_left_of_a_done_study(printed, tmp_path):
    done = planned(tmp_path / "s")
    finish(done)
    assert "nothing is left to do" in printed(done)


def test_runs_that_take_over_weights_say_whose(printed, tmp_path):
    first = planned(tmp_path / "s", setting="a")
    other = replace(planned(tmp_path / "s", setting="b"), twin=first)
    text = printed(first, other)
    assert f"{other.name}  same weights as {first.name}" in text
    assert "1 of which take over the weights of others" in text


def test_arms_of_several_lengths_are_told_apart(printed, tmp_path):
    short = planned(tmp_path / "s", arm="short")
    long = planned(tmp_path / "s", arm="long", training=replace(TRAINING, samples_seen=5000))
    text = printed(short, long)
    assert "long: 5,000 samples seen by each run" in text
    assert "short: 1,000 samples seen by each run" in text
    assert "estimates of long: measured here" in text


def test_a_pretrained_model_has_no_mixture_and_an_unknown_time(printed, tmp_path, monkeypatch):
    monkeypatch.setattr(lacks, "check_there", lambda source: None)
    source = {"pretrained": PretrainedConfig("local-dir:x"), "setting": "pretrained-x"}
    model = replace(planned(tmp_path / "s"), mixtures={}, **source)
    text = printed(planned(tmp_path / "s", setting="a"), model)
    assert re.search(r"^new +pretrained +\? ", text, re.MULTILINE)
    assert "1 run of 1 different mixture" in text
    assert text.count("; 1 pretrained model\n") == 1


def test_a_disk_that_is_too_small_is_missing(printed, tmp_path):
    text = printed(planned(tmp_path / "s"), free=1000)
    assert "missing: room on the disk: 7.1 MB are needed, 1.0 kB are free" in text


def test_failed_and_stale_runs_say_why(printed, tmp_path):
    old = planned(tmp_path / "s")
    finish(old)
    wanted = planned(tmp_path / "s", training=replace(TRAINING, learning_rate=0.002))
    text = printed(wanted)
    assert f"stale: {wanted.name}: training.learning_rate 0.001 → 0.002" in text


def test_a_study_without_gpus_is_measured_on_the_processor(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    asked = []
    monkeypatch.setattr(
        "gen.training.measured.measure_here", lambda *_, device, **__: asked.append(device.type)
    )
    for gpus in (0, 1):
        config = SimpleNamespace(resources=ResourcesConfig(gpus=gpus))
        study = SimpleNamespace(config=config, dataset=None)
        plan._measured_by(study)(SimpleNamespace(arm="a"))
    assert asked == ["cpu", "cuda"]
