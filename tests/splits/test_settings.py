"""The six settings as exposure of cells, on a world small enough to write every answer down."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splits.errors import UserError
from splits.settings import SETTINGS, Setting, World, exposure

WORLD = World(("clipart", "real", "sketch"), ("axe", "bed", "cat", "dog"), "real")

# rows: clipart, real, sketch (the test domain); columns: axe, bed (held out), cat, dog
ANSWERS = {
    "natural_only": [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0]],
    "leave_out_domain": [[1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 0, 0]],
    "cg_low_diversity": [[0, 0, 0, 0], [1, 1, 1, 1], [1, 0, 1, 1]],
    "cg_high_diversity": [[1, 1, 1, 1], [1, 1, 1, 1], [1, 0, 1, 1]],
    "upper_bound_low": [[0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1]],
    "upper_bound_high": [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]],
}


def test_there_are_exactly_the_six_settings():
    assert set(SETTINGS) == set(ANSWERS)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_has_a_description_of_one_line(setting):
    assert SETTINGS[setting].description
    assert "\n" not in SETTINGS[setting].description


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_shows_exactly_the_cells_written_down_by_hand(setting):
    shown = exposure(SETTINGS[setting], WORLD, "sketch", ["bed"])
    assert shown.dtype == np.float64
    np.testing.assert_array_equal(shown, ANSWERS[setting])


@given(
    setting=st.sampled_from(sorted(SETTINGS)),
    test_domain=st.sampled_from(["clipart", "sketch"]),
    held_out=st.sets(st.sampled_from(WORLD.classes), min_size=1, max_size=3),
)
def test_held_out_classes_are_missing_from_no_domain_but_the_test_domain(
    setting, test_domain, held_out
):
    shown = exposure(SETTINGS[setting], WORLD, test_domain, sorted(held_out))
    elsewhere = np.delete(shown, WORLD.domains.index(test_domain), axis=0)
    assert np.all(elsewhere == elsewhere[:, :1])
    assert np.all(shown[WORLD.domains.index("real")] == 1)


def test_the_order_of_the_held_out_classes_does_not_matter():
    one = exposure(SETTINGS["cg_low_diversity"], WORLD, "sketch", ["bed", "dog"])
    other = exposure(SETTINGS["cg_low_diversity"], WORLD, "sketch", ["dog", "bed"])
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("setting", "test_domain", "held_out", "message"),
    [
        ("natural_only", "sketchh", ["bed"], "did you mean `sketch`"),
        ("natural_only", "sketch", ["beds"], "did you mean `bed`"),
        ("natural_only", "real", ["bed"], "is the natural domain"),
        ("natural_only", "sketch", [], "0 of 4 classes are held out"),
        ("natural_only", "sketch", ["axe", "bed", "cat", "dog"], "4 of 4 classes are held out"),
        ("natural_only", "sketch", ["bed", "bed"], "`bed` is listed more than once"),
    ],
)
def test_a_wrong_question_is_a_user_error(setting, test_domain, held_out, message):
    with pytest.raises(UserError, match=message):
        exposure(SETTINGS[setting], WORLD, test_domain, held_out)


@pytest.mark.parametrize("setting", ["leave_out_domain", "cg_high_diversity", "upper_bound_high"])
def test_a_setting_of_other_domains_needs_a_third_domain(setting):
    with pytest.raises(UserError, match="needs a domain beside"):
        exposure(
            SETTINGS[setting], World(("real", "sketch"), ("axe", "bed"), "real"), "sketch", ["bed"]
        )


@pytest.mark.parametrize("setting", ["natural_only", "cg_low_diversity", "upper_bound_low"])
def test_the_other_settings_need_only_two_domains(setting):
    world = World(("real", "sketch"), ("axe", "bed"), "real")
    assert exposure(SETTINGS[setting], world, "sketch", ["bed"]).shape == (2, 2)


@pytest.mark.parametrize(
    ("domains", "classes", "natural", "message"),
    [
        (("real", "sketch"), ("axe",), "reel", "did you mean `real`"),
        (("real", "real"), ("axe",), "real", "domain `real` is listed more than once"),
        (("real", "sketch"), ("axe", "axe"), "real", "class `axe` is listed more than once"),
    ],
)
def test_a_world_that_contradicts_itself_is_a_user_error(domains, classes, natural, message):
    with pytest.raises(UserError, match=message):
        World(domains, classes, natural)


def shown_by(setting, held_out=("bed",)):
    return exposure(setting, WORLD, "sketch", held_out).tolist()


def test_a_part_of_the_held_out_classes_stands_between_cg_and_its_upper_bound():
    half = Setting("half", "half", others=1, seen=1, held_out=0.5)
    assert shown_by(half) == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 0.5, 1, 1]]


def test_only_the_named_other_domains_are_shown():
    some = Setting("some", "some", others=1, seen=1, domains=())
    assert shown_by(some) == ANSWERS["cg_low_diversity"]
    assert (
        shown_by(Setting("c", "c", others=1, seen=1, domains=("clipart",)))
        == (ANSWERS["cg_high_diversity"])
    )


@pytest.mark.parametrize("name", ["sketch", "real", "clipat"])
def test_another_domain_is_one_beside_the_natural_and_the_test_domain(name):
    with pytest.raises(UserError, match=f"other domain `{name}` is unknown"):
        shown_by(Setting("some", "some", others=1, domains=(name,)))


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6), st.integers(0, 99))
def test_smaller_shares_of_the_seen_classes_are_part_of_larger_ones(shares, seed):
    world = World(("real", "sketch"), tuple(f"class{i}" for i in range(13)), "real")
    shown = [
        exposure(
            Setting("s", "s", seen=1, seen_classes=share, seed=seed), world, "sketch", ["class3"]
        )
        for share in sorted(shares)
    ]
    for share, matrix in zip(sorted(shares), shown, strict=True):
        assert matrix[1].sum() == np.ceil(share * 12 - 1e-9)
        assert matrix[1, 3] == 0
    for smaller, larger in pairwise(shown):
        assert np.all(smaller <= larger)


def test_an_explicit_matrix_replaces_everything_and_its_later_lines_win():
    cells = (("*", "cat", 0.25), ("clipart", "*", 1.0), ("clipart", "cat", 0.0))
    setting = Setting("matrix", "matrix", others=1, seen=1, held_out=1, cells=cells)
    assert shown_by(setting) == [[1, 1, 0, 1], [0, 0, 0.25, 0], [0, 0, 0.25, 0]]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (("clipat", "axe", 1.0), "did you mean `clipart`"),
        (("real", "ax", 1.0), "did you mean `axe`"),
    ],
)
def test_an_unknown_name_in_a_matrix_is_a_user_error(cell, message):
    with pytest.raises(UserError, match=message):
        shown_by(Setting("matrix", "matrix", cells=(cell,)))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("key", ["others", "seen", "held_out", "seen_classes"])
def test_a_share_outside_0_to_1_is_a_user_error(key, share):
    with pytest.raises(UserError, match="expected: a share from 0 to 1"):
        Setting("wrong", "wrong", **{key: share})
    with pytest.raises(UserError, match="expected: a share from 0 to 1"):
        Setting("wrong", "wrong", cells=(("real", "axe", share),))


def test_a_trim_order_names_every_domain_once():
    with pytest.raises(UserError, match="trim order"):
        World(("real", "sketch"), ("axe",), "real", ("real",))
