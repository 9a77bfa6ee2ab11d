"""Held-out classes are drawn in proportion to the super-categories, and depend on a seed alone."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splits.errors import UserError
from splits.held_out import check_held_out, draw_held_out

# 10 classes: 5 animals, 3 tools, 2 fruits
CATEGORIES = (
    {f"animal{i}": "animal" for i in range(5)}
    | {f"tool{i}": "tool" for i in range(3)}
    | {f"fruit{i}": "fruit" for i in range(2)}
)
WORLDS = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=4), st.sampled_from("WXYZ"), min_size=2, max_size=40
)


def shares(drawn, categories):
    return Counter(categories[name] for name in drawn)


# 4 of 10: exact shares 2, 1.2, 0.8, so that the one left over goes to the fruits (remainder 0.8)
@pytest.mark.parametrize("seed", range(5))
def test_shares_are_those_of_the_largest_remainder(seed):
    drawn = draw_held_out(CATEGORIES, 4, seed)
    assert shares(drawn, CATEGORIES) == {"animal": 2, "tool": 1, "fruit": 1}


def test_equal_remainders_are_decided_by_the_seed():
    categories = {"ant": "animal", "bee": "animal", "axe": "tool", "saw": "tool"}
    winners = {categories[draw_held_out(categories, 1, seed)[0]] for seed in range(20)}
    assert winners == {"animal", "tool"}


def test_every_class_is_drawn_by_some_seed_about_equally_often():
    drawn = Counter(name for seed in range(1000) for name in draw_held_out(CATEGORIES, 4, seed))
    for name, expected in {"animal": 400, "tool": 333, "fruit": 500}.items():
        counts = [n for drawn_name, n in drawn.items() if drawn_name.startswith(name)]
        assert all(abs(n - expected) < 80 for n in counts)  # 5 standard deviations


def test_a_draw_is_the_same_on_every_machine_and_in_every_year():
    assert draw_held_out(CATEGORIES, 4, 0) == ("animal0", "animal4", "fruit0", "tool0")


@given(WORLDS, st.data(), st.integers(0, 10**6))
def test_a_draw_has_its_size_is_sorted_and_gives_each_category_its_share(categories, data, seed):
    count = data.draw(st.integers(1, len(categories) - 1))
    drawn = draw_held_out(categories, count, seed)
    assert len(set(drawn)) == count
    assert list(drawn) == sorted(drawn)
    sizes = Counter(categories.values())
    for category, size in sizes.items():
        exact = Fraction(count * size, len(categories))
        assert abs(shares(drawn, categories)[category] - exact) < 1


@given(WORLDS, st.randoms(use_true_random=False))
def test_the_order_of_the_mapping_does_not_matter(categories, random):
    items = list(categories.items())
    random.shuffle(items)
    assert draw_held_out(dict(items), 1, 3) == draw_held_out(categories, 1, 3)


@pytest.mark.parametrize("count", [-1, 0, 10, 11])
def test_a_count_out_of_range_is_a_user_error(count):
    with pytest.raises(UserError, match=f"{count} held-out classes are asked for, of 10"):
        draw_held_out(CATEGORIES, count, 0)


def test_an_explicit_list_of_known_classes_is_fine():
    check_held_out(["tool1", "animal0"], list(CATEGORIES))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["tol1"], "held-out class `tol1` is unknown .did you mean `tool1`"),
        (["tool1", "tool2", "tool1"], "held-out class `tool1` is listed more than once"),
        ([], "0 of 10 classes are held out"),
        (list(CATEGORIES), "10 of 10 classes are held out"),
    ],
)
def test_a_wrong_explicit_list_is_a_user_error(names, message):
    with pytest.raises(UserError, match=message):
        check_held_out(names, list(CATEGORIES))
