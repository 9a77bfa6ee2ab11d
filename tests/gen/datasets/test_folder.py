"""A tree of images becomes a listing: every file is listed, refused, or counted."""

from __future__ import annotations

import os

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from image_trees import config, write_image, write_tree

from gen.datasets.folder import _draw, list_folder
from gen.datasets.listing import LISTING, REJECTED
from splits.errors import UserError

DOMAINS, CLASSES = ("photo", "art"), ("dog", "traffic_light")


@pytest.fixture
def root(tmp_path):
    write_tree(tmp_path, DOMAINS, CLASSES, 5)
    return tmp_path


def reasons(rejected):
    return dict(rejected.select("id", "reason").iter_rows())


# ------------------------------------------------------------------------------ the tree


def test_every_image_of_a_tree_is_listed_with_its_domain_and_class(root):
    listing, rejected, source = list_folder(config(), root)
    assert (listing.schema, rejected.schema) == (pl.Schema(LISTING), pl.Schema(REJECTED))
    assert (listing.height, rejected.height, source["unlisted"]) == (20, 0, 0)
    row = listing.row(by_predicate=pl.col("id") == "art/traffic_light/003.png", named=True)
    assert (row["domain"], row["class_name"]) == ("art", "traffic light")
    assert row["path"] == str(root / "art" / "traffic_light" / "003.png")
    assert listing["id"].is_unique().all()


def test_domains_are_all_folders_or_those_of_the_configuration(root):
    write_image(root / "sketch" / "dog" / "1.png")
    (root / ".cache").mkdir()
    assert set(list_folder(config(), root)[0]["domain"]) == {"photo", "art", "sketch"}
    listing, rejected, _ = list_folder(config(domains=["photo", "art"]), root)
    assert set(listing["domain"]) == {"photo", "art"}
    assert rejected.is_empty()


def test_hidden_files_and_litter_are_counted_and_nothing_else_is_passed_over(root):
    for name in (".DS_Store", "._000.png", "Thumbs.db", "thumbs.db", "desktop.ini"):
        (root / "art" / "dog" / name).write_bytes(b"x")
    (root / "art" / ".cache").mkdir()
    listing, rejected, source = list_folder(config(), root)
    assert (listing.height, rejected.height, source["ignored"]) == (20, 0, 6)


def test_files_that_cannot_be_images_are_refused_with_the_reason(root):
    (root / "art" / "readme.txt").write_text("x")
    (root / "art" / "dog" / "notes.txt").write_text("x")
    (root / "art" / "dog" / "no extension").write_text("x")
    write_image(root / "art" / "dog" / "puppies" / "young" / "1.png")
    write_image(root / "photo" / "loose.png")
    listing, rejected, _ = list_folder(config(), root)
    assert listing.height == 20
    assert reasons(rejected) == {
        "art/readme.txt": "not in a class folder",
        "art/dog/notes.txt": "not the extension of an image",
        "art/dog/no extension": "not the extension of an image",
        "art/dog/puppies": "deeper than DOMAIN/CLASS/IMAGE: a folder that holds 1 file",
        "photo/loose.png": "not in a class folder",
    }
    assert (root / "art" / "readme.txt").samefile(rejected["path"][3])


def test_a_deep_folder_is_one_entry_with_the_number_of_its_files(root):
    for name in ("1.png", "young/2.png", "young/very/3.txt", ".hidden", ".git/4.png"):
        write_image((root / "art" / "dog" / "puppies" / name).with_suffix(".png"))
    (root / "art" / "dog" / "empty").mkdir()
    (root / "art" / "dog" / "puppies" / "linked").symlink_to(root)
    _, rejected, source = list_folder(config(), root)
    holds = "deeper than DOMAIN/CLASS/IMAGE: a folder that holds 4 files"
    assert reasons(rejected) == {"art/dog/puppies": holds}
    assert source["ignored"] == 2
    write_lists(root, art_train=["art/dog/000.png 0"])
    assert with_lists(root)[2]["unlisted"] == 19 + 4


