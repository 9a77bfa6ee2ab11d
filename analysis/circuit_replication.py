"""The published sharing of circuits of a few classes, beside ours: from circuits to a table.

Kempf et al. 2025 compared held-out classes, of up to 50 images of a cell. The published algorithm
takes ten passes per kept channel, so that here they are few, and equally few in every run.

Legend: C classes, N nodes of a site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from analysis.cells import CellMeans
from analysis.circuit_sharing import circuit_sharing
from analysis.class_sets import ClassSet
from analysis.published_circuits import published_circuit_sharing
from analysis.replication import KEYS, PUBLISHED
from analysis.sites import ACTIVATIONS, Site
from gen.schema import SiteLevel

MOST_CLASSES = 6
"""held-out classes of a draw, at most: ours needs three for an interval, and each class takes the
whole algorithm once per domain"""
MOST_IMAGES = 4
"""of a cell, at most: every pass shows all of them, and effects are averaged over them"""
NODES = "circuit_node_jaccard"
NOT_OURS = "ours has no number of the same thing"
PLACE = ["measure", "site", "level", "depth", "domain_a", "domain_b"]


def compared_sets(class_sets: Sequence[ClassSet]) -> list[ClassSet]:
    """The held-out classes of every draw, of too many MOST_CLASSES: the same ones in every run."""
    held_out = [found for found in class_sets if found.name == "held_out"]
    return [found._replace(members=_some(found)) for found in held_out]


def _some(found: ClassSet) -> tuple[int, ...]:
    order = np.random.default_rng(found.draw).permutation(found.members)
    return tuple(sorted(int(c) for c in order[:MOST_CLASSES]))


def over_classes(
    by_class: Mapping[int, pl.DataFrame],
    sites: Sequence[Site],
    domains: Sequence[str],
    class_sets: Sequence[ClassSet],
) -> pl.DataFrame:
    """Published sharing of sets of classes, from that of every class alone.

    Args:
        by_class: `published_circuit_sharing` of each class of the sets, in every domain.
        sites, domains: of the circuits.
        class_sets: the sets.

    Returns:
        PUBLISHED, what `published_circuit_sharing` makes of the circuits themselves; `ours` is
        null.
    """
    tables = [published_circuit_sharing({}, sites, domains, []).clear()]
    for found in class_sets:
        if not found.members:
            tables.append(published_circuit_sharing({}, sites, domains, [found]))
            continue
        of_set = pl.concat(by_class[c] for c in found.members)
        means = of_set.group_by(PLACE, maintain_order=True).agg(
            pl.col("value").mean(),
            pl.col("n").sum(),
            pl.col("note").first(),
            pl.col("ours", "ours_lo", "ours_hi").first(),
        )
        named = means.with_columns(
            classes=pl.lit(found.name), draw=pl.lit(found.draw, dtype=pl.Int64)
        )
        tables.append(named.select(PUBLISHED.keys()))
    return pl.concat(tables)


def our_sharing(
    scores: CellMeans, sites: Sequence[Site], class_sets: Sequence[ClassSet], seed: int
) -> pl.DataFrame:
    """Our Jaccard of nodes at the published sites that are sites of ours, under their names.

    A block's output is what leaves the last of its activation functions.

    Args:
        scores: of the channels of a ResNet, [F, D, C, N] by site.
        sites: the published ones.
        class_sets: as of the published numbers.
        seed: of the shuffles behind chance.

    Returns:
        Rows of `circuit_sharing`, of measure NODES.
    """
    names = {site.name: _ours(site.name, scores) for site in sites}
    folds = {site: scores.folds[own] for site, own in names.items() if own}
    places = {site.name: (site.level, site.depth) for site in sites}
    table = circuit_sharing(replace(scores, folds=folds), class_sets, seed, places)
    here = pl.col("level") == SiteLevel.residual.value
    return table.filter(here, measure="jaccard").with_columns(measure=pl.lit(NODES))


def _ours(site: str, scores: CellMeans) -> str:
    """Our name of a published site; empty where we have none."""
    is_block = site.rpartition(".")[2].isdigit()  # the stem has a pooling behind its activations
    names = (site, *(f"{site}.{name}" for name in reversed(ACTIVATIONS) if is_block))
    return next((name for name in names if name in scores.folds), "")


def beside_ours(published: pl.DataFrame, ours: pl.DataFrame) -> pl.DataFrame:
    """Our number of the same site, pair and classes beside every published one.

    Args:
        published: `over_classes`.
        ours: `our_sharing` of the same class sets.

    Returns:
        PUBLISHED; `note` says why a number, an interval or ours is not there.
    """
    keys = ["measure", *KEYS]
    found = ours.select(*keys, ours="value", ours_lo="lo", ours_hi="hi", why="note")
    joined = published.drop("ours", "ours_lo", "ours_hi").join(
        found, on=keys, how="left", nulls_equal=True, maintain_order="left", validate="m:1"
    )
    why = pl.col("why").fill_null(NOT_OURS)
    note = pl.when(pl.col("note") == "").then(why).otherwise("note")
    return joined.with_columns(note=note).select(PUBLISHED.keys())


def not_published(domains: Sequence[str], class_sets: Sequence[ClassSet], why: str) -> pl.DataFrame:
    """The table of a model of which no circuits were published: `note` says why.

    Args:
        domains: names of the domains.
        class_sets: the sets.
        why: the reason.

    Returns:
        PUBLISHED, the rows of whole graphs without numbers.
    """
    return published_circuit_sharing({}, [], domains, class_sets).with_columns(note=pl.lit(why))
