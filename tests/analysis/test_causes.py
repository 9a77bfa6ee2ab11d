"""All tests of one model: each on its own few images and sites, the same for every model."""

from __future__ import annotations

import pytest
from planted_codes import CPU, DOMAINS, SETS, C, planted_bench, planted_codes

from analysis.causes import CAUSES, PER_CELL, Causes


@pytest.fixture(scope="module")
def causes():
    training, tested = planted_codes(4, seed=1), planted_codes(6, seed=0)
    bench = planted_bench(tested)
    return Causes(bench.learner, bench.readout, training, tested, DOMAINS, SETS, CPU, seed=0)


@pytest.mark.parametrize(
    ("test", "sites"),
    [
        ("interchange", {"stem", "block1", "embedding"}),
        ("steering", {"stem", "block1"}),
        ("erasure", {"stem", "block1", "embedding"}),
    ],
)
def test_every_test_has_its_sites_and_images(causes, test, sites):
    assert {site.name for site in causes.sites[test]} == sites
    for site in causes.sites[test]:
        table = causes.at(test, site)
        assert dict(table.schema) == CAUSES
        assert (set(table["test"]), set(table["site"])) == ({test}, {site.name})
        whole = table.filter(classes="all")
        assert set(whole["n"]) == {C * PER_CELL[test]}
        assert table.equals(causes.at(test, site))  # nothing is left to chance but by the seed


def test_alignment_is_at_the_last_inner_site_or_at_the_one_named(causes, monkeypatch):
    monkeypatch.setattr("analysis.alignment.STEPS", 2)
    last = causes.alignment(["sketch"])
    assert set(last["site"]) == {"block1"}
    assert set(last["target"]) == set(DOMAINS)
    named = causes.alignment(["sketch"], "stem")
    assert set(named["site"]) == {"stem"}
