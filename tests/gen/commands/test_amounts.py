"""Times, sizes and counts in words."""

from __future__ import annotations

import pytest

from gen.commands.amounts import counted, duration, size


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (99.4, "99 s"),
        (100, "2 min"),
        (99 * 60, "99 min"),
        (100 * 60, "1 h 40 min"),
        (3 * 3600 + 5 * 60, "3 h 05 min"),
        (2 * 86400 + 4 * 3600, "2 d 4 h"),
    ],
)
def test_a_time_has_two_units_at_most(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (23_400_000, "23.4 MB"),
        (234_000_000, "234 MB"),
        (999_600_000, "1.0 GB"),
        (1_234_000_000_000_000, "1,234.0 TB"),
    ],
)
def test_a_size_has_three_digits_or_so(count, words):
    assert size(count) == words


def test_one_thing_stands_in_the_singular():
    assert [counted(n, "run") for n in (0, 1, 2, 1000)] == [
        "0 runs",
        "1 run",
        "2 runs",
        "1,000 runs",
    ]
