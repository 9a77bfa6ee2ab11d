"""A build gives the same bytes whoever does it and however often it stops, and no split leaks."""

from __future__ import annotations

import hashlib
import json
import os
import shutil

import polars as pl
import pytest

from gen.config import load_config
from gen.datasets.icons.build import (
    SPLITS,
    _plan,
    build_icons,
    drawings_of,
    plan_shards,
    render_shard,
    reserved_family,
    select_classes,
)
from gen.datasets.icons.drawings import load_classes
from gen.datasets.images import phash
from gen.datasets.making import building_folder
from gen.datasets.packing import enter, rows_of
from gen.datasets.samples import COLUMNS, load_dataset
from gen.datasets.shards import read_images
from gen.datasets.verifying import verify_dataset
from splits.errors import UserError

NAME = "tiny"
SMALL = ["classes=4", "domains=[real,sketch]", "train=3", "test=2", "test_unseen_drawing=1"]
TABLE_SHA256 = "90809935ab11da0c34e732e2fb6f24ec868421a5a165db348a91f04c657c7881"
SHARD_SHA256 = "f340a1e939cbe8c3a18a991c59c0e4896962a7dae5ee81099363de39aede5a2e"
"""of the dataset below, as they were before other kinds of dataset came"""


def config(*overrides):
    return load_config("datasets", "icons-debug", [f"name={NAME}", *SMALL, *overrides])


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """The folder of a tiny dataset that one process built. Not to be changed."""
    folder = tmp_path_factory.mktemp("data")
    build_icons(config(), folder, workers=1)
    return folder


@pytest.fixture
def copy(data, tmp_path):
    """A copy of it, to be damaged."""
    shutil.copytree(data, tmp_path / "data")
    return tmp_path / "data"


def hashes(folder):
    """Hash of every file that decides what a model sees."""
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix in (".tar", ".parquet")]
    paths.append(folder / "manifest.json")
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in paths
    }


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


# ------------------------------------------------------------------------------ what is built


def test_a_folder_holds_what_the_formats_promise_and_nothing_else(data):
    names = {path.name for path in (data / NAME).iterdir()}
    assert names == {"samples.parquet", "manifest.json", "build.json", "shards"}
    samples = load_dataset(NAME, data).samples
    assert samples.schema == pl.Schema(COLUMNS)
    assert {path.name for path in (data / NAME / "shards").iterdir()} == set(samples["shard"])


def test_every_cell_has_the_images_that_were_asked_for(data):
    dataset = load_dataset(NAME, data)
    counts = dataset.samples.group_by("split", "domain", "class_name").len()
    for split, number in (("train", 3), ("test", 2)):
        cells = counts.filter(pl.col("split") == split)
        assert cells.height == 4 * 2
        assert set(cells["len"]) == {number}
    reserved = dataset.manifest["reserved_family"]
    unseen = counts.filter(pl.col("split") == "test_unseen_drawing")
    assert set(unseen["class_name"]) == set(reserved)
    assert set(unseen["len"]) == {1}


def test_rows_are_in_canonical_order_and_ids_are_unique(data):
    samples = load_dataset(NAME, data).samples
    assert samples["id"].is_unique().all()
    rank = samples.select(
        pl.col("split").replace_strict({name: i for i, name in enumerate(SPLITS)}),
        pl.col("domain").replace_strict({"real": 0, "sketch": 1}),
        "class_id",
        pl.col("id").str.slice(-5),
    ).rows()
    assert rank == sorted(rank)


def test_a_class_id_is_the_position_in_the_sorted_list_of_classes(data):
    dataset = load_dataset(NAME, data)
    assert list(dataset.classes) == sorted(dataset.classes)
    named = dataset.samples.select("class_id", "class_name").unique().iter_rows()
    assert dict(named) == dict(enumerate(dataset.classes))


def test_every_image_is_the_one_that_its_row_describes(data):
    dataset = load_dataset(NAME, data)
    for row in dataset.samples.iter_rows(named=True):
        with (dataset.folder / "shards" / row["shard"]).open("rb") as shard:
            shard.seek(row["offset"])
            assert hashlib.sha256(shard.read(row["size"])).hexdigest() == row["sha256"]
    images = read_images(dataset.folder, dataset.samples, dataset.pixels)
    assert images.shape == (dataset.samples.height, 32, 32, 3)
    assert images.std(axis=(1, 2, 3)).min() > 5  # none is blank
    assert dataset.samples["phash"].to_list() == [phash(image) for image in images]


