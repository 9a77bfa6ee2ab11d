"""A check of a dataset finds every change of its table and of its shards."""

from __future__ import annotations

import json
import shutil

import polars as pl
import pytest
from image_trees import CLASSES, DOMAINS, imported, write_tree

from gen.cli import main
from gen.datasets.samples import COLUMNS, load_dataset, table_sha256
from gen.datasets.verifying import verify_dataset

VISIBLE = ("id", "split", "domain", "class_name", "caption", "caption_aligned", "sha256")
"""what a dataset's own hash is over: loading notices these"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of a dataset. Not to be changed."""
    folder = tmp_path_factory.mktemp("made")
    write_tree(folder / "root", DOMAINS, CLASSES, 2)
    return imported(folder / "root", folder / "data").folder


@pytest.fixture
def data(made, tmp_path):
    """A folder with a copy of it, to be damaged."""
    shutil.copytree(made, tmp_path / "tree")
    return tmp_path


def with_table(data, change):
    """The dataset after `change` of its table, and its manifest as it was."""
    path = data / "tree" / "samples.parquet"
    table = pl.read_parquet(path)
    table.with_columns(change).select(*COLUMNS).write_parquet(path)
    return load_dataset("tree", data)


def with_a_whole_table(data, change):
    """The same, with a manifest that knows the changed table."""
    dataset = with_table(data, change)
    path = data / "tree" / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["table_sha256"] = table_sha256(data / "tree" / "samples.parquet")
    path.write_text(json.dumps(manifest))
    return load_dataset(dataset.name, data)


@pytest.mark.parametrize("column", [name for name in COLUMNS if name not in VISIBLE])
def test_any_changed_cell_of_the_table_is_found(data, column):
    kind = COLUMNS[column]
    other = pl.lit("changed") if kind == pl.String else pl.lit(1_000_000_007, kind)
    last = pl.int_range(pl.len()) == pl.len() - 1
    dataset = with_table(data, pl.when(last).then(other).otherwise(column).alias(column))
    assert verify_dataset(dataset)[0] == "samples.parquet has changed: it is not the manifest's"


def test_a_cell_that_became_null_is_found(data):
    dataset = with_table(data, pl.lit(None, pl.UInt64).alias("phash"))
    assert verify_dataset(dataset) == ["samples.parquet has changed: it is not the manifest's"]


def test_a_whole_dataset_and_its_table_written_anew_have_no_problems(data):
    assert verify_dataset(with_table(data, pl.col("id"))) == []


def test_images_are_compared_at_their_places_even_in_shards_that_are_whole(data):
    dataset = with_a_whole_table(data, pl.col("offset") + pl.int_range(pl.len()).eq(3).cast(int))
    (problem,) = verify_dataset(dataset)
    assert f"image `{dataset.samples['id'][3]}` in 000000.tar" in problem


def test_class_ids_are_those_of_the_classes(data):
    dataset = with_a_whole_table(data, pl.lit(1, pl.Int64).alias("class_id"))
    (problem,) = verify_dataset(dataset)
    assert problem.startswith("8 samples with a class_id that is not the one of the class")


def test_a_shard_that_the_manifest_does_not_know_is_told_once(data):
    dataset = with_a_whole_table(data, pl.lit("other.tar").alias("shard"))
    assert verify_dataset(dataset) == ["shard other.tar is in samples.parquet, not in the manifest"]


def test_one_problem_is_one_problem_and_of_many_the_first_are_shown(data, capsys):
    command = ["dataset", "verify", "tree", "--data", str(data)]
    with_table(data, pl.lit("changed").alias("family"))
    assert main(command) == 2
    assert capsys.readouterr().err.split("error: ")[-1].startswith("1 problem:\n    samples.parq")
    with_table(data, pl.col("offset") + 1)
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "13 problems:" in err
    (data / "tree" / "shards" / "000000.tar").unlink()
    assert main(command) == 2
    assert "000000.tar is missing" in capsys.readouterr().err
