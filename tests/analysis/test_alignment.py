"""A subspace that holds the class is found without the domain in which it is tried."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from planted_codes import DOMAINS, SETS, C, D, planted_pair

from analysis.alignment import alignment, fit_frame, random_frame
from analysis.effects import CAUSES


@pytest.fixture(scope="module")
def table():
    learning, learnt, bench = planted_pair()
    return alignment(learning, learnt, bench, bench.sites[1:2], ["sketch"], 0, ranks=(C,))


def value(table, quantity, control="", target="sketch"):
    rows = table.filter(quantity=quantity, control=control, target=target, classes="all")
    return rows["value"].item()


def test_every_subspace_has_a_row_per_domain_and_class_set(table):
    assert dict(table.schema) == CAUSES
    rows = table.filter(quantity="interchange_accuracy")
    assert rows.height == len(DOMAINS) * 3 * len(SETS)
    assert set(rows["source"]) == {"sketch"}
    assert set(rows["dose"]) == {float(C)}


def test_the_planted_subspace_is_found_and_holds_in_the_domain_left_out(table):
    for target in DOMAINS:
        assert value(table, "interchange_accuracy", target=target) > 0.9
        assert value(table, "kept_accuracy", target=target) > 0.9
    assert value(table, "margin_change") > 0.5


def test_controls_are_at_chance(table):
    for control in ("random", "random_labels"):
        assert value(table, "interchange_accuracy", control) < 0.4


def test_the_frame_is_orthonormal_and_lies_in_the_planted_units():
    learning, learnt, bench = planted_pair()
    start = random_frame(C, learnt.states["block1"].shape[-1], torch.Generator().manual_seed(0))
    rng = np.random.default_rng(0)
    frame = fit_frame(learning, learnt, bench.sites[1], 2, start, rng)
    assert torch.allclose(frame @ frame.T, torch.eye(C), atol=1e-5)
    planted = slice(D + D * C, D + D * C + C)
    assert (frame[:, planted] ** 2).sum() > 0.9 * (C - 1)
    assert (start[:, planted] ** 2).sum() < 0.4 * C


def test_no_image_of_the_domain_left_out_is_looked_at():
    learning, learnt, bench = planted_pair()
    changed = {site: values.clone() for site, values in learnt.states.items()}
    changed["block1"][learnt.places_N == 2] *= -3
    start = random_frame(2, changed["block1"].shape[-1], torch.Generator().manual_seed(0))
    frames = [
        fit_frame(learning, seen, bench.sites[1], 2, start, np.random.default_rng(0))
        for seen in (learnt, replace(learnt, states=changed))
    ]
    assert torch.equal(*frames)
    other = fit_frame(
        learning,
        replace(learnt, states=changed),
        bench.sites[1],
        0,
        start,
        np.random.default_rng(0),
    )
    assert not torch.allclose(other, frames[0], atol=1e-3)


def test_weights_are_left_as_they_were():
    learning, learnt, bench = planted_pair()
    alignment(learning, learnt, bench, bench.sites[1:2], ["sketch"], 0, ranks=(1,))
    for parameter in learning.learner.model.parameters():
        assert parameter.requires_grad
        assert parameter.grad is None
