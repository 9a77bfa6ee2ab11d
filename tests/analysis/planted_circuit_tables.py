"""The tables of a planted run's circuits and causes, with known answers."""

from __future__ import annotations

from functools import cache
from itertools import combinations, pairwise, product

import polars as pl
from planted_sharing import DIVERSE, HALF, pattern
from planted_tables import CLASSES, DOMAINS, SITES, planted_setting

from analysis.faithfulness_curves import ENOUGH, SHARES
from analysis.report.schemas import (
    ATTRIBUTION_QUALITY,
    CAUSES,
    CIRCUIT_PARTS,
    CIRCUIT_SHARING,
    FAITHFULNESS,
)
from analysis.report.study_plan import PlannedRun, StudyPlan

CHANNELS = ("stem.act", "layer1.act", "layer2.act", "layer3.act")
BRANCHES = ("layer2.main", "layer3.main")
PLACES = [
    *((site, "channel", depth) for depth, site in enumerate(CHANNELS)),
    ("nodes", "nodes", None),
    *((site, "edge", depth) for depth, site in enumerate(BRANCHES)),
    ("edges", "edges", None),
]
FLOOR, CEILING = 0.1, 0.6
"""of the Jaccard index"""
TENTH = 0.3
"""Jaccard index of pairs without a test domain, at the first site; 0.03 more at each"""
FEWEST = 3
"""classes below which there is no interval"""
EDGES = 0.5
"""of what nodes carry"""
UNITS = 64
"""nodes of a site"""
SIZE = 0.1
"""of the nodes with which a domain's own reach ENOUGH, in all settings but POOR"""
POOR = "natural_only"
"""its nodes carry at most a half: there is no circuit"""
REMOVED = (0.01, 0.1, 0.5)
CHANCE = 1 / len(CLASSES)


class Target:
    """What the tables of a run depend on."""

    def __init__(self, run: PlannedRun, plan: StudyPlan) -> None:
        self.setting = planted_setting(run.setting)
        self.tests = tuple(run.test_domains)
        draws = [(draw, len(plan.draws[draw])) for draw in run.draws]
        self.sets = (
            ("all", None, len(CLASSES)),
            *(("seen", draw, len(CLASSES) - n) for draw, n in draws),
            *(("held_out", draw, n) for draw, n in draws),
        )
        self.held_out = tuple(plan.draws[run.draws[0]])

    @property
    def key(self) -> tuple:
        return self.setting, self.tests, self.sets, self.held_out


def circuit_sharing_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/circuit_sharing.parquet: 0.1 less of pairs with a test domain, 0.05 more of diverse
    settings; held-out classes share as other classes do."""
    return _sharing(*Target(run, plan).key[:3])


@cache
def _sharing(setting: str, tests: tuple, sets: tuple) -> pl.DataFrame:
    rows = []
    more = 0.05 * (setting in DIVERSE)
    for (site, level, depth), (a, b), (classes, draw, n) in product(
        PLACES, combinations(DOMAINS, 2), sets
    ):
        raw = TENTH + more + 0.03 * (2 if depth is None else depth) - 0.1 * bool({a, b} & {*tests})
        raw = FLOOR if classes == "held_out" else raw
        place = {"site": site, "level": level, "depth": depth, "domain_a": a, "domain_b": b}
        place |= {"classes": classes, "draw": draw, "n": n}
        half = 0.2 * HALF * (len(CLASSES) / n) ** 0.5
        spread = [half * x for x in pattern(setting, n)]
        band = {"chance": 0.05, "chance_lo": 0.03, "chance_hi": 0.08}
        span = CEILING - FLOOR
        rows.append(_measured(place, "jaccard", raw, spread, half) | band | _ends(FLOOR, CEILING))
        scaled, wide = (raw - FLOOR) / span, [x / span for x in spread]
        rows.append(_measured(place, "jaccard_norm", scaled, wide, half / span) | _ends(0, 1))
        if depth is None:
            rows.append(_measured(place, "css", 0.4 + more, spread, half))
    return pl.DataFrame(rows, schema=CIRCUIT_SHARING)


def _ends(floor: float, ceiling: float) -> dict:
    return {"floor": floor, "ceiling": ceiling}


def _measured(place: dict, measure: str, value: float, spread: list, half: float) -> dict:
    if place["n"] < FEWEST:
        return place | {"measure": measure, "note": f"{place['n']} classes, fewer than {FEWEST}"}
    left_out = [value + x for x in spread]
    ends = {"value": value, "lo": value - half, "hi": value + half, "left_out": left_out}
    return place | {"measure": measure, "note": ""} | ends


def attribution_quality_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/attribution_quality.parquet: gradients agree at all depths, whole layers late."""
    del run, plan
    scores = {
        ("atp", "domain_other_class"): (0.95, -0.02),
        ("ig_input", "domain_other_class"): (0.7, 0.0),
        ("ig_layer", "zero"): (0.0, 0.25),
    }
    rows = [
        {"site": site, "level": "channel", "depth": depth, "score": score, "baseline": baseline}
        | {"spearman": start + step * depth, "spearman_lo": start + step * depth - 0.05}
        | {"spearman_hi": min(0.99, start + step * depth + 0.04), "jaccard": 0.5 * start}
        | {"n": UNITS, "n_images": 40, "note": ""}
        for depth, site in enumerate(CHANNELS)
        for (score, baseline), (start, step) in scores.items()
    ]
    return pl.DataFrame(rows, schema=ATTRIBUTION_QUALITY)