def test_a_link_below_a_class_folder_is_not_followed_and_one_that_leads_nowhere_is_told(root):
    (root / "art" / "dog" / "all").symlink_to(root)
    (root / "art" / "dog" / "lost.png").symlink_to(root / "nothing.png")
    (root / "art" / "lost").symlink_to(root / "nothing")
    (root / "art" / "self").symlink_to(root / "art" / "self")
    _, rejected, _ = list_folder(config(), root)
    assert reasons(rejected) == {
        "art/dog/all": "deeper than DOMAIN/CLASS/IMAGE: a link to a folder",
        "art/dog/lost.png": "a link that leads nowhere",
        "art/lost": "a link that leads nowhere",
        "art/self": "a link that leads nowhere",
    }


def test_names_that_differ_in_their_unicode_form_only_are_one_class_and_one_domain(root):
    one, other = "gr\u00f6\u00dfe", "gro\u0308\u00dfe"
    write_image(root / "art" / one / "1.png")
    write_image(root / "art" / other / "2.png")
    for domain in (one, other):
        write_image(root / domain / "dog" / f"{domain}.png")
    listing, _, _ = list_folder(config(), root)
    assert set(listing["class_name"]) == {"dog", "traffic light", one}
    assert set(listing["domain"]) == {"photo", "art", one}
    assert f"art/{other}/2.png" in set(listing["id"])  # ids keep the path as it is
    cell = listing.filter((pl.col("class_name") == one) | (pl.col("domain") == one))
    assert sorted(cell["split"]) == ["test", "test", "train", "train"]
    write_lists(root, art_train=[f"art/{one}/1.png 5", f"art/{other}/2.png 6"])
    with pytest.raises(UserError, match=f"class `{one}` has the label 6"):
        with_lists(root)


def test_classes_may_be_left_out_and_the_others_keep_their_places(root):
    whole, _, _ = list_folder(config(), root)
    (root / "art" / "traffic_light" / "notes.txt").write_text("x")
    for name in ("traffic light", "traffic_light"):
        listing, rejected, source = list_folder(config(without=[name]), root)
        assert listing.sort("id").equals(whole.filter(pl.col("class_name") == "dog").sort("id"))
        assert (rejected.height, source["without"]) == (0, 10)
    with pytest.raises(UserError, match=r"class `dogs` is unknown \(did you mean `dog`"):
        list_folder(config(without=["dogs"]), root)


def test_what_lies_beside_the_domain_folders_is_not_looked_at(root):
    (root / "licence.pdf").write_bytes(b"x")
    (root / "photo_train.txt").write_text("x")
    assert list_folder(config(), root)[1].is_empty()


def test_extensions_may_be_in_capitals_and_names_in_any_script(root):
    source = root / "art" / "dog" / "000.png"
    for name in ("A.PNG", "größer als 1.png", "狗.png", "two.dots.png", "new\u2028line.png"):
        (root / "art" / "dog" / name).write_bytes(source.read_bytes())
    listing, rejected, _ = list_folder(config(), root)
    assert listing.height == 25
    assert rejected.is_empty()
    assert "art/dog/größer als 1.png" in set(listing["id"])


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX systems only")
def test_a_name_that_is_not_utf8_is_refused_and_not_a_crash(root):
    folder = os.fsencode(root / "art" / "dog")
    with open(folder + b"/\xff.png", "wb") as file:
        file.write(b"x")
    _, rejected, _ = list_folder(config(), root)
    assert reasons(rejected) == {"art/dog/\ufffd.png": "the name is not UTF-8"}


