"""A caption names a class by its words, in any spelling of the blanks, and by nothing less."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splits.caption_leaks import EXAMPLES, class_pattern, find_caption_leaks

NAMED = [
    ("axe", "an axe in the wood"),
    ("axe", "two axes"),
    ("axe", "AXE"),
    ("bed", "my bed."),
    ("bed", "bed_frame.jpg"),
    ("barn", "the barn's door"),
    ("traffic light", "Traffic Lights at night"),
    ("traffic light", "traffic-light"),
    ("traffic light", "traffic  \t light"),
    ("traffic_light", "a traffic light"),
    ("t-shirt", "T shirts for sale"),
    ("cherry", "ripe cherries"),
    ("bus", "two buses"),
    ("key", "three keys"),
    ("piano", "pianos"),
    ("potato", "potatoes"),
    ("Éclair", "an éclair"),
    ("café", "a cafe\u0301"),  # an accent of its own
    ("cafe\u0301", "a café"),
    ("E\u0301clair pan", "an éclair pan"),
    ("rock (stone)", "rock (stone)s"),
]
NOT_NAMED = [
    ("axe", "taxes"),
    ("axe", "the axel"),
    ("bed", "bedroom"),
    ("bed", "embed"),
    ("barn", "Barnes and Noble"),  # no plural of barn
    ("traffic light", "traffic and light"),
    ("traffic light", "trafficlights"),
    ("traffic light", "light traffic"),
    ("lion", "lionel"),
    ("a.c", "abc"),
    ("axe", "axé"),
    ("axe", "axe\u0301"),
    ("axe", ""),
]


def names(name, caption):
    leaks = find_caption_leaks([pl.Series([caption])], [[name]])
    return bool(leaks.by_draw[0])


@pytest.mark.parametrize(("name", "caption"), NAMED)
def test_a_class_is_found(name, caption):
    assert names(name, caption)


@pytest.mark.parametrize(("name", "caption"), NOT_NAMED)
def test_another_word_is_not_taken_for_the_class(name, caption):
    assert not names(name, caption)


@given(st.text(max_size=10), st.sampled_from(["axe", "traffic light", "cherry", "caption"]))
def test_a_class_is_found_between_any_signs_that_are_no_letters(text, name):
    assert names(name, f"{text} {name}, {text}")
    assert names(name, f"{text}_{name.upper()}")


def test_counts_shares_and_examples_are_those_of_the_captions():
    batches = [
        pl.Series(["a lion", "a bed and a lion", "nothing"]),
        pl.Series(["a barn", "lions", "the lion king", None]),
    ]
    leaks = find_caption_leaks(batches, [["lion", "bed"], ["barn", "lion"], ["axe"]])
    assert leaks.captions == 7
    assert leaks.by_draw == (4, 5, 0)
    assert leaks.of_any_draw == 5
    counts = leaks.by_class.select("draw", "class_name", "captions").rows()
    assert counts == [(0, "bed", 1), (0, "lion", 4), (1, "barn", 1), (1, "lion", 4), (2, "axe", 0)]
    lion = leaks.by_class.row(1, named=True)
    assert lion["share"] == pytest.approx(4 / 7)
    assert lion["examples"] == ["a lion", "a bed and a lion", "lions"]
    assert len(lion["examples"]) == EXAMPLES


def test_no_captions_are_no_leak():
    leaks = find_caption_leaks([], [["lion"]])
    assert leaks.by_draw == (0,)
    assert leaks.by_class["share"].to_list() == [0.0]


def test_a_class_without_a_word_is_refused():
    with pytest.raises(ValueError, match="no word"):
        class_pattern(" - ")
