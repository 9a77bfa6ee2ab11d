"""An import packs a listing: the same bytes whoever does it, nothing lost, nothing left unsaid."""

from __future__ import annotations

import csv
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import webdataset
from image_trees import CLASSES, DOMAINS, NOUNS, config, imported, write_image, write_tree

from gen.config import load_config
from gen.datasets import chunks
from gen.datasets.captions import generic_nouns
from gen.datasets.contact_sheet import contact_sheet
from gen.datasets.folder import list_folder
from gen.datasets.importing import import_config, import_listing
from gen.datasets.listing import REJECTED
from gen.datasets.making import building_folder
from gen.datasets.samples import COLUMNS, load_dataset
from gen.datasets.shards import read_images
from gen.datasets.summary import summary
from gen.datasets.verifying import verify_dataset
from gen.schema import CaptionStyle
from splits.errors import UserError
from splits.settings import World


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


def rejected(folder):
    table = pl.read_parquet(folder / "rejected.parquet")
    return dict(table.select("id", "reason").iter_rows())


# ------------------------------------------------------------------------------ what is made


def test_a_folder_holds_what_the_formats_promise(root, tmp_path):
    dataset = imported(root, tmp_path)
    assert {path.name for path in dataset.folder.iterdir()} == {
        *("samples.parquet", "manifest.json", "rejected.parquet", "build.json", "shards")
    }
    assert dataset.samples.schema == pl.Schema(COLUMNS)
    assert sum(dataset.samples.null_count().row(0)) == 0
    assert verify_dataset(dataset) == []
    assert rejected(dataset.folder) == {}
    assert not building_folder(dataset.folder).exists()


def test_rows_are_in_canonical_order_and_say_what_the_images_are(root, tmp_path):
    dataset = imported(root, tmp_path, domains=["photo", "art"])
    assert dataset.classes == ("dog", "größe", "traffic light")
    rows = dataset.samples.select("split", "domain", "class_id", "position").rows()
    order = {name: place for place, name in enumerate(["train", "test", *dataset.domains])}
    ranks = [(order[split], order[domain], *rest) for split, domain, *rest in rows]
    assert ranks == sorted(ranks)
    for row in dataset.samples.iter_rows(named=True):
        assert row["class_name"] == dataset.classes[row["class_id"]]
        assert row["id"].startswith(f"{row['domain']}/{row['class_name'].replace(' ', '_')}/")
        assert (row["instance"], row["drawing"], row["family"]) == (row["id"], "", "")
        with (dataset.folder / "shards" / row["shard"]).open("rb") as shard:
            shard.seek(row["offset"])
            assert shard.read(row["size"]) == (root / row["id"]).read_bytes()


def test_the_order_within_a_cell_is_that_of_the_list(tmp_path):
    write_tree(tmp_path / "own", ["photo"], ["dog"], 4)
    write_image(tmp_path / "own" / "photo" / "dog" / "tested.png")
    (tmp_path / "own" / "photo_test.txt").write_text("photo/dog/tested.png 0\n")
    names = [f"photo/dog/00{number}.png" for number in (2, 0, 3, 1)]
    (tmp_path / "own" / "photo_train.txt").write_text("".join(f"{name} 0\n" for name in names))
    dataset = imported(tmp_path / "own", tmp_path / "data", lists="{domain}_{split}.txt")
    assert dataset.samples["id"].to_list() == [*names, "photo/dog/tested.png"]
    assert dataset.samples["position"].to_list() == [0, 1, 2, 3, 0]


def test_the_world_of_a_dataset_is_its_domains_and_classes(root, tmp_path):
    dataset = imported(root, tmp_path, domains=["photo", "art"], trim_order=["art", "photo"])
    assert dataset.world == World(("photo", "art"), dataset.classes, "photo", ("art", "photo"))
    assert (dataset.pixels, dataset.is_base) == (8, False)
    assert dataset.scan().select(pl.len()).collect().item() == 30


def test_any_webdataset_user_can_read_shards_with_any_names(root, tmp_path, small_shards):
    dataset = imported(root, tmp_path)
    shards = sorted(str(path) for path in (dataset.folder / "shards").iterdir())
    read = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8"))
    assert [sample["json"]["id"] for sample in read] == dataset.samples["id"].to_list()
    assert [sample["txt"] for sample in read] == dataset.samples["caption"].to_list()
    assert [sample["cls"] for sample in read] == dataset.samples["class_id"].to_list()
    assert [sample["__key__"] for sample in read] == [f"{n:09d}" for n in range(30)]