def test_folders_may_be_links_and_a_circle_of_links_ends(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere")
    write_image(other / "1.png")
    (root / "art" / "linked").symlink_to(other)
    (root / "art" / "dog" / "circle").symlink_to(root)
    listing, _, _ = list_folder(config(), root)
    assert "art/linked/1.png" in set(listing["id"])


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"domains": ["photo", "arts"]}, r"domain folder `arts` is unknown \(did you mean `art`"),
        ({"domains": ["photo", "art", "art"]}, "`art` is named twice"),
        ({"natural": "foto"}, r"natural domain `foto` is unknown \(did you mean `photo`"),
        ({"natural": ""}, r"`natural` has no value(?s:.*)natural=DOMAIN"),
        ({"test_share": 0.0}, "`test_share` is 0"),
        ({"test_share": 1.0}, "`test_share` is 1"),
    ],
)
def test_a_configuration_that_does_not_fit_the_tree_is_refused(root, keys, found):
    with pytest.raises(UserError, match=found):
        list_folder(config(**keys), root)


def test_a_root_that_is_not_there_and_one_without_images_are_told(tmp_path):
    with pytest.raises(UserError, match=r"there is no folder(?s:.*)--from DIR"):
        list_folder(config(), tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"there are no folders in .*(?s:.*)DOMAIN/CLASS/IMAGE"):
        list_folder(config(), tmp_path)
    (tmp_path / "photo" / "dog").mkdir(parents=True)
    (tmp_path / "photo" / "dog" / "a.txt").write_text("x")
    with pytest.raises(
        UserError, match=r"no image in .*1 file cannot be one, first photo/dog/a.txt: not the"
    ):
        list_folder(config(), tmp_path)


def test_a_domain_in_the_place_of_the_root_is_told_with_its_parent(root):
    (root / "photo" / "dog" / "notes").mkdir()
    with pytest.raises(UserError, match="looks like one domain") as caught:
        list_folder(config(), root / "photo")
    assert caught.value.fix == f"give its parent: --from {root}"


# ------------------------------------------------------------------------------ drawn splits


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 30)), st.floats(0.01, 0.99))
def test_every_cell_gives_its_share_and_keeps_one_in_each_split(sizes, share):
    images = sorted(
        f"photo/{name}/{n:02d}.png" for name, size in sizes.items() for n in range(size)
    )
    entries = _draw(images, share, 0)
    assert sorted(entry.id for entry in entries) == images
    for name, size in sizes.items():
        test = sum(e.split == "test" for e in entries if e.id.split("/")[1] == name)
        assert abs(test - share * size) <= 1
        assert (1 <= test < size) if size > 1 else test == 0


def test_a_draw_depends_on_the_seed_and_on_no_other_cell(root):
    def drawn(**keys):
        listing, _, _ = list_folder(config(**keys), root)
        return dict(listing.select("id", "split").iter_rows())

    before = drawn()
    assert drawn(seed=1) != before
    write_image(root / "art" / "cat" / "1.png")
    after = drawn()
    assert {image: after[image] for image in before} == before


def test_positions_count_the_sorted_images_of_a_domain_and_split(root):
    listing, _, _ = list_folder(config(), root)
    for _, part in listing.sort("id").group_by("domain", "split"):
        assert part["position"].to_list() == list(range(part.height))


# ------------------------------------------------------------------------------ given lists


def write_lists(root, **lines):
    """Lists of all splits; those that are not given by name have one image of a class `filler`."""
    for domain in DOMAINS:
        for split in ("train", "test"):
            filler = f"{domain}/filler/{split}.png"
            write_image(root / filler)
            given = [*lines.get(f"{domain}_{split}", []), f"{filler} 99"]
            text = "".join(f"{line}\n" for line in given)
            (root / f"{domain}_{split}.txt").write_text(text, encoding="utf-8")


def with_lists(root):
    return list_folder(config(lists="{domain}_{split}.txt", without=["filler"]), root)


