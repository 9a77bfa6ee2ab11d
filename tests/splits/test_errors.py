"""An error of the user says what was found, what was expected, where, and how to mend it."""

from __future__ import annotations

from splits.errors import UserError, unknown


def test_an_error_has_one_line_for_each_thing_it_knows():
    error = UserError("it is red", expected="green", where="the lamp", fix="turn it on")
    assert str(error).splitlines() == [
        "it is red",
        "  expected: green",
        "  where:    the lamp",
        "  fix:      turn it on",
    ]
    assert str(UserError("it is red", fix="turn it on")) == "it is red\n  fix:      turn it on"


def test_an_unknown_name_meets_the_nearest_known_one():
    error = unknown("colour", "gren", ["green", "red"], where="the lamp")
    assert error.found == "colour `gren` is unknown (did you mean `green`?)"
    assert error.expected == "one of green, red"
    assert error.where == "the lamp"


def test_no_name_is_suggested_where_none_is_near():
    assert unknown("colour", "xyz", ["green", "red"]).found == "colour `xyz` is unknown"


def test_it_is_told_where_nothing_is_known():
    assert unknown("colour", "green", iter(())).expected == "a colour; there is none here"
