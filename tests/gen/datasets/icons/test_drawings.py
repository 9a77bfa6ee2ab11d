"""The class table names real glyphs, and a glyph becomes ink of the promised size and place."""

from __future__ import annotations

import importlib.metadata
from collections import Counter

import numpy as np
import pytest

from gen.datasets.icons import drawings
from gen.datasets.icons.drawings import (
    FAMILIES,
    INK_FRACTION,
    Drawing,
    font_licences,
    ink,
    load_classes,
    parse_classes,
)
from splits.errors import UserError

HEADER = "class_name,super_category,fontawesome,material,phosphor,remix\n"
CAT = "cat,animal,cat,cat,cat,\n"


def test_there_are_at_least_150_classes_sorted_by_name():
    names = [icon_class.name for icon_class in load_classes()]
    assert len(names) >= 150
    assert names == sorted(set(names))


def test_every_class_is_drawn_by_two_families():
    assert all(len(icon_class.families) >= 2 for icon_class in load_classes())


def test_ninety_classes_are_drawn_by_three_families():
    assert sum(len(icon_class.families) >= 3 for icon_class in load_classes()) >= 90


def test_no_glyph_serves_two_classes():
    owners = Counter(drawing for icon_class in load_classes() for drawing in icon_class.drawings)
    assert set(owners.values()) == {1}


def test_every_super_category_has_five_classes():
    sizes = Counter(icon_class.super_category for icon_class in load_classes())
    assert min(sizes.values()) >= 5


def test_no_two_classes_share_a_look():
    looks: dict[bytes, set[str]] = {}
    for icon_class in load_classes():
        for drawing in icon_class.drawings:
            looks.setdefault(ink(drawing, 32).tobytes(), set()).add(icon_class.name)
    assert [names for names in looks.values() if len(names) > 1] == []


def test_a_base_name_is_expanded_to_the_styles_of_its_family():
    (star,) = parse_classes(HEADER + "star,nature,star,,star,star\n", where="table")
    assert [drawing.name for drawing in star.drawings] == [
        "fontawesome:star",
        "phosphor:star-fill",
        "phosphor:star-bold",
        "phosphor:star",
        "remix:star-fill",
        "remix:star-line",
    ]
    assert star.families == ("fontawesome", "phosphor", "remix")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("name,kind\ncat,animal\n", "columns are name, kind"),
        ("", "columns are missing"),
        (HEADER + "cat,animal,cat,cat\n", "too few or too many cells"),
        (HEADER + "cat,animal,cat,cat,cat,,cat\n", "too few or too many cells"),
        (HEADER + "cat,,cat,cat,,\n", "lacks its class_name or super_category"),
        (HEADER + "cat,animal,cta,cat,,\n", "fontawesome glyph `cta` is unknown"),
        (HEADER + "cat,animal,catt,cat,,\n", "fontawesome glyph `catt` is unknown"),
        (HEADER + "cat,animal,,,cat,\n", "`cat` is drawn by 1 families"),
        (HEADER + CAT + "cat,animal,dog,dog,,\n", "`cat` stands in two rows"),
        (HEADER + CAT + "kitten,animal,cat,dog,,\n", "`fontawesome:cat` is used twice"),
    ],
)
def test_a_bad_table_is_met_with_a_user_error(table, message):
    with pytest.raises(UserError, match=message):
        parse_classes(table, where="table")


def test_an_error_names_the_line_of_the_table():
    with pytest.raises(UserError, match="table, line 3"):
        parse_classes(HEADER + CAT + "dog,animal,dgo,dog,,\n", where="table")


def test_a_missing_font_package_is_met_with_a_user_error(monkeypatch):
    def not_installed(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", not_installed)
    with pytest.raises(UserError, match="`qtawesome` is not installed"):
        drawings._font_path("a-file-never-asked-for.ttf")


def test_another_version_of_the_font_package_is_met_with_a_user_error():
    with pytest.raises(UserError, match="has no font file `phosphor-0"):
        drawings._font_path("phosphor-0.ttf")


@pytest.mark.parametrize("size", [32, 64, 224])
def test_the_ink_box_is_centred_and_its_longer_side_fills_the_promised_fraction(size):
    for icon_class in load_classes()[::8]:
        for drawing in icon_class.drawings:
            rows, columns = (np.flatnonzero(ink(drawing, size).any(axis=a)) for a in (1, 0))
            sides = [rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1]
            assert max(sides) == pytest.approx(INK_FRACTION * size, abs=2), drawing.name
            for span in (rows, columns):
                assert span[0] + span[-1] == pytest.approx(size - 1, abs=2), drawing.name


def test_ink_is_an_anti_aliased_image_that_nobody_may_change():
    pixels = ink(Drawing("phosphor", "cat-bold"), 64)
    assert pixels.shape == (64, 64)
    assert pixels.dtype == np.uint8
    assert pixels[0, 0] == 0
    assert pixels.max() == 255
    assert len(np.unique(pixels)) > 10
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0] = 1


def test_every_font_has_a_licence_and_a_fingerprint():
    licences = font_licences()
    assert tuple(licences) == FAMILIES
    for entry in licences.values():
        assert set(entry) == {"font", "licence", "authors", "source", "file", "sha256"}
        assert len(entry["sha256"]) == 64
    assert licences["phosphor"]["licence"] == "MIT"
