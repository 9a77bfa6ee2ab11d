"""After erasure no linear probe tells domains apart; what does not need the domain goes on."""

from __future__ import annotations

import polars as pl
import pytest
import torch
from planted_codes import DOMAINS, SETS, C, planted_pair
from sklearn.linear_model import LogisticRegression

from analysis.effects import CAUSES
from analysis.erasure import eraser, erasers, erasing, erasure, random_projection

UNITS, GROUPS = 20, 4
SEEN = (pl.col("source") != pl.col("target")) & (pl.col("control") == "")


@pytest.fixture(scope="module")
def states():
    """Four domains whose means are apart in a few directions of correlated states."""
    generator = torch.Generator().manual_seed(0)
    domains = torch.arange(400) % GROUPS
    mixing = torch.randn(UNITS, UNITS, generator=generator)
    centres = 2 * torch.randn(GROUPS, UNITS, generator=generator)
    noise = torch.randn(400, UNITS, generator=generator) @ mixing
    return noise + centres[domains] + 5, domains


@pytest.fixture(scope="module")
def table():
    _, learnt, bench = planted_pair()
    return erasure(bench, learnt, bench.sites, seed=0)


def probe(states, domains):
    return LogisticRegression(max_iter=2000).fit(states, domains).score(states, domains)


def covariance(states, domains):
    z = torch.nn.functional.one_hot(domains).double()
    x = states.double()
    return ((x - x.mean(dim=0)).T @ (z - z.mean(dim=0)) / len(x)).abs().max().item()


def test_erasure_leaves_no_covariance_and_the_probe_at_chance(states):
    x, domains = states
    erase = eraser(x, domains)
    assert erase.rank == GROUPS - 1
    assert covariance(x, domains) > 0.1
    assert covariance(erase(x), domains) < 1e-5
    assert probe(x, domains) > 0.8
    assert probe(erase(x), domains) < 1 / GROUPS + 0.05
    assert torch.allclose(erase(x).mean(dim=0), x.mean(dim=0), atol=1e-4)


def test_a_random_projection_of_equal_rank_leaves_the_probe_intact(states):
    x, domains = states
    control = random_projection(eraser(x, domains), torch.Generator().manual_seed(1))
    assert control.rank == GROUPS - 1
    assert probe(control(x), domains) > probe(x, domains) - 0.1
    once = control(x)
    assert torch.allclose(control(once), once, atol=1e-4)


def test_units_that_are_always_the_same_are_no_obstacle(states):
    x, domains = states
    wide = torch.cat([x, torch.zeros(len(x), 3), x[:, :2]], dim=1)
    assert covariance(eraser(wide, domains)(wide), domains) < 1e-4


def test_erasing_positions_erases_their_mean(states):
    x, domains = states
    erase = eraser(x, domains)
    maps = x[:, :, None, None] + torch.arange(9.0).reshape(1, 1, 3, 3)
    found = erasing([erase], 0)(maps)
    assert found.shape == maps.shape
    assert torch.allclose(found.mean(dim=(2, 3)), erase(maps.mean(dim=(2, 3))), atol=1e-4)
    tokens = maps.flatten(2).mT
    assert torch.allclose(erasing([erase], 0)(tokens), found.flatten(2).mT, atol=1e-4)
    other = random_projection(erase, torch.Generator().manual_seed(0))
    both = erasing([other, erase], 1)(tokens)
    assert torch.allclose(both[:, :1], other(tokens[:, :1]), atol=1e-4)
    assert torch.allclose(both[:, 1:], erase(tokens[:, 1:]), atol=1e-4)


def test_the_domain_that_is_left_out_is_not_fitted_on():
    _, learnt, _ = planted_pair()
    (fitted,) = erasers(learnt, "stem", left_out=1)
    assert fitted.rank == len(DOMAINS) - 2
    assert fitted.bias_U[1] == 0  # the unit that fires in images of that domain alone


def test_an_unread_domain_is_erased_without_loss_and_a_read_one_is_not(table):
    assert dict(table.schema) == CAUSES
    accuracy = table.filter(quantity="accuracy", classes="all")
    assert accuracy.height == 3 * 3 * 2 * 3 * 2
    assert set(accuracy.filter(dose=0)["value"]) == {1.0}
    erased = accuracy.filter(SEEN, dose=1)
    assert erased.filter(site="block1")["value"].min() == 1
    assert erased.filter(site="stem")["value"].max() < 0.7
    assert set(accuracy["chance"]) == {1 / C}


def test_what_is_lost_is_told_per_class_set_and_beside_a_random_projection(table):
    loss = table.filter(quantity="margin_loss", dose=1)
    assert loss.height == 3 * 3 * 2 * 3 * len(SETS)
    real = loss.filter(SEEN, site="stem")["value"].mean()
    assert real > 2 * loss.filter(site="stem", control="random")["value"].mean()
