"""Every number of a table of sharing is what a plain loop over classes makes of the scores."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import polars as pl
import pytest
from planted_scores import PLACES, C, D, every, of, scores
from scipy.stats import spearmanr
from scipy.stats import t as student

from analysis.circuit_sharing import BASES, MEASURES, NORMALISED, SHIFT, circuit_sharing
from analysis.class_sets import ClassSet


@pytest.fixture(scope="module")
def cells():
    return scores()


@pytest.fixture(scope="module")
def table(cells):
    return circuit_sharing(cells, every(C), 0, PLACES)


def sets_of(scores, sizes, top=0.1):
    """Positions of the largest tenth of every site."""
    start, found = 0, set()
    for nodes in sizes:
        part = np.abs(scores[start : start + nodes])
        kept = int(np.ceil(round(top * nodes, 9)))
        found |= {start + int(i) for i in np.argsort(-part)[:kept]}
        start += nodes
    return found


def loop_jaccard(a, b, sizes):
    one, other = sets_of(a, sizes), sets_of(b, sizes)
    return len(one & other) / len(one | other)


def loop_weighted(a, b, _):
    a, b = a / np.abs(a).sum(), b / np.abs(b).sum()
    least = [min(abs(x), abs(y)) if x * y > 0 else 0.0 for x, y in zip(a, b, strict=True)]
    most = [
        max(abs(x), abs(y)) if x * y > 0 else abs(x) + abs(y) for x, y in zip(a, b, strict=True)
    ]
    return sum(least) / sum(most)


LOOPS = {
    "jaccard": loop_jaccard,
    "weighted_jaccard": loop_weighted,
    "spearman": lambda a, b, _: spearmanr(a, b).statistic,
    "cosine": lambda a, b, _: a @ b / np.linalg.norm(a) / np.linalg.norm(b),
}


def side_by_side(cells, site):
    """Halves of every pairing [D, C, N] twice, and the nodes of the sites in them."""
    sites = list(cells.folds) if site == "nodes" else [site]
    pairings = zip(*(cells.halves(one) for one in sites), strict=True)
    halves = [
        [np.concatenate([pair[side] for pair in pairing], axis=-1) for side in (0, 1)]
        for pairing in pairings
    ]
    return halves, [cells.folds[one].shape[-1] for one in sites]


@pytest.mark.parametrize("site", ["one", "two", "nodes"])
@pytest.mark.parametrize("measure", LOOPS)
def test_value_floor_and_ceiling_are_those_of_a_loop_over_classes(cells, table, measure, site):
    halves, sizes = side_by_side(cells, site)

    @cache
    def mean(a, b, same):
        """Of classes of two domains: the same ones, or different ones."""
        found = [
            LOOPS[measure](first[a][i], second[b][j], sizes)
            for first, second in halves
            for i in range(C)
            for j in range(C)
            if (i == j) == same
        ]
        return np.mean(found)

    for a, b in ((0, 2), (1, 2)):
        row = of(table, measure, site, (cells.domains[a], cells.domains[b]))
        assert row["value"] == pytest.approx((mean(a, b, True) + mean(b, a, True)) / 2)
        assert row["ceiling"] == pytest.approx((mean(a, a, True) + mean(b, b, True)) / 2)
        assert row["floor"] == pytest.approx((mean(a, a, False) + mean(b, b, False)) / 2)


@pytest.mark.parametrize("site", ["one", "nodes"])
def test_the_corrected_cosine_divides_by_what_halves_have_in_common(cells, table, site):
    halves, _ = side_by_side(cells, site)

    def total(a, b, shift=0):
        return np.mean(
            [(first[a] * np.roll(second[b], shift, axis=0)).sum() for first, second in halves]
        )

    for a, b in combinations(range(D), 2):
        row = of(table, "cosine_nc", site, (cells.domains[a], cells.domains[b]))
        across = (total(a, b) + total(b, a)) / 2
        assert row["value"] == pytest.approx(across / np.sqrt(total(a, a) * total(b, b)))
        others = [np.mean([total(d, d, i) for i in range(1, C)]) / total(d, d) for d in (a, b)]
        assert row["floor"] == pytest.approx(np.mean(others))
        assert row["ceiling"] == 1


def test_the_shift_score_is_the_rank_correlation_of_what_domains_hold_in_the_mean(cells, table):
    whole = np.concatenate([cells.means(site) for site in cells.folds], axis=-1).mean(axis=1)
    halves, _ = side_by_side(cells, "nodes")
    for a, b in combinations(range(D), 2):
        row = of(table, SHIFT, "nodes", (cells.domains[a], cells.domains[b]))
        assert row["value"] == pytest.approx(spearmanr(whole[a], whole[b]).statistic)
        ceilings = [
            spearmanr(first[d].mean(axis=0), second[d].mean(axis=0)).statistic
            for first, second in halves
            for d in (a, b)
        ]
        assert row["ceiling"] == pytest.approx(np.mean(ceilings))
        assert row["floor"] is None
        assert row["note"] == ""


@pytest.mark.parametrize("base", BASES)
def test_normalised_rows_are_ratios_of_what_stands_above_the_floor(table, base):
    for site in ("one", "two", "nodes"):
        raw, row = of(table, base, site), of(table, NORMALISED[base], site)
        if row["value"] is None:
            continue
        span = raw["ceiling"] - raw["floor"]
        for name in ("value", "chance", "chance_lo", "chance_hi", "floor", "ceiling"):
            assert row[name] == pytest.approx((raw[name] - raw["floor"]) / span)


def test_values_without_single_classes_are_those_of_all_other_classes(cells, table):
    others = [ClassSet("all", None, tuple(i for i in range(C) if i != 3))]
    without = circuit_sharing(cells, others, 0, PLACES)
    known = table.filter(pl.col("left_out").is_not_null())
    assert set(known["measure"]) == {*MEASURES, SHIFT}
    for row in known.iter_rows(named=True):
        left_out = np.array(row["left_out"])
        pair = row["domain_a"], row["domain_b"]
        expected = of(without, row["measure"], row["site"], pair)["value"]
        if expected is not None:  # with a class less a ratio may be refused
            assert left_out[3] == pytest.approx(expected, abs=1e-6)
        error = np.sqrt((C - 1) / C * ((left_out - left_out.mean()) ** 2).sum())
        half = student.ppf(0.975, C - 1) * error
        assert row["hi"] - row["value"] == pytest.approx(half, rel=1e-4, abs=1e-5)
        assert row["value"] - row["lo"] == pytest.approx(half, rel=1e-4, abs=1e-5)