def test_models_see_squares_of_the_datasets_pixels(root, tmp_path):
    dataset = imported(root, tmp_path)
    images = read_images(dataset.folder, dataset.samples, dataset.pixels)
    assert images.shape == (30, 8, 8, 3)
    with pytest.raises(UserError, match="is damaged"):
        read_images(dataset.folder, dataset.samples.with_columns(pl.col("width") + 1), 8)


def test_large_images_are_stored_smaller_and_small_ones_as_they_are(tmp_path):
    write_image(tmp_path / "root" / "photo" / "dog" / "large.jpg", height=60, width=90)
    write_image(tmp_path / "root" / "photo" / "dog" / "small.jpg", height=9, width=11)
    samples = imported(tmp_path / "root", tmp_path / "data", short_side=20).samples
    sizes = dict(samples.select("id", pl.concat_list("width", "height")).iter_rows())
    assert sizes == {"photo/dog/large.jpg": [30, 20], "photo/dog/small.jpg": [11, 9]}


def test_captions_have_the_style_and_the_nouns_of_the_dataset(root, tmp_path):
    dataset = imported(root, tmp_path)
    assert dataset.caption_style is CaptionStyle.published
    for row in dataset.samples.iter_rows(named=True):
        nouns = {*generic_nouns(), *NOUNS[row["domain"]]}
        assert any(noun in row["caption"] for noun in nouns)
        assert any(noun in row["caption_aligned"] for noun in generic_nouns())
        assert row["class_name"] in row["caption"]
    short = imported(root, tmp_path, name="short", captions="short")
    assert short.caption_style is CaptionStyle.short
    assert set(short.samples["caption"]) != set(dataset.samples["caption"])


def test_a_dataset_may_have_empty_cells_and_says_which(root, tmp_path):
    write_tree(tmp_path / "root", DOMAINS, CLASSES, 3)
    write_image(tmp_path / "root" / "art" / "aardvark" / "1.png")
    dataset = imported(tmp_path / "root", tmp_path / "data")
    cells = dataset.manifest["empty_cells"]
    assert cells == {"train": ["photo/aardvark"], "test": ["art/aardvark", "photo/aardvark"]}
    assert "cells without an image in test: 2 (art/aardvark, photo/aardvark)" in summary(
        dataset.folder
    )
    sheet = np.asarray(contact_sheet(dataset, classes=9))
    tiles = [
        [sheet[48 + 68 * row + 32, 96 + 68 * column + 32] for column in range(4)] for row in (0, 1)
    ]
    assert [[bool((tile != 255).any()) for tile in row] for row in tiles] == [
        [True, True, True, True],  # art
        [False, True, True, True],  # photo, without aardvark
    ]


def test_super_categories_come_from_a_table(root, tmp_path):
    path = tmp_path / "categories.csv"

    def write(**rows):
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("class_name", "super_category"), *rows.items()])

    names = {"dog": "animal", "größe": "idea", "traffic light": "thing"}
    write(**names, unused="thing")
    dataset = imported(root, tmp_path, super_categories=str(path))
    assert dataset.super_categories == names
    rows = dataset.samples.select("class_name", "super_category").unique()
    assert dict(rows.iter_rows()) == names
    write(dog="animal")
    with pytest.raises(UserError, match="class `größe` stands 0 times"):
        imported(root, tmp_path, name="other", super_categories=str(path))
    with pytest.raises(UserError, match="cannot read the super-categories"):
        imported(root, tmp_path, name="other", super_categories=str(tmp_path / "no.csv"))


# ------------------------------------------------------------------------------ bad images


@pytest.fixture
def damaged(tmp_path):
    """A tree with one truncated and one empty image among 18."""
    write_tree(tmp_path / "root", DOMAINS, CLASSES, 3)
    for name, size in (("000.png", 100), ("001.png", 0)):
        path = tmp_path / "root" / "art" / "dog" / name
        path.write_bytes(path.read_bytes()[:size])
    return tmp_path


def test_bad_images_stop_an_import_that_tells_how_to_go_on(damaged):
    with pytest.raises(UserError, match="2 bad images") as caught:
        imported(damaged / "root", damaged / "data")
    assert "art/dog/001.png: empty: 0 bytes" in caught.value.found
    assert "max_rejected=2" in caught.value.fix
    assert not (damaged / "data" / "tree").exists()
    whole_list = Path(caught.value.where.split(" lists all")[0])
    assert pl.read_parquet(whole_list)["id"].to_list() == ["art/dog/000.png", "art/dog/001.png"]


