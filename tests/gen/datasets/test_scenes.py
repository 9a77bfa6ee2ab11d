"""A scenes dataset holds the scenes that its configuration asks for, and says what they are."""

import hashlib
import json

import numpy as np
import polars as pl
import pytest

from gen.cli import main
from gen.config import load_config
from gen.datasets.contact_sheet import contact_sheet
from gen.datasets.making import making_command
from gen.datasets.rendered import build_rendered, set_aside_other
from gen.datasets.samples import load_dataset
from gen.datasets.scenes.plan import plan_scenes, shown_objects
from gen.datasets.scenes.stored import parts_of, scenes_of, stored_scenes, stored_world
from gen.datasets.scenes.world import scene_world
from gen.datasets.shards import read_images
from gen.datasets.verifying import verify_dataset
from gen.evaluation.prompts import sentences, wording_of
from gen.scenes.coverage import Part
from gen.scenes.drawing import Look
from gen.scenes.palette import PALETTE
from gen.scenes.swaps import swapped
from gen.scenes.wording import scene_caption
from gen.schema import PromptSet
from splits.errors import UserError

SMALL = ["name=tiny", "pixels=36", "object_pixels=12", "train=[12, 40, 6]", "test=[20, 16]"]


def config(*overrides):
    return load_config("datasets", "scenes-debug", [*SMALL, *overrides])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The folder of a tiny dataset. Not to be changed."""
    folder = tmp_path_factory.mktemp("data")
    build_rendered(config(), folder, workers=1)
    return folder


@pytest.fixture
def dataset(data):
    return load_dataset("tiny", data)


@pytest.fixture
def table(dataset):
    return stored_scenes(dataset)


def test_counts_are_those_of_the_configuration(table):
    kinds = table.group_by("split", "part", pl.col("objects").list.len()).len().rows()
    assert set(kinds) == {
        ("train", "train", 1, 12),
        ("train", "train", 2, 40),
        ("train", "train", 3, 6),
        ("test", "train", 1, 20),
        ("test", "unseen", 1, 20),
        ("test_scenes", "train", 2, 16),
        ("test_scenes", "unseen", 2, 16),
        ("test_mixed", "mixed", 2, 16),
    }


def test_training_shows_train_objects_alone_and_parts_are_what_the_objects_say(dataset, table):
    _, split = stored_world(dataset)
    for count in (1, 2, 3):
        rows = table.filter(pl.col("objects").list.len() == count)
        assert (split.parts(scenes_of(rows)) == parts_of(rows)).all()
    assert set(table.filter(split="train")["part"]) == {Part.train.name}


def test_the_stored_world_is_the_one_of_the_configuration(dataset):
    space, split = stored_world(dataset)
    world = scene_world(config())
    assert space == world.space
    assert space.concepts == ("colour", "class")
    assert (split.seen == world.split.seen).all()
    assert (split.fraction, split.seed) == (world.split.fraction, world.split.seed)


def test_the_sample_table_has_a_row_per_scene_with_the_class_of_the_first_object(dataset, table):
    space, _ = stored_world(dataset)
    samples = dataset.samples
    assert samples["id"].to_list() == table["id"].to_list()
    first = space.table[[objects[0] for objects in table["objects"]], -1]
    assert (samples["class_id"].to_numpy() == first).all()
    assert set(samples.filter(split="train")["domain"]) == {"shown"}
    unseen = set(table.filter(pl.col("part") != "train")["id"])
    assert set(samples.filter(domain="unseen")["id"]) == unseen


def test_captions_name_the_objects_from_left_to_right_or_in_any_order(dataset, table):
    space, _ = stored_world(dataset)
    for objects, boxes, caption in table.select("objects", "boxes", "caption").iter_rows():
        assert caption == scene_caption(space, objects)
        assert [box[0] for box in boxes] == sorted(box[0] for box in boxes)
    captions = dataset.samples.select("caption", "caption_aligned").rows()
    pairs = [(first.split(" and "), second.split(" and ")) for first, second in captions]
    two = [pair for pair in pairs if len(pair[0]) == 2 and "," not in pair[0][0]]
    assert all(sorted(first) == sorted(second) for first, second in two)
    assert 0.25 < np.mean([first == second for first, second in two]) < 0.75


def test_partners_are_each_others_swaps_in_the_same_places(dataset, table):
    space, _ = stored_world(dataset)
    paired = table.filter(pl.col("swap_partner").is_not_null())
    assert paired.filter(split="train").height == 20
    assert paired.filter(split="test_scenes", part="train").height == 8
    rows = {row["id"]: row for row in paired.to_dicts()}
    for row in rows.values():
        other = rows[row["swap_partner"]]
        assert other["swap_partner"] == row["id"]
        assert swapped(space, np.array([row["objects"]]), 0)[0].tolist() == other["objects"]
        assert row["swapped_caption"] == other["caption"]
        assert row["boxes"] == other["boxes"]
        assert row["swap_matched"]
        assert row["part"] == other["part"]


def test_a_single_object_has_no_swap_and_a_mixed_scene_no_matched_one(table):
    single = table.filter(pl.col("objects").list.len() == 1)
    assert single["swapped_caption"].null_count() == single.height
    assert single["swap_matched"].null_count() == single.height
    assert not table.filter(part="mixed")["swap_matched"].any()


def test_images_show_the_colours_of_the_objects_in_their_boxes(dataset, table):
    space, _ = stored_world(dataset)
    colours = np.array([PALETTE[name] for name in space.values["colour"]])
    images = read_images(dataset.folder, dataset.samples, dataset.pixels).astype(int)
    for image, objects, boxes in zip(images, table["objects"], table["boxes"], strict=True):
        for number, (x, y, side) in zip(objects, boxes, strict=True):
            square = image[y : y + side, x : x + side].reshape(-1, 1, 3)
            nearest = np.abs(square - colours).sum(axis=-1).min(axis=0)
            assert nearest.argmin() == space.table[number, 0]


def test_the_same_configuration_gives_the_same_bytes(data, tmp_path):
    build_rendered(config(), tmp_path, workers=1)
    for name in ("manifest.json", "samples.parquet", "scenes.parquet"):
        digests = [hashlib.sha256((f / "tiny" / name).read_bytes()) for f in (data, tmp_path)]
        assert digests[0].hexdigest() == digests[1].hexdigest()


def test_the_dataset_is_whole_until_its_table_of_scenes_changes(dataset, table, tmp_path):
    assert verify_dataset(dataset) == []
    copy = tmp_path / "tiny"
    copy.mkdir()
    for path in dataset.folder.iterdir():
        (copy / path.name).symlink_to(path)
    (copy / "scenes.parquet").unlink()
    assert "scenes.parquet is missing" in verify_dataset(load_dataset("tiny", tmp_path))[0]
    table.with_columns(part=pl.lit("train")).write_parquet(copy / "scenes.parquet")
    (problem,) = verify_dataset(load_dataset("tiny", tmp_path))
    assert problem == "scenes.parquet has changed: it is not the manifest's"


def test_a_contact_sheet_shows_scenes_with_their_captions(dataset):
    assert contact_sheet(dataset, classes=8).width > 8 * 128


def test_the_command_that_makes_it_again_is_told(dataset):
    command = making_command("tiny", dataset.folder.parent)
    assert command.startswith("clipgen dataset build scenes --data")
    assert "train=[12, 40, 6]" in command
    assert "name=tiny" in command


def test_a_dataset_of_other_scenes_is_told_and_set_aside(dataset, data, tmp_path):
    with pytest.raises(UserError, match="holds another dataset"):
        build_rendered(config("coverage_seed=4"), data, workers=1)
    (tmp_path / "tiny").symlink_to(dataset.folder)
    _, changes = set_aside_other(config("coverage_seed=4"), tmp_path)
    assert changes == ["coverage_seed 3 → 4"]


def test_prompts_name_one_object_as_captions_do(dataset):
    assert sentences(PromptSet.domain_free, "cat", wording_of(dataset)) == ["a cat"]


def test_domains_and_sizes_are_concepts_like_colours():
    world = scene_world(config("colours=0", "domains=[real, sketch]", "sizes=[small, large]"))
    assert world.space.concepts == ("domain", "size", "class")
    assert world.space.values["domain"] == ("photo", "sketch")
    last = world.looks[-1]
    assert last == Look(last.drawings, domain="sketch", size="large")
    assert world.space.name(world.space.objects - 1) == "sketch large umbrella"


def test_scenes_of_domains_are_built(tmp_path):
    small = ["colours=0", "domains=[real, sketch, clipart, chalk]", "train=[12, 4]", "test=[6, 4]"]
    build_rendered(config(*small, "swap_share=0"), tmp_path, workers=1)
    built = load_dataset("tiny", tmp_path)
    assert verify_dataset(built) == []
    assert " of a" in built.samples["caption"][0]


def test_numbers_of_classes_and_colours_take_what_there_is():
    world = scene_world(config("classes=7", "colours=5", "drawings=0"))
    assert world.space.sizes == (5, 7)
    assert world.space.values["colour"] == tuple(PALETTE)[:5]
    names = world.space.values["class"]
    assert names == tuple(sorted(names))
    assert len(world.looks[0].drawings) == len(world.classes[0].families)


def test_test_scenes_do_not_depend_on_how_many_training_scenes_there_are():
    few, many = (plan_scenes(scene_world(c), c) for c in (config(), config("train=[30, 90]")))
    assert [s for s in few if s.split != "train"] == [s for s in many if s.split != "train"]


@pytest.mark.parametrize(
    ("overrides", "found"),
    [
        (["classes=[cat, kat]"], "class `kat`"),
        (["classes=[cat]"], "concept `class` has the values cat"),
        (["classes=[cat, cat]"], "cat, cat"),
        (["classes=cat"], "key `classes` is 'cat'"),
        (["classes=1"], "key `classes` is 1"),
        (["colours=17"], "key `colours` is 17"),
        (["colours=[red, grue]"], "colour `grue`"),
        (["colours=0"], "scenes have 1 concepts"),
        (["domains=[real, sketch]"], "both domains and colours"),
        (["colours=0", "domains=[real, crayon]"], "domain `crayon`"),
        (["sizes=[small, huge]"], "size `huge`"),
        (["train=[0, 10]"], "key `train`"),
        (["test=[]"], "key `test`"),
        (["test=[5, -1]"], "key `test`"),
        (["swap_share=1.5"], "key `swap_share` is 1.5"),
        (["coverage=1"], "coverage of 1 shows 36 of 36"),
        (["coverage=.nan"], "a coverage of nan"),
        (["coverage=.inf"], "a coverage of inf"),
        (["coverage_seed=-1"], "key `coverage_seed` is -1"),
        (["object_pixels=19"], "3 objects of 19 pixels do not fit on 36 × 36"),
        (["object_pixels=4"], "key `object_pixels` is 4"),
    ],
)
def test_mistakes_are_told_before_anything_is_drawn(overrides, found):
    with pytest.raises(UserError, match=found.replace("(", r"\(")):
        scene_world(config(*overrides))


@pytest.mark.parametrize("override", ["coverage=.nan", "coverage=.inf", "coverage_seed=-1"])
def test_numbers_out_of_range_end_the_command_without_a_traceback(override, tmp_path, capsys):
    assert main(["dataset", "build", "scenes", override, "--data", str(tmp_path)]) == 2
    assert override.split("=")[0].removesuffix("_seed") in capsys.readouterr().err


def test_training_scenes_that_miss_a_value_are_told_with_how_many_would_do():
    few = config("train=[4]")
    with pytest.raises(UserError, match="show 4 of 22 train objects, and not colour") as told:
        plan_scenes(scene_world(few), few)
    assert told.value.fix == "22 training scenes of one object show every train object"
    enough = config("train=[22]")
    assert shown_objects(plan_scenes(scene_world(enough), enough)) == [
        *scene_world(enough).split.train
    ]


def test_the_manifest_and_the_command_say_how_many_train_objects_are_shown(
    dataset, table, data, capsys
):
    shown = table.filter(split="train")["objects"].explode().n_unique()
    assert dataset.manifest["train_objects_shown"] == shown
    assert main(["dataset", "build", "scenes-debug", *SMALL, "--data", str(data)]) == 0
    assert f"training scenes show {shown} of 22 train objects" in capsys.readouterr().out


def test_pairs_that_cannot_be_are_told():
    lone = config("classes=[cat, key]", "colours=2", "coverage=0.75", "train=[4, 4]", "test=[2]")
    with pytest.raises(UserError, match="no scene of two train objects has a swap"):
        plan_scenes(scene_world(lone), lone)


def test_the_manifest_counts_scenes_swaps_and_pairs(dataset, table):
    counts = json.loads((dataset.folder / "manifest.json").read_text())["scenes"]
    assert sum(row["scenes"] for row in counts) == table.height
    assert sum(row["matched"] for row in counts) == table["swap_matched"].sum()
    assert sum(row["paired"] for row in counts) == table["swap_partner"].count()
