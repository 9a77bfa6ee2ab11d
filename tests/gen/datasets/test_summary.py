"""An import ends with lines that say what is in the dataset and what is not."""

from __future__ import annotations

import numpy as np
import pytest
from image_trees import config, imported, write_image, write_tree

from gen.datasets.captioned import list_captioned
from gen.datasets.contact_sheet import GAP, LINE, LINES, PICTURE, contact_sheet
from gen.datasets.importing import import_listing
from gen.datasets.samples import load_dataset
from gen.datasets.shards import read_images
from gen.datasets.summary import summary
from gen.datasets.wording import counted, kind_of


def lines(tmp_path, **keys):
    return summary(imported(tmp_path / "root", tmp_path / "data", **keys).folder)[1:]


def test_images_that_will_be_enlarged_are_counted_and_the_smallest_is_named(tmp_path):
    write_tree(tmp_path / "root", ("photo", "art"), ("dog",), 4)  # 16 × 12 pixels
    write_image(tmp_path / "root" / "art" / "dog" / "tiny.png", height=9, width=40)
    assert lines(tmp_path, pixels=13) == [
        "9 images are smaller than `pixels` (13) and will be enlarged; "
        "the smallest has 40 × 9 (art/dog/tiny.png)"
    ]
    assert lines(tmp_path, pixels=12, name="other")[0].startswith("1 image is smaller than")
    assert lines(tmp_path, pixels=9, name="third") == []


def test_classes_that_differ_in_capitals_only_are_told(tmp_path):
    write_tree(tmp_path / "root", ("photo", "art"), ("Dog", "dog", "cat"), 2)
    assert lines(tmp_path) == ["classes whose names differ in capitals only: Dog = dog"]


def test_what_was_not_taken_is_told(tmp_path):
    write_tree(tmp_path / "root", ("photo", "art"), ("dog", "cat"), 2)
    (tmp_path / "root" / "art" / "dog" / ".hidden").touch()
    assert lines(tmp_path, without=["cat"]) == [
        "of the classes in `without`: 4 files not taken",
        "hidden files and folders, not looked at: 1",
    ]


@pytest.mark.parametrize(
    ("number", "noun", "text"),
    [(1, "image", "1 image"), (2, "image", "2 images"), (0, "class", "0 classes")],
)
def test_one_is_singular(number, noun, text):
    assert counted(number, noun) == text


def test_reasons_of_one_kind_differ_in_numbers_and_places_only():
    assert kind_of("listed in a: b.txt:7, but there is no such file") == (
        "listed, but there is no such file"
    )
    assert kind_of("row with another number of fields: 1 instead of 2: line 5") == (
        "row with another number of fields"
    )


# ---------------------------------------------------------------------------- a base to look at


def base(folder, captions):
    """A base of noise images with these captions."""
    rows = "".join(f"{n}.png\t{caption}\n" for n, caption in enumerate(captions))
    folder.mkdir()
    (folder / "pairs.tsv").write_text("filepath\ttitle\n" + rows)
    for number in range(len(captions)):
        write_image(folder / f"{number}.png", number, height=8, width=8)
    settings = config(kind="tsv", name="pairs", natural="", table="pairs.tsv")
    listed = list_captioned(settings, folder)
    import_listing(settings, *listed, folder / "data", workers=1)
    return load_dataset("pairs", folder / "data")


def test_the_sheet_of_a_base_shows_images_from_all_over_its_table(tmp_path):
    dataset = base(tmp_path / "root", ["a cat"] * 21)
    sheet = np.asarray(contact_sheet(dataset, classes=3))
    images = read_images(dataset.folder, dataset.samples[[0, 10, 20]], 8)
    for column, image in enumerate(images):
        left = GAP + column * (PICTURE + GAP)
        shown = sheet[GAP : GAP + PICTURE, left : left + PICTURE]
        assert (shown[8::16, 8::16] == image).all()


def test_a_caption_stands_below_its_picture_in_one_line_or_two(tmp_path):
    captions = ["a cat", "an orange cat that sits on a wall", "cats " * 50, "狗" * 50, "x" * 99]
    sheet = np.asarray(contact_sheet(base(tmp_path / "root", captions), classes=9))
    assert sheet.shape == (GAP + PICTURE + LINES * LINE + GAP, GAP + 5 * (PICTURE + GAP), 3)
    below = sheet[GAP + PICTURE :] < 128
    lines_of = [
        [bool(below[top : top + LINE, left : left + PICTURE].any()) for top in (0, LINE)]
        for left in range(GAP, sheet.shape[1], PICTURE + GAP)
    ]
    assert lines_of == [[True, False], [True, True], [True, True], [True, True], [True, True]]
    assert not below[:, GAP + PICTURE :: PICTURE + GAP].any()  # between two captions


def test_a_base_smaller_than_the_sheet_is_shown_whole_in_rows(tmp_path):
    sheet = contact_sheet(base(tmp_path / "root", ["a cat"] * 10), classes=16)
    assert sheet.width == GAP + 8 * (PICTURE + GAP)
    assert sheet.height == GAP + 2 * (PICTURE + LINES * LINE + GAP)