def own(setting: str, k: float) -> float:
    """What so many of its own nodes carry in a domain: ENOUGH from SIZE on, but of POOR a half."""
    return 1.0 if k == 1 else k**0.09 * (0.5 if setting == POOR else 1)


def other(setting: str, k: float) -> float:
    """What as many nodes of another domain carry in a test domain."""
    return 1.0 if k == 1 else own(setting, k) * (0.9 if setting in DIVERSE else 0.4)


def faithfulness_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/faithfulness.parquet: `own`, `other`; random nodes carry their share, those of
    another class nothing; without the strongest what they carry is missing. Edges carry EDGES of
    what as many nodes do, and have no complement."""
    return _faithfulness(*Target(run, plan).key[:3])


@cache
def _faithfulness(setting: str, tests: tuple, sets: tuple) -> pl.DataFrame:
    rows = []
    for parts, target, (classes, draw, n) in product(("nodes", "edges"), DOMAINS, sets):
        key = {"baseline": "domain_other_class", "target": target, "n_images": 8 * n, "n": n}
        key |= {"parts": parts, "classes": classes, "draw": draw, "note": ""}
        part = EDGES if parts == "edges" else 1
        for source in DOMAINS:
            kind = "own" if source == target else "other"
            f = own if source == target or target not in tests else other
            curve = [(k, f(setting, k) * (part if k < 1 else 1)) for k in SHARES]
            rows += _curve(key | {"source": source, "circuit": kind}, curve)
            if parts == "nodes":
                gone = [(k, 1 - f(setting, k)) for k in REMOVED]
                rows += _values(key | {"source": source, "circuit": "complement"}, gone)
        mine = key | {"source": target}
        rows += _curve(mine | {"circuit": "random"}, [(k, k) for k in SHARES])
        rows += _curve(mine | {"circuit": "wrong_class"}, [(k, float(k == 1)) for k in SHARES])
    return pl.DataFrame(rows, schema=FAITHFULNESS)


def _values(key: dict, curve: list) -> list[dict]:
    half = 0.04 * (len(CLASSES) / key["n"]) ** 0.5
    return [
        key | {"quantity": "f", "k": k, "value": f, "lo": f - half, "hi": f + half}
        for k, f in curve
    ]


def _curve(key: dict, curve: list) -> list[dict]:
    sizes = [k for k, f in curve if f >= ENOUGH and k < 1]
    note = "" if sizes else f"f is below {ENOUGH} at all sizes but the whole network"
    area = sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(curve))
    totals = {"cpr": area, "cmd": 0.999 - area, "cpr_log": 6.9 * area, "cmd_log": 6.9 - 6.9 * area}
    rows = [
        key | {"quantity": name, "value": value, "lo": value - 0.02, "hi": value + 0.02}
        for name, value in totals.items()
    ]
    size = {"quantity": "size_80", "value": min(sizes, default=None), "note": note}
    return [*_values(key, curve), *rows, key | size]


def circuit_parts_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/circuit_parts.parquet: of every site nodes 0 and 1 in all domains, 2 and 3 in all
    but test domains, 10 and more of single domains."""
    target = Target(run, plan)
    return _parts(target.tests, target.held_out)


@cache
def _parts(tests: tuple, held_out: tuple) -> pl.DataFrame:
    seen = [name for name in CLASSES if name not in held_out]
    rows = []
    for name, domain, site in product([*held_out[:2], *seen[:2]], DOMAINS, CHANNELS):
        private = 10 + 4 * DOMAINS.index(domain)
        nodes = {0: 1.0, 1: 0.6, private: 0.5, private + 1: 0.2}
        if domain not in tests:
            nodes |= {2: 0.7, 3: 0.3}
        key = {"class_name": name, "domain": domain, "kind": "node", "source": site}
        rows += [key | {"node": node, "value": value} for node, value in nodes.items()]
    return pl.DataFrame(rows, schema=CIRCUIT_PARTS)