def test_the_bytes_are_those_of_the_first_version_of_the_generator(data):
    manifest = load_dataset(NAME, data).manifest
    assert manifest["sha256"] == TABLE_SHA256
    shards = {shard["name"]: shard["sha256"] for shard in manifest["shards"]}
    assert shards["train-sketch-0000.tar"] == SHARD_SHA256


def test_the_manifest_says_where_all_comes_from(data):
    manifest = json.loads((data / NAME / "manifest.json").read_text())
    assert manifest["config"]["domains"] == ["real", "sketch"]
    assert manifest["samples"] == sum(manifest["samples_per_split"].values())
    assert manifest["samples"] == sum(shard["count"] for shard in manifest["shards"])
    assert set(manifest["licences"]) == {"fontawesome", "material", "phosphor", "remix"}


# ------------------------------------------------------------------------------ splits


def test_no_instance_is_in_two_splits(data):
    splits = load_dataset(NAME, data).samples.group_by("instance").agg(pl.col("split").n_unique())
    assert set(splits["split"]) == {1}


def test_no_image_is_in_two_splits(data):
    splits = load_dataset(NAME, data).samples.group_by("sha256").agg(pl.col("split").n_unique())
    assert set(splits["split"]) == {1}


def test_the_reserved_family_is_all_of_its_split_and_none_of_the_others(data):
    dataset = load_dataset(NAME, data)
    reserved = dataset.manifest["reserved_family"]
    assert reserved
    for split, name, family in dataset.samples.select("split", "class_name", "family").iter_rows():
        assert (family == reserved.get(name)) == (split == "test_unseen_drawing")


@pytest.mark.parametrize("count", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_no_drawing_of_any_class_is_in_training_and_in_the_unseen_split(seed, count):
    settings = config(f"seed={seed}", f"drawings_per_family={count}")
    for item in load_classes():
        train, test, unseen = (set(drawings_of(item, split, settings)) for split in SPLITS)
        assert train
        assert train == test
        assert not train & unseen
        assert not {d.family for d in train} & {d.family for d in unseen}
        assert bool(unseen) == (len(item.families) >= 3)


def test_any_family_may_be_reserved_and_only_where_two_are_left():
    reserved = [reserved_family(item, 0) for item in load_classes() if len(item.families) >= 3]
    assert set(reserved) == {"fontawesome", "material", "phosphor", "remix"}
    assert {reserved_family(i, 0) for i in load_classes() if len(i.families) < 3} == {None}


@pytest.mark.parametrize("count", [1, 5, 12, 75])
def test_chosen_classes_are_spread_evenly_over_the_super_categories(count):
    chosen = select_classes(config(f"classes={count}"))
    assert len({item.name for item in chosen}) == count
    everything = load_classes()
    for category in {item.super_category for item in everything}:
        share = sum(item.super_category == category for item in everything) / len(everything)
        part = sum(item.super_category == category for item in chosen)
        assert abs(part - share * count) < 1


def test_shards_cover_every_cell_once():
    settings, classes = config("train=300"), [f"class {number}" for number in range(10)]
    shards = list(plan_shards(settings, classes))
    cells = [(s.split, s.domain, name) for s in shards for name in s.classes]
    assert cells == [(s, d, name) for s in SPLITS for d in ("real", "sketch") for name in classes]
    assert len({shard.name for shard in shards}) == len(shards)
    assert {len(s.classes) for s in shards if s.split == "train"} == {3, 1}


# ------------------------------------------------------------------------------ building again


def test_a_build_again_does_nothing(data):
    before = times(data)
    build_icons(config(), data, workers=2)
    after = times(data)
    assert {path: after[path] for path in before if path.suffix != ".lock"} == {
        path: time for path, time in before.items() if path.suffix != ".lock"
    }


@pytest.mark.slow
def test_a_half_built_folder_continued_by_two_processes_gives_the_same_bytes(data, tmp_path):
    settings, building = config(), building_folder(tmp_path / NAME)
    classes = select_classes(settings)
    enter(building, _plan(settings, classes))
    absent, without_rows = "test-real-0000", "train-sketch-0000"
    for shard in plan_shards(settings, [item.name for item in classes]):
        if shard.name != absent:
            render_shard(settings, shard, building)
    rows_of(building, without_rows).unlink()
    (building / "dataset" / "shards" / f".{absent}.tar.1.tmp").touch()  # of a killed process
    before = {path.name: time for path, time in times(building / "dataset" / "shards").items()}
    build_icons(settings, tmp_path, workers=2)
    after = {path.name: time for path, time in times(tmp_path / NAME / "shards").items()}
    changed = {name for name in after if after[name] != before.get(name)}
    assert changed == {f"{absent}.tar", f"{without_rows}.tar"}
    assert not building.exists()
    assert hashes(tmp_path / NAME) == hashes(data / NAME)


def test_a_build_that_fails_gives_no_folder_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr("gen.datasets.icons.build.run_jobs", lambda *_: None)  # rows are missing
    with pytest.raises(FileNotFoundError):
        build_icons(config(), tmp_path, workers=1)
    assert not (tmp_path / NAME).exists()


def test_a_half_built_folder_of_another_plan_is_not_continued(tmp_path):
    building = building_folder(tmp_path / NAME)
    enter(building, {"seed": 0})
    (building / "rows").mkdir()
    enter(building, {"seed": 0})
    assert (building / "rows").is_dir()
    enter(building, {"seed": 1})
    assert os.listdir(building) == ["plan.json"]


@pytest.mark.parametrize("override", ["seed=1", "train=4", "domains=[real,clipart]"])
def test_another_dataset_under_the_same_name_is_refused(data, override):
    before = hashes(data / NAME)
    with pytest.raises(UserError, match=r"holds another dataset(?s:.*)config(?s:.*)name="):
        build_icons(config(override), data, workers=1)
    assert hashes(data / NAME) == before


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("domains=[real,sketsh]", r"`sketsh` is unknown \(did you mean `sketch`\?\)"),
        ("domains=[real,sketch,real]", "`real` is named twice"),
        ("domains=[sketch,neon]", "natural domain `real` is unknown"),
        ("classes=5000", r"`classes` is 5000(?s:.*)1 to \d+"),
        ("classes=-1", "`classes` is -1"),
    ],
)
def test_an_impossible_dataset_is_refused_before_anything_is_written(tmp_path, override, found):
    with pytest.raises(UserError, match=found):
        build_icons(config(override), tmp_path, workers=1)
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------ loading, verifying


