"""Variants of settings: shares, subsets of domains, ladders and matrices from files."""

from __future__ import annotations

from itertools import pairwise

import pytest

from splits.errors import UserError
from splits.settings import SETTINGS, World, exposure
from splits.variants import read_matrix, subsets_of_size, with_domains, with_share

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
WORLD = World(DOMAINS, ("axe", "bed", "cat"), "real")
CG_HIGH = SETTINGS["cg_high_diversity"]


def test_a_share_is_told_in_the_name_and_changes_one_block():
    varied = with_share(CG_HIGH, "held_out", 0.05)
    assert varied.name == "cg_high_diversity-held_out_0.05"
    assert "0.05 of the held-out classes" in varied.description
    before = exposure(CG_HIGH, WORLD, "sketch", ["bed"])
    after = exposure(varied, WORLD, "sketch", ["bed"])
    assert (after - before).sum() == pytest.approx(0.05)


def test_the_ends_of_the_interpolation_are_the_settings_it_interpolates():
    for share, name in ((0, "cg_high_diversity"), (1, "upper_bound_high")):
        varied = exposure(with_share(CG_HIGH, "held_out", share), WORLD, "sketch", ["bed"])
        assert (varied == exposure(SETTINGS[name], WORLD, "sketch", ["bed"])).all()
    none = exposure(with_share(CG_HIGH, "seen_classes", 0), WORLD, "sketch", ["bed"])
    assert (none == exposure(SETTINGS["leave_out_domain"], WORLD, "sketch", ["bed"])).all()


def test_a_subset_shows_its_domains_and_no_other():
    varied = with_domains(CG_HIGH, ["clipart", "painting"])
    assert varied.name == "cg_high_diversity-clipart_painting"
    assert exposure(varied, WORLD, "sketch", ["bed"])[:, 0].tolist() == [1, 0, 1, 0, 1, 1]
    alone = with_domains(CG_HIGH, [])
    low = SETTINGS["cg_low_diversity"]
    assert (
        exposure(alone, WORLD, "sketch", ["bed"]) == exposure(low, WORLD, "sketch", ["bed"])
    ).all()


def test_every_subset_of_a_size_has_neither_the_natural_nor_the_test_domain():
    subsets = subsets_of_size(WORLD, "sketch", 2, 0, 0)
    assert len(subsets) == len(set(subsets)) == 6
    assert all(not {"real", "sketch"} & set(subset) for subset in subsets)
    assert subsets_of_size(WORLD, "sketch", 0, 0, 0) == [()]


def test_fewer_drawn_subsets_are_part_of_more_and_another_seed_draws_others():
    drawn = [subsets_of_size(WORLD, "sketch", 2, count, 0) for count in range(1, 7)]
    assert all(set(few) < set(more) for few, more in pairwise(drawn))
    assert len({tuple(subsets_of_size(WORLD, "sketch", 2, 2, seed)) for seed in range(9)}) > 3


@pytest.mark.parametrize(("size", "count"), [(5, 0), (-1, 0), (2, 7), (1, -1)])
def test_an_impossible_rung_is_a_user_error(size, count):
    with pytest.raises(UserError, match=rf"subsets of {size} other domains are asked for"):
        subsets_of_size(WORLD, "sketch", size, count, 0)


def test_a_matrix_is_read_with_its_stars(tmp_path):
    path = tmp_path / "half.csv"
    path.write_text("domain,class_name,exposure\nreal,*,1\nsketch,axe, 0.5\n")
    assert read_matrix(path) == (("real", "*", 1.0), ("sketch", "axe", 0.5))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("domain,class,exposure\nreal,*,1\n", "has the columns domain, class, exposure"),
        ("domain,class_name,exposure\nreal,*,1\nreal,axe,much\n", "line 3 of .* has the exposure"),
        ("domain,class_name,exposure\nreal,,1\n", "no rows, or empty fields"),
        ("domain,class_name,exposure\n", "no rows, or empty fields"),
        ("", "cannot be read"),
    ],
)
def test_a_broken_matrix_is_a_user_error(tmp_path, content, message):
    path = tmp_path / "matrix.csv"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        read_matrix(path)


def test_a_missing_matrix_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*none\.csv"):
        read_matrix(tmp_path / "none.csv")