def test_bad_images_may_be_left_out_but_are_listed_and_counted(damaged):
    with pytest.raises(UserError):
        imported(damaged / "root", damaged / "data", max_rejected=1)
    dataset = imported(damaged / "root", damaged / "data", max_rejected=2)
    assert set(rejected(dataset.folder)) == {"art/dog/000.png", "art/dog/001.png"}
    assert dataset.manifest["rejected"] == {"damaged": 1, "empty": 1}
    assert dataset.samples.height == 16
    assert any(
        line.startswith("left out: 1 × damaged, 1 × empty;") for line in summary(dataset.folder)
    )
    # The limit decides no bytes: the dataset stands, but not for one who allows for fewer.
    assert imported(damaged / "root", damaged / "data", max_rejected=9).sha256 == dataset.sha256
    with pytest.raises(UserError, match="imported already, and 2 bad images left") as caught:
        imported(damaged / "root", damaged / "data", max_rejected=1)
    assert "max_rejected=2" in caught.value.fix


def test_an_import_goes_on_with_the_images_that_were_mended(damaged):
    with pytest.raises(UserError, match="2 bad images"):
        imported(damaged / "root", damaged / "data")
    write_image(damaged / "root" / "art" / "dog" / "000.png", seed=99)
    with pytest.raises(UserError, match="1 bad image:"):
        imported(damaged / "root", damaged / "data")
    write_image(damaged / "root" / "art" / "dog" / "001.png", seed=98)
    assert imported(damaged / "root", damaged / "data").samples.height == 18


def test_what_the_lister_refused_stops_the_import_before_anything_is_decoded(
    root, tmp_path, monkeypatch
):
    monkeypatch.setattr(chunks, "prepare", lambda *_: pytest.fail("decoded"))
    settings = config()
    listing, _, source = list_folder(settings, root)
    refused = pl.DataFrame({"id": ["a"], "path": ["b"], "reason": ["duplicated: in c"]})
    with pytest.raises(UserError, match="1 bad image:\n    a: duplicated: in c") as caught:
        import_listing(settings, listing, refused, source, tmp_path, workers=1)
    assert "max_rejected of at least 1 (the images are not decoded yet)" in caught.value.fix


def test_bad_images_are_told_with_one_example_of_every_kind(root, tmp_path):
    settings = config()
    listing, _, source = list_folder(settings, root)
    kinds = ["deeper: holds 3 files"] * 9 + ["a link that leads nowhere"]
    rows = [(str(number), "", reason) for number, reason in enumerate(kinds)]
    refused = pl.DataFrame(rows, schema=REJECTED, orient="row")
    with pytest.raises(UserError) as caught:
        import_listing(settings, listing, refused, source, tmp_path, workers=1)
    assert caught.value.found.splitlines() == [
        "10 bad images:",
        "    0: deeper: holds 3 files (and 8 more of this kind)",
        "    9: a link that leads nowhere",
    ]


def test_a_listed_file_that_has_gone_or_may_not_be_read_is_a_bad_image(root, tmp_path):
    settings = config(max_rejected=2)
    listing, refused, source = list_folder(settings, root)
    folder, gone = str(root), str(root / "gone.png")
    listing = listing.with_columns(path=pl.Series([folder, gone, *listing["path"][2:]]))
    import_listing(settings, listing, refused, source, tmp_path, workers=1)
    reasons = set(rejected(tmp_path / "tree").values())
    assert reasons == {"cannot be read: Is a directory", "there is no such file"}


