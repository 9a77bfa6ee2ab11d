"""Whether domains share the nodes, or edges, that carry a class (docs/circuit_sharing.md).

Legend: F folds, P pairings of halves, D domains, C classes, N nodes, K pairs of domains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

from analysis.cells import CellMeans
from analysis.circuit_shift import circuit_shift
from analysis.class_sets import ClassSet
from analysis.domain_similarity import NO_INTERVAL, SIMILARITY
from analysis.jackknife import LEAST
from analysis.overlaps import OVERLAPS, TOP, Parts, node_orders
from analysis.similarity import MIN_CLASSES
from analysis.site_overlaps import CORRECTED, Floor, Sharing, SiteOverlaps
from gen.schema import SiteLevel

SHIFT = "css"
BASES = (*OVERLAPS, CORRECTED)
NORMALISED = {base: f"{base}_norm" for base in BASES}
MEASURES = (*BASES, *NORMALISED.values())
"""at every site, the rows' order; SHIFT comes after them where all sites are together"""
NO_CLASS = "no class of this set has scores"
EVEN = "no interval: the same in all classes, which tell of no spread"
ALONE = "no floor: there is no other class"
ROUNDING = 1e-12


def circuit_sharing(
    scores: CellMeans,
    class_sets: Sequence[ClassSet],
    seed: int,
    places: Mapping[str, tuple[SiteLevel, int]] | Mapping[str, tuple[str, int]],
    level: str | None = None,
    top: float = TOP,
    floor: Floor = "same_domain",
) -> pl.DataFrame:
    """Every overlap of every pair of domains, at every site and for every set of classes.

    Args:
        scores: what every node contributes to a class, as cell means in folds: [F, D, C, N] by
            site. Of edges a site is the branch that they lead to, and N counts their sources.
        class_sets: the sets of classes.
        seed: of the shuffles behind chance.
        places: level and depth by site.
        level: of all sites, in the place of those (`edge`).
        top: share of a site's nodes that make its set.
        floor: whose other classes make the floor: those of the same domain, or of the other one.

    Returns:
        The columns `analysis.domain_similarity.SIMILARITY`: by class set and site a row of every
        measure of MEASURES for every pair of domains. After the sites come all of them side by
        side, with SHIFT: their site and level are `nodes`, or that of `level` in the plural, their
        depth is null. A number that cannot be estimated is null, and `note` says why; SHIFT has no
        floor. `left_out` holds the value without every class, in the order of the class set; null
        where there is none.
    """
    together = f"{level or 'node'}s"
    halves = {site: _halves(scores, site) for site in scores.folds}
    parts = {site: Parts((values.shape[-1],), top) for site, values in halves.items()}
    halves[together] = np.concatenate(list(halves.values()), axis=-1)
    parts[together] = Parts(tuple(part.nodes[0] for part in parts.values()), top)
    overlaps = {site: SiteOverlaps(halves[site], parts[site], seed, floor) for site in halves}
    means_DCN = np.concatenate([scores.means(site) for site in scores.folds], axis=-1)
    orders_SN = node_orders(parts[together], seed)
    rows: list[dict[str, Any]] = []
    for chosen in class_sets:
        members = list(chosen.members)
        for site, found in overlaps.items():
            key = _place(site, together, places, level)
            key |= {"draw": chosen.draw, "classes": chosen.name, "n": len(members)}
            sharings = _sharings(found, members)
            if site == together:
                sharings[SHIFT] = _shift(means_DCN, halves[site], orders_SN, members)
            for measure, sharing in sharings.items():
                rows += [
                    key | {"measure": measure} | row
                    for row in _rows(sharing, scores.domains, len(members))
                ]
    return pl.DataFrame(rows, schema=SIMILARITY)


def _halves(scores: CellMeans, site: str) -> np.ndarray:
    """Scores over the images of the halves of every pairing, [P, 2, D, C, N]."""
    return np.stack([np.stack(pair) for pair in scores.halves(site)])


def _place(
    site: str,
    together: str,
    places: Mapping[str, tuple[SiteLevel, int]] | Mapping[str, tuple[str, int]],
    level: str | None,
) -> dict[str, Any]:
    """The columns that say where; all sites together have a level of their own, and no depth."""
    if site == together:
        return {"site": together, "level": together, "depth": None}
    own, depth = places[site]
    name = own.value if isinstance(own, SiteLevel) else own
    return {"site": site, "level": level or name, "depth": depth}


def _sharings(found: SiteOverlaps, members: Sequence[int]) -> dict[str, Sharing | str]:
    """Every measure of MEASURES for some classes, or why there is none."""
    sharings: dict[str, Sharing] = {}
    why = f"{len(members)} classes, fewer than {MIN_CLASSES}" if members else NO_CLASS
    if members:
        sharings = {measure: found.plain(measure, members) for measure in OVERLAPS}
    if len(members) >= MIN_CLASSES:
        sharings[CORRECTED] = found.corrected(members)
        sharings |= {NORMALISED[base]: sharings[base].normalised() for base in BASES}
    return {measure: sharings.get(measure, why) for measure in MEASURES}


def _shift(
    means_DCN: np.ndarray, halves_P2DCN: np.ndarray, orders_SN: np.ndarray, members: list[int]
) -> Sharing | str:
    """SHIFT for some classes, or why there is none."""
    if not members:
        return NO_CLASS
    return circuit_shift(means_DCN[:, members], halves_P2DCN[..., members, :], orders_SN)


def _rows(sharing: Sharing | str, domains: Sequence[str], classes: int) -> Iterator[dict[str, Any]]:
    """A row for every pair of domains."""
    if isinstance(sharing, str):
        for a, b in combinations(domains, 2):
            yield {"domain_a": a, "domain_b": b, "note": sharing}
        return
    lo, hi = sharing.value.interval()
    is_even = sharing.value.error < ROUNDING
    below, above = sharing.chance_band
    numbers = {
        **{"value": sharing.value.value, "floor": sharing.floor.value},
        **{"lo": np.where(is_even, np.nan, lo), "hi": np.where(is_even, np.nan, hi)},
        **{"chance": sharing.chance, "chance_lo": below, "chance_hi": above},
        "ceiling": sharing.ceiling.value,
    }
    for pair, (a, b) in enumerate(combinations(domains, 2)):
        row: dict[str, Any] = {"domain_a": a, "domain_b": b}
        if np.isnan(numbers["value"][pair]):
            names = [name for name, out in zip(domains, sharing.unfit[pair], strict=True) if out]
            yield row | {"note": sharing.reasons[pair].format(" and ".join(names))}
            continue
        left_out = sharing.value.left_out[pair]
        row |= {name: _number(values[pair]) for name, values in numbers.items()}
        row["left_out"] = None if np.isnan(left_out).any() else left_out.tolist()
        yield row | {"note": _note(row, classes, is_even=bool(is_even[pair]))}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _note(row: Mapping[str, Any], classes: int, *, is_even: bool) -> str:
    """Why a row with a value has no interval, or no floor; empty where it has both."""
    if classes < LEAST:
        why = f"no interval: {classes} classes, fewer than {LEAST}"
        return f"{why}; {ALONE}" if classes == 1 else why
    if row["lo"] is None:
        return EVEN if is_even else NO_INTERVAL
    return ""
