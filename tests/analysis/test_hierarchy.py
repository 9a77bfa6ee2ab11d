"""Intervals over several levels cover what they say, and refuse what they cannot know."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from analysis.hierarchy import hierarchical_interval, nested_weights, resampled_counts
from analysis.statistics import Refused


def crossed_table(rng, seeds, classes, of_seed, of_class, of_both):
    """Values of every seed and class around 0; a class adds the same to every seed."""
    values = (
        rng.normal(0, of_seed, (seeds, 1))
        + rng.normal(0, of_class, (1, classes))
        + rng.normal(0, of_both, (seeds, classes))
    )
    return pl.DataFrame(
        {
            "seed": np.repeat(np.arange(seeds), classes),
            "class": np.tile(np.arange(classes), seeds),
            "value": values.ravel(),
        }
    )


def nested_table(rng, mixtures, seeds, of_mixture, of_seed):
    values = rng.normal(0, of_mixture, (mixtures, 1)) + rng.normal(0, of_seed, (mixtures, seeds))
    return pl.DataFrame(
        {
            "mixture": np.repeat([f"m{i}" for i in range(mixtures)], seeds),
            "seed": np.tile(np.arange(seeds), mixtures),
            "value": values.ravel(),
        }
    )


def coverage(tables, levels, crossed=()):
    found = [
        hierarchical_interval(table, levels, crossed, resamples=300, seed=i)
        for i, table in enumerate(tables)
    ]
    return np.mean([one.lo <= 0 <= one.hi for one in found])


@pytest.mark.parametrize("spread", [(1, 0, 0.1), (0, 1, 0.3), (1, 1, 1), (0.3, 0.3, 1)], ids=str)
def test_intervals_over_three_seeds_and_fifteen_classes_cover(spread):
    rng = np.random.default_rng(0)
    tables = [crossed_table(rng, 3, 15, *spread) for _ in range(250)]
    assert 0.9 <= coverage(tables, ["seed", "class"], ["class"]) <= 0.99


@pytest.mark.parametrize("spread", [(1, 0.1), (0.5, 1), (0, 1)], ids=str)
def test_intervals_over_mixtures_and_their_seeds_cover(spread):
    rng = np.random.default_rng(1)
    tables = [nested_table(rng, 5, 3, *spread) for _ in range(250)]
    assert 0.91 <= coverage(tables, ["mixture", "seed"]) <= 0.99


def test_classes_that_are_hard_for_every_seed_are_no_independent_evidence():
    rng = np.random.default_rng(2)
    tables = [crossed_table(rng, 5, 15, 0.1, 1, 0.1) for _ in range(100)]
    assert coverage(tables, ["seed"]) < 0.5  # what it would be if classes were held fixed
    assert coverage(tables, ["seed", "class"], ["class"]) > 0.9


def test_of_one_level_it_is_students_interval():
    rng = np.random.default_rng(3)
    table = pl.DataFrame({"seed": range(6), "value": rng.normal(size=6)})
    found = hierarchical_interval(table, ["seed"], resamples=20000)
    half = 2.5705818 * table["value"].std() / np.sqrt(6)
    assert found.value == pytest.approx(table["value"].mean())
    assert (found.lo, found.hi) == pytest.approx(
        (found.value - half, found.value + half), abs=0.02 * half
    )


def test_every_mixture_counts_the_same_however_many_seeds_it_has():
    table = pl.DataFrame(
        {"mixture": ["a", "a", "a", "b"], "seed": [0, 1, 2, 0], "value": [0.0, 0, 0, 1]}
    )
    assert nested_weights(table, ["mixture", "seed"]).tolist() == pytest.approx(
        [1 / 6, 1 / 6, 1 / 6, 1 / 2]
    )
    found = hierarchical_interval(table, ["mixture", "seed"])
    assert found.value == pytest.approx(0.5)
    assert found.members == {"mixture": 2, "seed": 4}
    assert found.drawn == ("mixture",)


def test_seeds_of_equal_number_in_two_mixtures_are_two_units():
    table = nested_table(np.random.default_rng(0), 3, 4, 1, 1)
    found = hierarchical_interval(table, ["mixture", "seed"])
    assert found.members == {"mixture": 3, "seed": 12}


@pytest.mark.parametrize(
    ("levels", "crossed", "name"),
    [
        (["mixture", "seed"], [], "seed"),
        (["draw", "mixture"], [], "draw"),
        (["mixture", "draw"], ["draw"], "draw"),
    ],
)
def test_a_level_with_one_member_is_refused(levels, crossed, name):
    table = pl.DataFrame({"mixture": ["a", "b"], "seed": [0, 0], "draw": [0, 0], "value": [0.0, 1]})
    refused = hierarchical_interval(table, levels, crossed)
    assert refused == Refused(f"level `{name}` has one member")


def test_equal_units_are_no_certainty():
    table = pl.DataFrame({"seed": [0, 1, 2], "value": [0.3, 0.3, 0.3]})
    assert isinstance(hierarchical_interval(table, ["seed"]), Refused)


def test_rows_of_a_unit_are_drawn_together_and_as_many_units_as_there_are():
    labels = pl.Series(["a", "b", "a", "c"])
    counts = resampled_counts(labels, 500, 0)
    assert (counts[:, 0] == counts[:, 2]).all()
    assert (counts[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(4), abs=0.15)


def test_equal_seeds_give_equal_intervals():
    table = nested_table(np.random.default_rng(0), 4, 2, 1, 1)
    one, again = (hierarchical_interval(table, ["mixture", "seed"], seed=7) for _ in range(2))
    assert one == again


@pytest.mark.parametrize(
    "table",
    [
        pl.DataFrame({"seed": [], "value": []}),
        pl.DataFrame({"seed": [0, 1], "value": [0.0, float("nan")]}),
        pl.DataFrame({"run": [0, 1], "value": [0.0, 1.0]}),
    ],
)
def test_what_has_no_mean_is_an_error(table):
    with pytest.raises(ValueError, match="no rows"):
        hierarchical_interval(table, ["seed"])