def test_members_of_tars_are_read_at_their_place_with_their_captions(root, tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(root / "photo" / "dog" / "000.png", "1.png")
        tar.add(root / "photo" / "dog" / "001.png", "2.png")
    with tarfile.open(tmp_path / "a.tar") as tar:
        places = [(member.offset_data, member.size) for member in tar]
    listing = pl.DataFrame(
        {
            "id": ["a/1", "a/2", "a/3"],
            "domain": ["web"] * 3,
            "class_name": [""] * 3,
            "split": ["train"] * 3,
            "position": [0, 1, 2],
            "path": [str(tmp_path / "a.tar")] * 3,
            "offset": [*(offset for offset, _ in places), 10**6],
            "size": [*(size for _, size in places), 50],
            "caption": ['"quoted', "null", "beyond the end"],
        }
    )
    settings = config(kind="tsv", name="web", natural="", nouns={}, max_rejected=1)
    refused = pl.DataFrame(schema={"id": pl.String, "path": pl.String, "reason": pl.String})
    import_listing(settings, listing, refused, {}, tmp_path / "data", workers=1)
    dataset = load_dataset("web", tmp_path / "data")
    assert dataset.is_base
    assert dataset.domains == ("web",)
    assert dataset.samples["caption"].to_list() == ['"quoted', "null"]
    assert dataset.samples["caption_aligned"].to_list() == ['"quoted', "null"]
    assert set(dataset.samples["class_id"]) == {-1}
    assert rejected(dataset.folder) == {"a/3": "damaged: 50 bytes expected, 0 found"}
    assert verify_dataset(dataset) == []
    contact_sheet(dataset, classes=4)


# ------------------------------------------------------------------------------ configurations


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"pixels": 4}, "`pixels` is 4"),
        ({"short_side": 5}, "`short_side` is 5(?s:.*)at least `pixels`"),
        ({"max_rejected": -1}, "`max_rejected` is -1"),
        ({"name": "../up"}, "`name` is ../up"),
        ({"name": ".hidden"}, "`name` is .hidden"),
        ({"nouns": {"art": ["art"]}}, "domain `art` has the nouns art"),
        ({"trim_order": ["photo"]}, "the trim order is photo"),
    ],
)
def test_an_impossible_import_is_refused_before_anything_is_written(root, tmp_path, keys, found):
    with pytest.raises(UserError, match=found):
        imported(root, tmp_path, **keys)
    assert not list(tmp_path.iterdir())


def test_a_new_name_makes_a_new_dataset_that_needs_two_keys():
    settings = import_config("mine", ["natural=photo", "pixels=32", "nouns.photo=[photo,shot]"])
    assert (settings.name, settings.natural, settings.pixels) == ("mine", "photo", 32)
    assert settings.nouns == {"photo": ["photo", "shot"]}
    with pytest.raises(UserError, match=r"`domainet` is unknown \(did you mean `domainnet`\?\)"):
        import_config("domainet", [])
    with pytest.raises(UserError, match=r"a new one has no pixels(?s:.*)pixels=224"):
        import_config("mine", ["natural=photo"])
    with pytest.raises(UserError, match="clipgen dataset build icons-small"):
        import_config("icons-small", [])
    with pytest.raises(UserError, match="is rendered here"):
        import_config("mine", ["kind=icons", "natural=real", "pixels=32"])


def test_names_of_domains_are_composed_however_they_are_typed():
    typed, name = "scho\u0308n", "sch\u00f6n"
    keys = [f"natural={typed}", f"domains=[{typed}, b]", f"trim_order=[{typed}]"]
    settings = import_config("mine", [*keys, f"nouns={{{typed}: [x, y]}}", "pixels=32"])
    assert (settings.natural, settings.domains, settings.trim_order) == (name, [name, "b"], [name])
    assert settings.nouns == {name: ["x", "y"]}


@pytest.mark.parametrize("name", ["pacs", "officehome", "vlcs", "terraincognita", "domainnet"])
def test_the_known_datasets_import_from_a_tree_of_their_layout(tmp_path, name):
    settings = load_config("datasets", name)
    assert settings.name == name
    write_tree(tmp_path / "root", settings.domains, ["aircraft_carrier", "zebra"], 2)
    for domain in settings.domains:
        for number, split in enumerate(("train", "test")):
            lines = [
                f"{domain}/{c}/00{number}.png {i}\n"
                for i, c in enumerate(("aircraft_carrier", "zebra"))
            ]
            (tmp_path / "root" / f"{domain}_{split}.txt").write_text("".join(lines))
    folder = import_listing(
        settings, *list_folder(settings, tmp_path / "root"), tmp_path / "data", workers=1
    )
    dataset = load_dataset(name, tmp_path / "data")
    assert dataset.world.natural == settings.natural
    assert dataset.classes == ("aircraft carrier", "zebra")
    assert dataset.samples.group_by("split", "domain").len()["len"].to_list() == [2] * (
        2 * len(settings.domains)
    )
    assert "cells without" not in "".join(summary(folder))


def test_the_published_facts_about_domainnet_stand_in_its_configuration():
    settings = load_config("datasets", "domainnet")
    assert settings.domains == ["clipart", "infograph", "painting", "quickdraw", "real", "sketch"]
    assert settings.trim_order == [
        "real",
        "quickdraw",
        "painting",
        "sketch",
        "infograph",
        "clipart",
    ]
    assert len(settings.downloads) == 18
    assert {file.name for file in settings.downloads} == {
        f"{domain}{end}"
        for domain in settings.domains
        for end in (".zip", "_train.txt", "_test.txt")
    }
    assert all(len(file.sha256) == 64 and file.bytes for file in settings.downloads)
