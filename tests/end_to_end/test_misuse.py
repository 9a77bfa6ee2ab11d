"""Mistakes meet a message that tells what, where and how to fix it: code 2, no traceback."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from workplace import Workplace

from gen.cli import main

MISTAKES = {
    "unknown study": (["sweep", "demmo"], ["study `demmo` is unknown", "did you mean `demo`"]),
    "unknown setting": (
        ["sweep", "debug", "settings=[cg_hihg_diversity]"],
        ["setting `cg_hihg_diversity` is unknown", "did you mean `cg_high_diversity`"],
    ),
    "unknown domain": (
        ["sweep", "debug", "test_domains=[sketsh]"],
        ["`sketsh` is unknown", "did you mean `sketch`"],
    ),
    "unknown class": (
        ["sweep", "debug", "held_out={classes: [unicycle], count: 0}"],
        ["`unicycle` is unknown"],
    ),
    "unknown key": (
        ["sweep", "debug", "training.batchsize=3"],
        ["key `training.batchsize` is unknown", "did you mean `training.batch_size`"],
    ),
    "wrong type": (["sweep", "debug", "training.batch_size=many"], ["training.batch_size", "many"]),
    "out of range": (["sweep", "debug", "training.crop_area=2"], ["crop_area", "out of range"]),
    "missing dataset": (
        ["sweep", "demo", "--dry-run"],
        ["dataset `icons-small` is not built", "clipgen dataset build icons-small"],
    ),
    "missing dataset that is imported": (
        ["sweep", "domainnet"],
        ["dataset `domainnet` is not built", "clipgen dataset import domainnet --from DIR"],
    ),
    "profile without Slurm": (
        ["sweep", "debug", "--profile", "cluster.yaml"],
        ["--profile has no meaning with --executor local", "--executor slurm"],
    ),
    "slots of Slurm": (
        ["sweep", "debug", "--executor", "slurm", "--slots", "2"],
        ["--slots has no meaning with --executor slurm", "resources.parallel=N"],
    ),
    "unknown dataset": (["dataset", "build", "icon-debug"], ["did you mean `icons-debug`"]),
    "unknown domain of a dataset": (
        ["dataset", "build", "icons-debug", "name=other", "domains=[real,neonn]"],
        ["domain `neonn` is unknown", "did you mean `neon`"],
    ),
    "another dataset of the name": (
        ["dataset", "build", "icons-debug", "seed=5"],
        ["holds another dataset of that name", "config"],
    ),
    "unknown run": (["run", "debug", "--run", "nothing"], ["run `nothing` is unknown"]),
    "untrained run": (
        ["evaluate", "debug", "--run", "natural_only", "training.samples_seen=64"],
        ["is not trained", "clipgen train"],
    ),
    "twice held out": (
        ["sweep", "debug", "held_out.classes=[cat]"],
        ["given twice"],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_explained(
    name: str, finished: Workplace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    arguments, told = MISTAKES[name]
    monkeypatch.chdir(finished.folder)
    assert main(arguments) == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    for part in told:
        assert part in message


def test_a_folder_that_cannot_be_written_is_named(
    finished: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    a_file = tmp_path / "file"
    a_file.touch()
    data = str(finished.folder / "data")
    for impossible in (a_file, Path("/sys")):  # not a folder; a folder that takes no files
        arguments = ["split", "build", "debug", "--data", data, "--runs", str(impossible)]
        assert main(arguments) == 2
        message = capsys.readouterr().err
        assert "cannot read or write" in message
        assert str(impossible) in message


def test_a_full_disk_is_named_and_loses_nothing(
    finished: Workplace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    data, command = str(finished.folder / "data"), ["split", "build", "debug", "--runs"]
    assert main([*command, str(tmp_path), "--data", data]) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    capsys.readouterr()

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert main([*command, str(tmp_path), "--data", data, "budget.seed=1"]) == 75
    assert "No space left" in capsys.readouterr().err
    after = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    assert after == before


def test_a_damaged_dataset_is_found(
    finished: Workplace, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(finished.folder / "data" / "icons-debug", tmp_path / "icons-debug")
    shard = next((tmp_path / "icons-debug" / "shards").glob("test-sketch-*.tar"))
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    assert main(["dataset", "verify", "icons-debug", "--data", str(tmp_path)]) == 2
    assert shard.name in capsys.readouterr().err