def test_lists_decide_split_and_position_and_the_rest_is_counted(root):
    write_lists(
        root,
        art_train=["art/dog/004.png 0", "art/dog/001.png 0", "art/traffic_light/000.png 1"],
        photo_test=["photo/dog/000.png 0"],
    )
    listing, rejected, source = with_lists(root)
    assert set(listing.select("id", "split", "position").iter_rows()) == {
        ("art/dog/004.png", "train", 0),
        ("art/dog/001.png", "train", 1),
        ("art/traffic_light/000.png", "train", 2),
        ("photo/dog/000.png", "test", 0),
    }
    assert (rejected.height, source["unlisted"]) == (0, 16)


def test_a_path_may_have_spaces_and_the_file_may_come_from_windows(root):
    write_image(root / "art" / "dog" / "a b  c.png")
    (root / "art" / "dog" / "listed.txt").write_text("the content decides")
    write_lists(root)
    lines = "art/dog/a b  c.png 0\r\n\r\nart/dog/000.png\t0\r\nart/dog/listed.txt 0\r\n"
    (root / "art_train.txt").write_bytes(b"\xef\xbb\xbf" + lines.encode())
    listing, rejected, _ = with_lists(root)
    assert listing["id"].to_list() == [
        "art/dog/a b  c.png",
        "art/dog/000.png",
        "art/dog/listed.txt",
    ]
    assert listing["position"].to_list() == [0, 1, 2]
    assert rejected.is_empty()


def test_listed_files_that_are_not_there_and_duplicates_are_refused(root):
    write_lists(
        root,
        art_train=["art/dog/000.png 0", "art/dog/gone.png 0", "art/dog/000.png 0"],
        art_test=["art/dog/000.png 0", "photo/dog/000.png 0", "art/dog/../dog/000.png 0"],
        photo_train=["photo/dog/001.png 0"],
    )
    listing, rejected, source = with_lists(root)
    assert set(listing["id"]) == {"photo/dog/001.png", "art/dog/000.png"}
    assert sorted(rejected.select("id", "reason").iter_rows()) == [
        ("art/dog/../dog/000.png", "listed in art_test.txt:3, but not as art/CLASS/IMAGE"),
        ("art/dog/000.png", "duplicated: in art_test.txt:1 and in art_train.txt:1"),
        ("art/dog/000.png", "duplicated: in art_train.txt:3 and in art_train.txt:1"),
        ("art/dog/gone.png", "listed in art_train.txt:2, but there is no such file"),
        ("photo/dog/000.png", "listed in art_test.txt:2, but not as art/CLASS/IMAGE"),
    ]
    assert source["unlisted"] == 18


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("photo/dog/002.png 1", r"`dog` has the label 1 in photo_test.txt:1, but 0 in art_train"),
        ("photo/traffic_light/002.png 0", r"label 0 is class `traffic light` in photo_test.txt:1"),
        ("photo/dog/002.png", "line 1 of .*photo_test.txt is"),
        ("photo/dog/002.png dog", "line 1 of .*photo_test.txt is"),
    ],
)
def test_lists_that_contradict_themselves_stop_the_import(root, line, found):
    write_lists(root, art_train=["art/dog/000.png 0"], photo_test=[line])
    with pytest.raises(UserError, match=found):
        with_lists(root)


def test_a_missing_list_and_a_pattern_without_places_are_told(root):
    write_lists(root)
    (root / "art_test.txt").unlink()
    with pytest.raises(UserError, match=r"there is no list .*art_test\.txt(?s:.*)lists="):
        with_lists(root)
    with pytest.raises(UserError, match=r"`lists` is train\.txt"):
        list_folder(config(lists="train.txt"), root)
    for empty in (b"", b"\xef\xbb\xbf\n \n"):
        (root / "art_test.txt").write_bytes(empty)
        with pytest.raises(UserError, match=r"art_test\.txt is empty"):
            with_lists(root)
    (root / "art_test.txt").write_bytes(b"art/dog/\xff.png 0\n")
    with pytest.raises(UserError, match=r"art_test\.txt is not UTF-8"):
        with_lists(root)
