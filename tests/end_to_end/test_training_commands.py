"""One run trained by the commands: asked to end, shared by processes, of every kind of model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from workplace import ONE_THREAD, Workplace

from gen.sweep.attempts import Outcome, read_attempts
from gen.training.metrics_log import read_metrics

TORCHRUN = [
    *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"),
    *("-m", "--", "gen.cli"),
]


@pytest.fixture
def workplace(dataset_only: Workplace, tmp_path: Path) -> Workplace:
    """A folder with the dataset and no runs."""
    (tmp_path / "data").symlink_to(dataset_only.folder / "data")
    return Workplace(tmp_path)


def run_folder(workplace: Workplace, setting: str = "natural_only") -> Path:
    return next((workplace.folder / "runs").glob(f"*/{setting}-*"))


def final_weights(folder: Path) -> bytes:
    return (folder / "checkpoints" / "final.safetensors").read_bytes()


@pytest.mark.slow
def test_asked_to_end_a_training_ends_with_code_75_and_goes_on(
    finished: Workplace, workplace: Workplace
) -> None:
    command = ("train", "debug", "--run", "natural", "training.checkpoint_every=1000000")
    process = workplace.start(*command)
    while not list(workplace.folder.glob("runs/debug/*/metrics.jsonl")) or not read_metrics(
        run_folder(workplace)
    ):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate()
    assert process.returncode == 75
    assert "the same command goes on from there" in told
    assert len(list(run_folder(workplace).glob("checkpoints/state-*"))) == 1
    assert workplace.start(*command).wait() == 0  # with as many threads as before
    assert final_weights(run_folder(workplace)) == final_weights(run_folder(finished))


@pytest.mark.dist
def test_processes_of_torchrun_share_a_run(finished: Workplace, workplace: Workplace) -> None:
    subprocess.run(
        [*TORCHRUN, "run", "debug", "--run", "natural"],
        cwd=workplace.folder,
        env=os.environ | ONE_THREAD,
        check=True,
    )
    ours, theirs = run_folder(workplace), run_folder(finished)
    assert (ours / "DONE").is_file()
    assert json.loads((ours / "run.json").read_text())["processes"] == 2
    for one, two in zip(read_metrics(theirs), read_metrics(ours), strict=True):
        assert two["loss"] == pytest.approx(one["loss"], abs=0.05)  # with bf16 where there is bf16


@pytest.mark.dist
def test_processes_of_torchrun_share_a_slot_of_a_sweep(workplace: Workplace) -> None:
    settings = "settings=[natural_only,leave_out_domain]"
    slot = subprocess.Popen(
        [*TORCHRUN, "run", "debug", settings, "--slot"],
        cwd=workplace.folder,
        env=os.environ | ONE_THREAD,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    told = slot.stderr.read()
    assert slot.wait() == 0, told
    for setting in ("natural_only", "leave_out_domain"):
        folder = run_folder(workplace, setting)
        assert (folder / "DONE").is_file()
        assert json.loads((folder / "run.json").read_text())["processes"] == 2
        (attempt,) = read_attempts(folder)
        assert attempt.outcome is Outcome.done


@pytest.mark.dist
def test_processes_of_a_slot_end_when_their_scheduler_is_gone(
    finished: Workplace, workplace: Workplace
) -> None:
    long = ("training.samples_seen=2560", "training.checkpoint_every=1000000")
    command = [*TORCHRUN, "run", "debug", *long, "settings=[natural_only]", "--slot"]
    place = {"cwd": workplace.folder, "env": os.environ | ONE_THREAD, "stdin": subprocess.PIPE}
    slot = subprocess.Popen(command, **place)
    while not list(workplace.folder.glob("runs/debug/*/metrics.jsonl")) or not read_metrics(
        run_folder(workplace)
    ):
        assert slot.poll() is None
        time.sleep(0.05)
    slot.stdin.close()
    assert slot.wait() != 0
    (attempt,) = read_attempts(run_folder(workplace))
    assert attempt.outcome is Outcome.stopped
    assert len(list(run_folder(workplace).glob("checkpoints/state-*"))) == 1
    with subprocess.Popen(command, **place) as again:  # its input stays open
        assert again.wait() == 0
    assert (run_folder(workplace) / "DONE").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        ("model=classifier-rn-tiny",),
        ("training.objective=sigmoid", "training.milestones=3"),
        ("model=vit-tiny", "training.objective=multi_positive", "training.accumulate=2"),
        ("model=resnet18-timm", "training.samples_seen=256"),
        ("training.images=disk", "training.loggers=[tensorboard]"),
    ],
    ids=["classifier", "sigmoid", "vit", "timm", "disk"],
)
def test_every_kind_of_model_goes_the_whole_way(
    workplace: Workplace, changes: tuple[str, ...]
) -> None:
    workplace.clipgen("run", "debug", "settings=[natural_only]", "name=other", *changes)
    folder = run_folder(workplace)
    scores = pl.read_parquet(folder / "evaluation.parquet")
    assert scores.filter(metric="balanced_top1")["value"].is_between(0, 1).all()
    assert pl.read_parquet(folder / "analysis" / "similarity.parquet").height
    assert np.isfinite([row["loss"] for row in read_metrics(folder)]).all()


@pytest.mark.slow
def test_a_clippo_goes_the_whole_way(workplace: Workplace) -> None:
    (workplace.folder / "data").unlink()
    workplace.clipgen("dataset", "build", "icons-debug", "pixels=80", "train=4", "--workers", "1")
    workplace.clipgen(
        *("run", "debug", "settings=[natural_only]", "model=clippo-tiny", "name=other"),
        *("training.samples_seen=640", "training.learning_rate=3e-4", "training.warmup=0.2"),
    )
    folder = run_folder(workplace)
    assert (folder / "DONE").is_file()
    losses = [row["loss"] for row in read_metrics(folder)]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_a_clippo_learns_pairs_of_texts_and_says_which_texts_it_cuts(workplace: Workplace) -> None:
    (workplace.folder / "data").unlink()
    workplace.clipgen("dataset", "build", "icons-debug", "pixels=64", "train=4", "--workers", "1")
    command = (
        *("run", "debug", "settings=[leave_out_domain]", "model=clippo-tiny", "name=other"),
        *("training.samples_seen=640", "training.text_pairs.source=captions"),
    )
    with pytest.warns(UserWarning, match="do not fit on a canvas of 64 × 64 pixels") as caught:
        workplace.clipgen(*command)
    told = [str(warning.message) for warning in caught]
    for what in ("captions and other texts of training", "prompts and captions"):
        assert sum(what in line for line in told) == 1
    folder = run_folder(workplace, "leave_out_domain")
    assert (folder / "DONE").is_file()
    record = json.loads((folder / "run.json").read_text())
    assert record["text_pairs"].startswith("16 of 64 pairs of every batch, drawn from ")


@pytest.mark.slow
def test_a_stream_is_trained_on_beside_the_mixture(workplace: Workplace) -> None:
    shards = sorted((workplace.folder / "data" / "icons-debug" / "shards").glob("*.tar"))
    listed = ",".join(str(path) for path in shards)
    workplace.clipgen(
        *("run", "debug", "settings=[natural_only]", "name=other", "training.samples_seen=256"),
        *(f"training.stream.shards=[{listed}]", "training.stream.share=0.25"),
    )
    assert (run_folder(workplace) / "DONE").is_file()
