"""The six settings as exposure of cells, on a world small enough to write every answer down."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splits.errors import UserError
from splits.settings import SETTINGS, World, exposure

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
    shown = exposure(setting, WORLD, "sketch", ["bed"])
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
    shown = exposure(setting, WORLD, test_domain, sorted(held_out))
    elsewhere = np.delete(shown, WORLD.domains.index(test_domain), axis=0)
    assert np.all(elsewhere == elsewhere[:, :1])
    assert np.all(shown[WORLD.domains.index("real")] == 1)


def test_the_order_of_the_held_out_classes_does_not_matter():
    one = exposure("cg_low_diversity", WORLD, "sketch", ["bed", "dog"])
    other = exposure("cg_low_diversity", WORLD, "sketch", ["dog", "bed"])
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("setting", "test_domain", "held_out", "message"),
    [
        ("cg_hihg_diversity", "sketch", ["bed"], "did you mean `cg_high_diversity`"),
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
        exposure(setting, WORLD, test_domain, held_out)


@pytest.mark.parametrize("setting", ["leave_out_domain", "cg_high_diversity", "upper_bound_high"])
def test_a_setting_of_other_domains_needs_a_third_domain(setting):
    with pytest.raises(UserError, match="needs a domain beside"):
        exposure(setting, World(("real", "sketch"), ("axe", "bed"), "real"), "sketch", ["bed"])


@pytest.mark.parametrize("setting", ["natural_only", "cg_low_diversity", "upper_bound_low"])
def test_the_other_settings_need_only_two_domains(setting):
    world = World(("real", "sketch"), ("axe", "bed"), "real")
    assert exposure(setting, world, "sketch", ["bed"]).shape == (2, 2)


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
