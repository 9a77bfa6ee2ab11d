"""How alike the domains look to every site of one model (docs/similarity.md).

Legend: D domains, C classes, N pairs of domains, S shuffles.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from analysis.cells import CellMeans
from analysis.class_sets import ClassSet
from analysis.class_shuffles import band
from analysis.domain_scores import CONSTANT, MEASURES, Scores, SiteClasses
from analysis.similarity import MIN_CLASSES, log_participation_ratio
from gen.schema import SiteLevel

DIMENSIONS = "participation_ratio"
"""the one measure of a single domain"""
ALL_MEASURES = (*MEASURES, DIMENSIONS)
KEYS = ["site", "level", "depth", "domain_a", "domain_b", "measure", "draw", "classes"]
SIMILARITY: dict[str, type[pl.DataType] | pl.DataType] = {
    **{"site": pl.String, "level": pl.String, "depth": pl.Int64, "domain_a": pl.String},
    **{"domain_b": pl.String, "measure": pl.String, "draw": pl.Int64, "classes": pl.String},
    **{"value": pl.Float64, "lo": pl.Float64, "hi": pl.Float64, "n": pl.Int64},
    **{"chance": pl.Float64, "chance_lo": pl.Float64, "chance_hi": pl.Float64},
    **{"ceiling": pl.Float64, "floor": pl.Float64, "note": pl.String},
    "left_out": pl.List(pl.Float32),  # only differences of them count, to two digits
}
UNTRAINED = "untrained network: "
NO_INTERVAL = "no interval: without some class there is no value"


def domain_similarity(
    cells: CellMeans,
    class_sets: Sequence[ClassSet],
    seed: int | None = 0,
    measures: Sequence[str] = ALL_MEASURES,
    floor: pl.DataFrame | None = None,
    places: Mapping[str, tuple[SiteLevel, int]] | None = None,
) -> pl.DataFrame:
    """Every measure of every pair of domains, at every site and for every set of classes.

    Args:
        cells: class means of one model, in folds.
        class_sets: the sets of classes.
        seed: of the shuffles behind chance; None: chance is not asked, and null.
        measures: out of ALL_MEASURES, the rows' order; what is left out costs nothing.
        floor: this function's table of the untrained network; None: there is none.
        places: level and depth by site; None: all sites are residual, in the order of `cells`.

    Returns:
        The columns SIMILARITY. A number that cannot be estimated is null, and `note` says why.
        `left_out` holds the value without every class, in the order of the class set; null where
        there is no interval, and for a measure of one domain.
    """
    if places is None:
        places = {site: (SiteLevel.residual, depth) for depth, site in enumerate(cells.folds)}
    rows: list[dict[str, Any]] = []
    for chosen in class_sets:
        part = cells.of_classes(chosen.members)
        for site in cells.folds:
            level, depth = places[site]
            key: dict[str, Any] = {"site": site, "level": level.value, "depth": depth}
            key |= {"draw": chosen.draw, "classes": chosen.name, "n": len(chosen.members)}
            rows += [key | row for row in _rows(part, site, measures, seed)]
    return _with_floor(pl.DataFrame(rows, schema=SIMILARITY), floor)


def _with_floor(table: pl.DataFrame, floor: pl.DataFrame | None) -> pl.DataFrame:
    """The values of an untrained network as the column `floor`; `note` says why one is missing."""
    if floor is None:
        return table
    values = floor.select(*KEYS, floor="value", why=UNTRAINED + pl.col("note"))
    joined = table.drop("floor").join(
        values, on=KEYS, how="left", nulls_equal=True, maintain_order="left", validate="1:1"
    )
    is_missing = pl.all_horizontal(pl.col("value", "why").is_not_null(), pl.col("floor").is_null())
    told = (
        pl.when(pl.col("note") == "").then("why").otherwise(pl.col("note") + "; " + pl.col("why"))
    )
    return joined.with_columns(note=pl.when(is_missing).then(told).otherwise("note")).select(
        list(SIMILARITY)
    )


def _rows(
    cells: CellMeans, site: str, measures: Sequence[str], seed: int | None
) -> Iterator[dict[str, Any]]:
    if len(cells.classes) < MIN_CLASSES:
        yield from _empty_rows(cells.domains, measures, len(cells.classes))
        return
    shared = SiteClasses(cells, site, seed)
    for measure in measures:
        if measure == DIMENSIONS:
            yield from _dimensions(shared.means_DCU, cells.domains)
        else:
            yield from _pair_rows(MEASURES[measure](shared), measure, cells.domains)


def _empty_rows(
    domains: Sequence[str], measures: Sequence[str], count: int
) -> Iterator[dict[str, Any]]:
    note = f"{count} classes, fewer than {MIN_CLASSES}"
    for measure in measures:
        pairs = (
            zip(domains, domains, strict=True)
            if measure == DIMENSIONS
            else combinations(domains, 2)
        )
        for a, b in pairs:
            yield {"domain_a": a, "domain_b": b, "measure": measure, "note": note}


def _pair_rows(scores: Scores, measure: str, domains: Sequence[str]) -> Iterator[dict[str, Any]]:
    lo, hi = scores.found.interval()
    numbers = {"value": scores.found.value, "lo": lo, "hi": hi, "ceiling": scores.ceiling}
    if len(scores.chance):
        below, above = band(scores.chance)
        numbers |= {"chance": scores.chance.mean(axis=0), "chance_lo": below, "chance_hi": above}
    for pair, (a, b) in enumerate(combinations(range(len(domains)), 2)):
        names = [domains[d] for d in (a, b) if scores.unfit[d]]
        yield {
            "domain_a": domains[a],
            "domain_b": domains[b],
            "measure": measure,
            **{name: _number(values[pair]) for name, values in numbers.items()},
            "note": _note(numbers["value"][pair], lo[pair], scores.reason, names),
            "left_out": None if np.isnan(lo[pair]) else scores.found.left_out[pair].tolist(),
        }


def _dimensions(means_DCU: np.ndarray, domains: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The participation ratio of every domain; its interval is that of the logarithm."""
    found = log_participation_ratio(means_DCU)
    lo, hi = found.interval()
    for domain, value, low, high in zip(domains, found.value, lo, hi, strict=True):
        numbers = {"value": np.exp(value), "lo": np.exp(low), "hi": np.exp(high)}
        yield {
            "domain_a": domain,
            "domain_b": domain,
            "measure": DIMENSIONS,
            **{name: _number(number) for name, number in numbers.items()},
            "note": _note(value, low, CONSTANT, [domain]),
        }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _note(value: float, lo: float, reason: str, domains: Sequence[str]) -> str:
    """Why a number is missing; nothing where none is."""
    if np.isnan(value):
        return reason.format(" and ".join(domains))
    return NO_INTERVAL if np.isnan(lo) else ""
