"""Means that lie along the same directions are told from means of one narrow layer."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.subspaces import leading, random_cosines, subspace_overlap

D, C, U, PER_CELL = 4, 60, 40, 3


def overlap(seed, deviations, classes=None):
    """Class and domain means of independent directions, all with these deviations per unit."""
    rng = np.random.default_rng(seed)
    classes = rng.normal(size=(C, U)) * deviations if classes is None else classes
    cells = classes + (rng.normal(size=(D, U)) * deviations)[:, None]
    rest = rng.normal(size=(2, D, C, PER_CELL, U)) * deviations
    means = cells + rest.mean(axis=3)
    centred = (rest - rest.mean(axis=3, keepdims=True)).reshape(-1, U)
    return list(subspace_overlap(*means, centred, rng))


@pytest.mark.parametrize("decay", [np.inf, 8.0])
def test_means_that_are_drawn_apart_from_each_other_lie_inside_the_band(decay):
    """Also in a layer with a few large directions, which the leading ones of any means share."""
    deviations = np.exp(-np.arange(U) / decay)
    inside = []
    for seed in range(60):
        for found in overlap(seed, deviations):
            inside.append(found["chance_lo"] <= found["value"] <= found["chance_hi"])
    for share in np.mean(np.reshape(inside, (-1, 2)), axis=0):
        assert share >= 0.9


def test_chance_is_made_of_as_many_vectors_as_there_are_means():
    """Many vectors show the largest directions of a layer, a few show chance ones."""
    rest = np.random.default_rng(0).normal(size=(2000, U)) * np.exp(-np.arange(U) / 8)
    rng = np.random.default_rng(1)
    many, few = (random_cosines(rest, (size, size), 3, rng).mean() for size in (2000, 4))
    assert many > 0.95
    assert few < 0.6


@pytest.mark.parametrize("vectors", [6, 30])
def test_leading_directions_are_those_of_a_singular_value_decomposition(vectors):
    x = np.random.default_rng(0).normal(size=(vectors, 12))
    found = leading(x, 4)
    expected = np.linalg.svd(x - x.mean(axis=0))[2][:4]
    assert np.allclose(found @ found.T, np.eye(4))
    assert np.allclose(np.abs(found @ expected.T), np.eye(4), atol=1e-8)


def test_means_that_do_not_differ_have_no_directions():
    assert leading(np.full((5, 8), 0.1), 3).shape == (0, 8)
    still = np.ones((D, C, U))
    rest = np.random.default_rng(0).normal(size=(50, U))
    for row in subspace_overlap(still, still, rest, np.random.default_rng(0)):
        assert row["value"] is None
        assert row["note"] == "the means of classes or of domains do not differ"


def test_intervals_cover_the_mean_over_draws_of_as_many_classes(monkeypatch):
    """Domains stay; classes, whose largest directions are partly those of domains, are drawn."""
    monkeypatch.setattr("analysis.subspaces.RANDOM_SUBSPACES", 1)  # chance is not asked here
    deviations = np.exp(-np.arange(U) / 8)
    rows = []
    for seed in range(60):
        found = overlap_of_fixed_domains(seed, deviations)
        rows.append((found["value"], found["lo"], found["hi"]))
    values, lo, hi = np.array(rows).T
    assert np.mean((lo <= values.mean()) & (values.mean() <= hi)) >= 0.85


def overlap_of_fixed_domains(seed, deviations):
    domains = np.random.default_rng(0).normal(size=(D, U)) * deviations
    rng = np.random.default_rng(1000 + seed)
    cells = (rng.normal(size=(C, U)) * deviations) + domains[:, None]
    means = cells + 0.3 * rng.normal(size=(2, D, C, U)) * deviations
    rest = rng.normal(size=(200, U)) * deviations
    return next(subspace_overlap(*means, rest, rng))
