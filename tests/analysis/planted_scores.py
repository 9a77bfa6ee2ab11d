"""Scores whose sharing between domains is known, and the rows of their tables."""

from __future__ import annotations

import numpy as np
from planted_networks import cells_of

from analysis.cells import CellMeans
from analysis.circuit_sharing import circuit_sharing
from analysis.class_sets import ClassSet
from gen.schema import SiteLevel

NUMBERS = ["value", "lo", "hi", "chance", "chance_lo", "chance_hi", "ceiling", "floor"]
F, D, C = 4, 3, 8
PLACES = {"one": (SiteLevel.channel, 0), "two": (SiteLevel.channel, 1)}


def every(classes):
    return [ClassSet("all", None, tuple(range(classes)))]


def sharing(folds, seed=0, **options):
    """The table of one site, of scores of folds [F, D, C, N] from five images each."""
    cells = cells_of({"one": folds})
    return circuit_sharing(cells, every(len(cells.classes)), seed, PLACES, **options)


def of(table, measure, site="one", pair=("real", "clipart")):
    """The row of a measure of two domains."""
    a, b = pair
    known = table.filter(measure=measure, site=site, domain_a=a, domain_b=b)
    (row,) = known.iter_rows(named=True)
    return row


def noisy(true, noise, seed=0):
    """Scores of folds [F, D, C, N] from true ones [D, C, N]."""
    rng = np.random.default_rng(seed)
    return true + noise * rng.normal(size=(F, *true.shape))


def planted(classes=C, nodes=180):
    """True scores of two domains that share 12 nodes of a class and have 6 each of their own."""
    rng = np.random.default_rng(0)
    true = np.zeros((2, classes, nodes))
    for c in range(classes):
        carriers = rng.permutation(nodes)[:24]
        true[0, c, carriers[:18]] = rng.uniform(1, 2, 18)
        true[1, c, carriers[6:]] = rng.uniform(1, 2, 18)
    return true


def scores():
    """Random scores at two sites that domains and classes have partly in common; uneven counts."""
    rng = np.random.default_rng(3)
    folds = {}
    for site, nodes in (("one", 20), ("two", 31)):
        true = rng.normal(size=nodes) + rng.normal(size=(C, nodes)) + rng.normal(size=(D, C, nodes))
        folds[site] = true + 0.7 * rng.normal(size=(F, D, C, nodes))
    counts = np.full((F, D, C), 3)
    counts[:2, 0, 2:5] += 1
    names = tuple(f"class {i}" for i in range(C))
    return CellMeans(folds, counts, ("real", "clipart", "sketch"), names)
