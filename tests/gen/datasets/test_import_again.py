"""An import gives the same bytes whoever does it and however often it stops."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from image_trees import CLASSES, DOMAINS, imported, write_tree

from gen.datasets import chunks, packing, samples
from gen.datasets.making import building_folder
from splits.errors import UserError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A tree of 30 images. Not to be changed."""
    folder = tmp_path_factory.mktemp("tree")
    write_tree(folder, DOMAINS, CLASSES, 5)
    return folder


@pytest.fixture
def small_shards(monkeypatch):
    """Shards of 7 images, so that a small tree has several."""
    monkeypatch.setattr(chunks, "SAMPLES_PER_SHARD", 7)


def hashes(folder):
    """Hash of every file of a dataset but the record of the time."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "build.json"
    }


@pytest.mark.slow
def test_two_processes_give_the_same_bytes_as_one(root, tmp_path, small_shards):
    one = imported(root, tmp_path / "one").folder
    assert len(list((one / "shards").iterdir())) == 5
    two = imported(root, tmp_path / "two", workers=2).folder
    assert hashes(one) == hashes(two)


@pytest.mark.slow
def test_a_killed_import_goes_on_and_gives_the_same_bytes(root, tmp_path):
    whole = imported(root, tmp_path / "whole").folder
    code = (
        "import sys, os, signal\n"
        "from pathlib import Path\n"
        "from image_trees import config\n"
        "from gen.datasets import chunks\n"
        "from gen.datasets.folder import list_folder\n"
        "from gen.datasets.importing import import_listing\n"
        "prepare, count = chunks.prepare, iter(range(100))\n"
        "def killed(*a):\n"
        "    if next(count) == 20: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return prepare(*a)\n"
        "chunks.prepare = killed\n"
        "settings = config()\n"
        "listed = list_folder(settings, Path(sys.argv[1]))\n"
        "import_listing(settings, *listed, Path(sys.argv[2]), workers=1)\n"
    )
    here = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}
    arguments = [sys.executable, "-c", code, str(root), str(tmp_path / "killed")]
    process = subprocess.run(arguments, env=here, capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr
    building = building_folder(tmp_path / "killed" / "tree")
    assert list((building / "dataset" / "shards").glob(".*.tmp"))  # it was writing a shard
    assert not (tmp_path / "killed" / "tree").exists()
    folder = imported(root, tmp_path / "killed").folder
    assert hashes(folder) == hashes(whole)


def test_chunks_that_are_done_are_not_done_again(root, tmp_path, small_shards, monkeypatch):
    whole = imported(root, tmp_path / "whole").folder
    prepare, count = chunks.prepare, iter(range(100))

    def failing(*arguments):
        if next(count) == 20:
            raise KeyboardInterrupt
        return prepare(*arguments)

    monkeypatch.setattr(chunks, "prepare", failing)
    with pytest.raises(KeyboardInterrupt):
        imported(root, tmp_path / "data")
    assert next(count) == 21
    folder = imported(root, tmp_path / "data").folder
    assert next(count) == 22 + 30 - 14  # two chunks of seven were whole
    assert hashes(folder) == hashes(whole)


def test_an_import_again_does_nothing_and_another_one_of_that_name_is_refused(root, tmp_path):
    folder = imported(root, tmp_path).folder
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    time.sleep(0.01)
    imported(root, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    for keys in ({"seed": 1}, {"pixels": 9}, {"captions": "short"}):
        with pytest.raises(UserError, match=r"holds another dataset(?s:.*)config(?s:.*)delete"):
            imported(root, tmp_path, **keys)


@pytest.mark.parametrize("size", [None, 0, 600])
def test_an_import_again_does_not_take_a_damaged_dataset_for_a_whole_one(root, tmp_path, size):
    folder = imported(root, tmp_path).folder
    (shard,) = (folder / "shards").iterdir()
    content = shard.read_bytes()
    shard.unlink()
    if size is not None:
        shard.write_bytes(content[:size])
    with pytest.raises(UserError, match=f"made already, but it is damaged: {shard}") as caught:
        imported(root, tmp_path)
    assert f"delete {folder} and run: clipgen dataset import tree" in caught.value.fix


def test_the_tree_may_have_moved_but_not_changed(root, tmp_path):
    (tmp_path / "link").symlink_to(root)
    one = imported(root, tmp_path / "data").sha256
    assert imported(tmp_path / "link", tmp_path / "data").sha256 == one
    write_tree(tmp_path / "other", DOMAINS, CLASSES, 6)
    with pytest.raises(UserError, match="it differs in listing_sha256"):
        imported(tmp_path / "other", tmp_path / "data")


def test_many_parts_are_joined_in_bounded_memory_and_in_order(
    root, tmp_path, small_shards, monkeypatch
):
    whole = imported(root, tmp_path / "whole")
    monkeypatch.setattr(packing, "ROWS_PER_GROUP", 8)
    monkeypatch.setattr(samples, "ROWS_PER_BATCH", 4)
    grouped = imported(root, tmp_path / "grouped")
    assert grouped.samples.equals(whole.samples)
    assert grouped.sha256 == whole.sha256
    assert hashlib.sha256(
        "\n".join(
            "\t".join(row)
            for row in whole.samples.select(
                *("id", "split", "domain", "class_name", "caption", "caption_aligned", "sha256")
            ).iter_rows()
        ).encode()
    ).hexdigest() == (whole.sha256)