def test_a_whole_dataset_has_no_problems(data):
    assert verify_dataset(load_dataset(NAME, data)) == []


def test_a_flipped_bit_is_found_and_its_image_named(copy):
    dataset = load_dataset(NAME, copy)
    row = dataset.samples.row(5, named=True)
    path = copy / NAME / "shards" / row["shard"]
    content = bytearray(path.read_bytes())
    content[row["offset"] + row["size"] // 2] ^= 1
    path.write_bytes(content)
    problems = verify_dataset(dataset)
    assert len(problems) == 2
    assert f"{path} has changed" in problems[0]
    assert f"image `{row['id']}` in {path.name} has changed" in problems[1]


def test_missing_and_shortened_shards_are_found(copy):
    dataset = load_dataset(NAME, copy)
    first, second, *_ = sorted((copy / NAME / "shards").iterdir())
    first.unlink()
    second.write_bytes(second.read_bytes()[:-512])
    missing, short = verify_dataset(dataset)
    assert missing == f"{first} is missing"
    assert f"{second} has {second.stat().st_size} bytes, not" in short


def test_a_dataset_that_is_neither_there_nor_configured_is_told_with_the_nearest_name(tmp_path):
    with pytest.raises(UserError, match=r"`icons-smal` is unknown \(did you mean `icons-small`"):
        load_dataset("icons-smal", tmp_path)


@pytest.mark.parametrize("name", ["samples.parquet", "manifest.json"])
def test_an_unreadable_table_is_told_with_its_folder(copy, name):
    path = copy / NAME / name
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match=r"not readable(?s:.*)delete .*/tiny and run: clipgen"):
        load_dataset(NAME, copy)


def test_a_table_that_does_not_fit_its_manifest_is_refused(copy):
    path = copy / NAME / "samples.parquet"
    pl.read_parquet(path).with_columns(caption=pl.lit("a cat")).write_parquet(path)
    with pytest.raises(UserError, match=r"does not fit manifest\.json"):
        load_dataset(NAME, copy)