def causes_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/causes.parquet: into a test domain what other domains show of a class passes less
    often, and more often of diverse settings; shared nodes matter more for seen classes alone."""
    return _causes(*Target(run, plan).key[:3])


def passed(setting: str, into_test: bool) -> float:
    """How often a class that is put in is the answer at the last inner site."""
    return 0.7 if not into_test else 0.5 if setting in DIVERSE else 0.2


@cache
def _causes(setting: str, tests: tuple, sets: tuple) -> pl.DataFrame:
    rows = []
    for classes, draw, n in sets:
        key = {"classes": classes, "draw": draw, "n": 3 * n, "n_classes": n, "note": ""}
        rows += _pair_rows(key, setting, tests)
        for test in tests:
            rows += _left_out_rows(key | {"source": test}, test, tests)
            rows += _ablation_rows(key | {"source": test, "target": test})
    return pl.DataFrame(rows, schema=CAUSES)


def _pair_rows(key: dict, setting: str, tests: tuple) -> list[dict]:
    """Interchange at every site, steering at the last but the embedding."""
    rows = []
    last = len(SITES) - 2
    is_all = key["classes"] == "all"
    for a, b in product(DOMAINS, DOMAINS):
        final = passed(setting, a != b and b in tests) - 0.1 * (key["classes"] == "held_out")
        for depth, site in enumerate(SITES):
            place = {"site": site, "level": "residual", "depth": depth, "source": a, "target": b}
            one = key | place | {"test": "interchange", "quantity": "interchange_accuracy"}
            found = final * (depth + 1) / (last + 1) if depth <= last else 0.9
            rows += [
                _row(one | {"control": control, "chance": CHANCE}, value)
                for control, value in {"": found, "random": CHANCE, "other_class": 0.05}.items()
            ]
            if is_all:
                far = one | {"control": "", "quantity": "knn_distance", "chance": 1.0}
                rows.append(_row(far, 1 + 0.1 * depth))
        place = {"site": SITES[last], "level": "residual", "depth": last, "target": b}
        for dose in (0.0, 0.5, 1.0, 2.0, 4.0):
            one = key | place | {"test": "steering", "quantity": "steered_accuracy", "dose": dose}
            value = 0.05 + (final - 0.05) * dose / 4
            rows.append(_row(one | {"control": "", "chance": CHANCE, "source": a}, value))
            shift = one | {"quantity": "shifted_accuracy", "chance": CHANCE, "source": a}
            if a != b:
                rows.append(_row(shift | {"control": ""}, 0.6 - 0.05 * dose))
            if a == b:
                rows.append(_row(one | {"control": "random", "chance": CHANCE}, 0.06))
    return rows


def _left_out_rows(key: dict, test: str, tests: tuple) -> list[dict]:
    """Erasure at every site, alignment at the last but the embedding."""
    rows = []
    for depth, site in enumerate(SITES):
        place = {"site": site, "level": "residual", "depth": depth, "target": test}
        one = key | place | {"test": "erasure", "quantity": "accuracy", "chance": CHANCE}
        for control, lost in {"": 0.05 * depth, "random": 0.01}.items():
            clean = 0.5 - 0.1 * (key["classes"] == "held_out")
            rows.append(_row(one | {"control": control, "dose": 0.0}, clean))
            rows.append(_row(one | {"control": control, "dose": 1.0}, clean - lost))
    depth = len(SITES) - 2
    for target, rank in product(DOMAINS, (4.0, 16.0)):
        place = {"site": SITES[depth], "level": "residual", "depth": depth, "target": target}
        one = key | place | {"test": "alignment", "quantity": "interchange_accuracy"}
        found = (0.3 if target in tests else 0.6) + 0.01 * rank
        values = {"": found, "random": 0.1, "random_labels": CHANCE}
        rows += [
            _row(one | {"control": control, "chance": CHANCE, "dose": rank}, value)
            for control, value in values.items()
        ]
        rows.append(_row(one | {"quantity": "kept_accuracy", "control": "", "dose": rank}, 0.8))
    return rows


def _ablation_rows(key: dict) -> list[dict]:
    """Seen classes lose 0.12 more without shared nodes; held-out ones lose alike."""
    shared, private = (0.12, 0.12) if key["classes"] == "held_out" else (0.22, 0.1)
    one = key | {"test": "ablation", "site": "all", "dose": 1.0, "chance": 0.0}
    losses = {"": shared, "private": private, "random": -0.01}
    rows = [
        _row(one | {"control": control, "quantity": "margin_loss"}, value)
        for control, value in losses.items()
    ]
    rows.append(_row(one | {"control": "", "quantity": "shared_minus_private"}, shared - private))
    rows.append(_row(one | {"control": "", "quantity": "nodes", "chance": None}, 6.0))
    return rows


def _row(key: dict, value: float) -> dict:
    half = 0.03 * (len(CLASSES) / key["n_classes"]) ** 0.5
    return key | {"value": value, "lo": value - half, "hi": value + half}


PLANTERS = {
    "circuit_sharing": circuit_sharing_of,
    "attribution_quality": attribution_quality_of,
    "faithfulness": faithfulness_of,
    "circuit_parts": circuit_parts_of,
    "causes": causes_of,
}
"""by name of the table"""
FAMILIES = ("circuits", "causes")
"""of analyses that write these tables"""
