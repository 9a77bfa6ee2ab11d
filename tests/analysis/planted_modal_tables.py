"""The tables of a planted run's images and words, with known answers."""

from __future__ import annotations

from itertools import combinations, product

import polars as pl
from planted_sharing import DIVERSE, HALF, pattern
from planted_tables import CLASSES, DOMAINS, SITES, planted_setting

from analysis.modal_cells import TEXT
from analysis.modality_sharing import NO_BASIS, RELATIVE, UNTRAINED
from analysis.report.schemas import CIRCUIT_SHARING, MAP_DISTANCES
from analysis.report.study_plan import PlannedRun, StudyPlan

TWO_TOWERS = "two"
"""what the arm of a planted study with two towers begins with; all others have one"""
NODE_SITES = (("block1.neurons", "neuron", 0), ("block2.neurons", "neuron", 1))
LAST = len(SITES) - 1
FEWEST = 5
GAPS = {"one": 2.0, "two": 3.0}
"""distance over spread of images and sentences; 1 more before training, 0.5 of images"""


def has_one(plan: StudyPlan) -> bool:
    return not plan.arm.startswith(TWO_TOWERS)


def modality_sharing_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/modality_sharing.parquet: 0.1 at the first site, 0.1 more at each, 0.05 more of
    diverse settings, 0.1 less of a test domain's images, 0.1 less of two towers."""
    rows = []
    diverse = planted_setting(run.setting) in DIVERSE
    for (depth, site), domain, (classes, draw, n) in product(
        enumerate(SITES), DOMAINS, _sets(plan, run)
    ):
        value = 0.1 + 0.1 * depth + 0.05 * diverse - 0.1 * (domain in run.test_domains)
        value -= 0.1 * (not has_one(plan))
        key = {"site": site, "level": "residual", "depth": depth, "domain_a": domain}
        key |= {"domain_b": TEXT, "classes": classes, "draw": draw, "n": n}
        band = {"chance": 0.0, "chance_lo": -0.05, "chance_hi": 0.05, "ceiling": 1.0, "floor": 0.02}
        rows.append(_row(key | {"measure": "cka_nc"}, value, run, band))
        if has_one(plan) or depth == LAST:
            rows.append(_row(key | {"measure": "s_id_nc"}, value / 2, run, band))
        else:
            rows.append(key | {"measure": "s_id_nc", "note": NO_BASIS})
    places = [*NODE_SITES, ("nodes", "nodes", None)] if has_one(plan) else []
    for (site, level, depth), domain, (classes, draw, n) in product(
        places, DOMAINS, _sets(plan, run)
    ):
        key = {"site": site, "level": level, "depth": depth, "domain_a": domain}
        key |= {"domain_b": TEXT, "classes": classes, "draw": draw, "n": n}
        band = {"chance": 0.05, "chance_lo": 0.03, "chance_hi": 0.07}
        raw, scaled = {"ceiling": 0.6, "floor": 0.1}, {"ceiling": 1.0, "floor": 0.0}
        rows.append(_row(key | {"measure": "jaccard"}, 0.35, run, band | raw))
        rows.append(_row(key | {"measure": "jaccard_norm"}, 0.5, run, band | scaled))
    return pl.DataFrame(rows, schema=CIRCUIT_SHARING)


def _sets(plan: StudyPlan, run: PlannedRun) -> list[tuple[str, int | None, int]]:
    found: list[tuple[str, int | None, int]] = [("all", None, len(CLASSES))]
    for draw in run.draws:
        held_out = len(plan.draws[draw])
        found += [("seen", draw, len(CLASSES) - held_out), ("held_out", draw, held_out)]
    return found


def _row(key: dict, value: float, run: PlannedRun, band: dict) -> dict:
    n = key["n"]
    if n < FEWEST:
        return key | {"note": f"{n} classes, fewer than {FEWEST}"}
    half = HALF * (len(CLASSES) / n) ** 0.5
    left_out = [value + half * x for x in pattern(run.setting, n)]
    ends = {"value": value, "lo": value - half, "hi": value + half, "left_out": left_out}
    return key | ends | band | {"note": ""}


def modality_gaps_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/modality_gaps.parquet: GAPS at all sites, of two towers at the embedding alone."""
    gap, rows = GAPS["one" if has_one(plan) else "two"], []
    for (depth, site), (a, b) in product(enumerate(SITES), combinations((*DOMAINS, TEXT), 2)):
        key = {"site": site, "level": "residual", "depth": depth, "domain_a": a, "domain_b": b}
        if b != TEXT:
            rows.append(_far(key | {"quantity": RELATIVE}, gap / 2))
        elif has_one(plan) or depth == LAST:
            rows.append(_far(key | {"quantity": RELATIVE}, gap))
            rows.append(_far(key | {"quantity": UNTRAINED}, gap + 1))
        else:
            rows += [
                key | {"quantity": quantity, "n": len(CLASSES), "note": NO_BASIS}
                for quantity in (RELATIVE, UNTRAINED)
            ]
    key = {"site": SITES[-1], "level": "residual", "depth": LAST, "quantity": "modality_gap"}
    rows += [_far(key | {"domain_a": domain}, 0.2 * gap) for domain in DOMAINS]
    return pl.DataFrame(rows, schema=MAP_DISTANCES)


def _far(key: dict, value: float) -> dict:
    ends = {"value": value, "lo": value - HALF, "hi": value + HALF}
    return key | ends | {"n": len(CLASSES), "note": ""}


PLANTERS = {"modality_sharing": modality_sharing_of, "modality_gaps": modality_gaps_of}
"""by name of the table"""
FAMILIES = ("modalities",)
"""of analyses that write these tables"""
