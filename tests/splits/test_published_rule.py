"""The published budget against a literal restatement of the rule: equal counts, equal images.

The restatement works on lists of file names, as one would with the official lists in hand; it
shares no code with `splits`.
"""

from __future__ import annotations

from math import ceil
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splits.budget import Budget
from splits.mixture import Recipe, build_mixture
from splits.pool import build_pool
from splits.settings import SETTINGS, World
from splits.variants import with_domains, with_share

DOMAINS = ("clipart", "infograph", "painting", "quickdraw", "real", "sketch")
TRIM = ("real", "quickdraw", "painting", "sketch", "infograph", "clipart")
CLASSES = ("axe", "bed", "cat", "dog", "eye")
HELD_OUT = ("bed", "dog")


def official_lists(seed: int, largest: int, *, sorted_by_class: bool) -> dict[str, list[tuple]]:
    """For every domain a list of (file, class) with uneven classes, in some order."""
    random = Random(seed)
    lists = {}
    for domain in DOMAINS:
        rows = [
            (f"{domain}/{name}/{random.getrandbits(32):08x}_{number}.jpg", name)
            for name in CLASSES
            for number in range(random.randint(1, largest))
        ]
        if not sorted_by_class:
            random.shuffle(rows)
        lists[domain] = rows
    return lists


def restated(lists, shown, test_domain, hidden, fraction=0.0):
    """The files of a mixture, by the published rule.

    Args:
        lists: files of every domain, in order.
        shown: domains in the pool.
        test_domain: of the budget, and of the hidden classes.
        hidden: classes of the test domain that are not in the pool.
        fraction: share of the hidden classes that is let in again.
    """
    budget = len(lists["real"]) + sum(name not in HELD_OUT for _, name in lists[test_domain])
    kept_out = set() if fraction else hidden
    groups = {domain: {} for domain in DOMAINS}
    for domain in shown:
        for file, name in lists[domain]:
            if not (domain == test_domain and name in kept_out):
                groups[domain].setdefault(name, []).append(file)
    pool = sum(len(files) for by_class in groups.values() for files in by_class.values())
    if pool < budget:
        return None  # the published code has no answer
    factor = shrink = budget / pool
    if fraction:
        partial = [groups[test_domain][name] for name in hidden]
        let_in = sum(ceil(fraction * factor * len(files)) for files in partial)
        shrink = (budget - let_in) / (pool - sum(len(files) for files in partial))
    chosen = {domain: {} for domain in DOMAINS}
    for domain, by_class in groups.items():
        for name, files in by_class.items():
            share = shrink
            if fraction and domain == test_domain and name in hidden:
                share = fraction * factor
            chosen[domain][name] = files[: ceil(share * len(files))]
    size = sum(len(files) for by_class in chosen.values() for files in by_class.values())
    while size > budget:
        for domain in TRIM:
            for name, files in chosen[domain].items():
                spared = fraction and domain == test_domain and name in hidden
                if size > budget and not spared:
                    files.pop()
                    size -= 1
    return sorted(f for by_class in chosen.values() for files in by_class.values() for f in files)


def ours(lists, setting, test_domain, seed):
    """The ids of our mixture of the same files, from a table whose rows are in any order."""
    rows = [
        (file, domain, name, place)
        for domain, files in lists.items()
        for place, (file, name) in enumerate(files)
    ]
    table = pl.DataFrame(rows, ["id", "domain", "class_name", "position"], orient="row")
    world = World(DOMAINS, CLASSES, "real", TRIM)
    recipe = Recipe(setting, test_domain, HELD_OUT, Budget("published"), "caption", "d" * 64)
    pool = build_pool(table.sample(fraction=1, shuffle=True, seed=seed), world)
    return build_mixture(pool, recipe).ids.to_list()


ALL = set(DOMAINS)
RULES = {
    "leave_out_domain": lambda test: (ALL - {test}, set()),
    "cg_low_diversity": lambda test: ({"real", test}, set(HELD_OUT)),
    "cg_high_diversity": lambda test: (ALL, set(HELD_OUT)),
    "upper_bound_low": lambda test: ({"real", test}, set()),
    "upper_bound_high": lambda test: (ALL, set()),
}


@pytest.mark.parametrize("name", RULES)
@given(
    seed=st.integers(0, 10**6),
    largest=st.sampled_from([2, 9, 40, 150]),
    test_domain=st.sampled_from([name for name in DOMAINS if name != "real"]),
    sorted_by_class=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_the_images_are_those_of_the_restated_rule(
    name, seed, largest, test_domain, sorted_by_class
):
    lists = official_lists(seed, largest, sorted_by_class=sorted_by_class)
    expected = restated(
        lists, RULES[name](test_domain)[0], test_domain, RULES[name](test_domain)[1]
    )
    if expected is not None:
        assert ours(lists, SETTINGS[name], test_domain, seed) == expected


@given(
    seed=st.integers(0, 10**6),
    largest=st.sampled_from([3, 20, 150]),
    fraction=st.sampled_from([0.05, 0.1, 0.2, 0.4, 0.6, 0.8]),
    name=st.sampled_from(["cg_low_diversity", "cg_high_diversity"]),
)
@settings(max_examples=120, deadline=None)
def test_the_interpolation_is_that_of_the_restated_rule(seed, largest, fraction, name):
    lists = official_lists(seed, largest, sorted_by_class=True)
    shown, hidden = RULES[name]("sketch")
    expected = restated(lists, shown, "sketch", hidden, fraction)
    setting = with_share(SETTINGS[name], "held_out", fraction)
    assert ours(lists, setting, "sketch", seed) == expected


@given(
    seed=st.integers(0, 10**6),
    others=st.sets(st.sampled_from(["clipart", "infograph", "painting", "quickdraw"]), min_size=1),
)
@settings(max_examples=40, deadline=None)
def test_a_subset_of_domains_is_that_of_the_restated_rule(seed, others):
    lists = official_lists(seed, 40, sorted_by_class=True)
    expected = restated(lists, {"real", "sketch"} | others, "sketch", set(HELD_OUT))
    setting = with_domains(SETTINGS["cg_high_diversity"], sorted(others))
    assert ours(lists, setting, "sketch", seed) == expected


def test_counts_worked_out_by_hand():
    # real 4 + 2, sketch seen 3 (axe) and hidden 2 (bed), clipart 2 + 3; classes axe and bed
    sizes = {"clipart": (2, 3), "real": (4, 2), "sketch": (3, 2)}
    rows = [
        (f"{domain}{name}{i}", domain, name, place * 10 + i)
        for domain, counts in sizes.items()
        for place, (name, count) in enumerate(zip(("axe", "bed"), counts, strict=True))
        for i in range(count)
    ]
    table = pl.DataFrame(rows, ["id", "domain", "class_name", "position"], orient="row")
    world = World(
        ("clipart", "real", "sketch"), ("axe", "bed"), "real", ("real", "sketch", "clipart")
    )
    recipe = Recipe(
        SETTINGS["cg_high_diversity"], "sketch", ("bed",), Budget("published"), "caption", "d" * 64
    )
    mixture = build_mixture(build_pool(table, world), recipe)
    # budget 6 + 3 = 9, pool 14, factor 9/14: ceilings 2 2 | 3 2 | 2 = 11, two too many: one each
    # of real axe and real bed
    assert mixture.realised.tolist() == [[2, 2], [2, 1], [2, 0]]
    assert mixture.ids.to_list() == [
        *("clipartaxe0", "clipartaxe1", "clipartbed0", "clipartbed1"),
        *("realaxe0", "realaxe1", "realbed0", "sketchaxe0", "sketchaxe1"),
    ]
