"""The tables of a planted run's analyses, with known answers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import combinations, product

import numpy as np
import polars as pl
from planted_tables import CLASSES, DOMAINS, SITES, checkpoints_of, planted_setting
from scipy.stats import t

from analysis.report.schemas import (
    DECODABILITY,
    FACTORIZATION,
    LENS,
    MAP_DISTANCES,
    MAPS,
    PUBLISHED,
    SIMILARITY,
    TRANSFER,
)
from analysis.report.study_plan import PlannedRun, StudyPlan

BLOCKS = ("input", "stem", "layer3.0", "layer4.0", "embedding")
"""published sites of nodes"""
DIVERSE = ("leave_out_domain", "cg_high_diversity", "upper_bound_high")
MEASURES = {"cka": 0.0, "s_id": -0.05, "s_id_nc": 0.05, "s_rot": 0.15}
"""what a measure is above CKA"""
FEWEST = 5
"""classes below which nothing is estimated"""
BANDS = ("chance", "chance_lo", "chance_hi", "ceiling", "floor")
NUMBERS = ("value", "lo", "hi", *BANDS, "left_out")
"""of a set of fewer there is none of these"""
HALF = 0.08
"""of an interval over all classes; sets of fewer have wider ones"""


def similarity_of(run: PlannedRun, plan: StudyPlan, milestones: Sequence[int]) -> pl.DataFrame:
    """analysis/similarity.parquet of a run.

    CKA is 0.2, 0.1 more at each site, 0.05 more of diverse settings, 0.15 less of pairs with a test
    domain; milestones have a part of it.
    """
    diverse = planted_setting(run.setting) in DIVERSE
    places = pl.DataFrame({"site": SITES, "depth": range(len(SITES))}).join(
        pl.DataFrame(list(combinations(DOMAINS, 2)), schema=["domain_a", "domain_b"], orient="row"),
        how="cross",
    )
    outlier = pl.any_horizontal(pl.col("domain_a", "domain_b").is_in(run.test_domains))
    return (
        places.with_columns(
            level=pl.lit("residual"),
            cka=0.2 + 0.1 * pl.col("depth") + 0.05 * diverse - 0.15 * outlier,
            ceiling=0.9 - 0.05 * outlier,
            floor=pl.lit(None if run.is_pretrained else 0.1, dtype=pl.Float64),
        )
        .join(_moments(run, milestones), how="cross")
        .join(_measures(), how="cross")
        .join(_sets(run, plan), how="cross")
        .with_columns(value=(pl.col("cka") * pl.col("share") + pl.col("more")))
        .with_columns(
            lo=pl.col("value") - pl.col("half"),
            hi=pl.col("value") + pl.col("half"),
            left_out=pl.when("final").then(pl.col("half") * pl.col("pattern") + pl.col("value")),
            chance_lo=pl.col("chance") - pl.col("half"),
            chance_hi=pl.col("chance") + pl.col("half"),
            ceiling=pl.when(pl.col("measure") == "s_id_nc").then(1.0).otherwise(pl.col("ceiling")),
        )
        .with_columns(
            pl.when(pl.col("n") >= FEWEST).then(pl.col(*NUMBERS)),
            note=pl.when(pl.col("n") < FEWEST)
            .then(pl.lit(f"fewer than {FEWEST} classes"))
            .otherwise(pl.lit("")),
        )
        .select(*SIMILARITY)
        .cast(SIMILARITY)  # type: ignore[arg-type]
    )


def _moments(run: PlannedRun, milestones: Sequence[int]) -> pl.DataFrame:
    rows = [(w.samples_seen, w.final, w.share) for w in checkpoints_of(run, milestones)]
    schema = {"samples_seen": pl.Int64, "final": pl.Boolean, "share": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _measures() -> pl.DataFrame:
    chance = [0.2 if name == "s_rot" else 0.0 for name in MEASURES]
    more = {"measure": list(MEASURES), "more": list(MEASURES.values()), "chance": chance}
    return pl.DataFrame(more)


def _sets(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    rows: list[tuple[str, int | None, int]] = [("all", None, len(CLASSES))]
    for draw in run.draws:
        held_out = len(plan.draws[draw])
        rows += [("seen", draw, len(CLASSES) - held_out), ("held_out", draw, held_out)]
    schema = {"classes": pl.String, "draw": pl.Int64, "n": pl.Int64}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    return table.with_columns(
        half=HALF * (len(CLASSES) / pl.col("n")).sqrt(),
        pattern=pl.Series([pattern(run.setting, n) for _, _, n in rows]),
    )


@cache
def pattern(setting: str, classes: int) -> list[float]:
    """Delete-one values, around 0, whose interval goes from -1 to 1.

    Half of their variance is of the classes, the same in all settings; half a setting's own.
    """
    of_classes, own = (
        np.random.default_rng(seed).normal(size=classes)
        for seed in (0, [ord(letter) for letter in setting])
    )
    values = of_classes + own - (of_classes + own).mean()
    errors = np.sqrt((classes - 1) / classes * (values**2).sum())
    return (values / (float(t.ppf(0.975, classes - 1)) * errors)).tolist()


def factorization_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/factorization.parquet of a run: deeper sites are more additive."""
    everywhere = {"r2": 0.4, "class_r2": 0.2, "held_out_cosine": 0.3}
    at_end = {
        "accuracy_true": 0.7,
        "accuracy_predicted": 0.6,
        "accuracy_without_domain": 0.4,
        "accuracy_without_class": 0.05,
    }
    rows = [
        _placed(depth, {"test_domain": target.test_domain, "draw": target.draw})
        | {"quantity": name, **_estimate(start + 0.08 * depth, 9), "chance": 0.1}
        for target in run.mixtures
        for depth in range(len(SITES))
        for name, start in everywhere.items()
    ]
    rows += [
        _placed(len(SITES) - 1, {"test_domain": target.test_domain, "draw": target.draw})
        | {"quantity": name, **_estimate(value, len(plan.draws[target.draw])), "chance": 1 / 12}
        for target in run.mixtures
        for name, value in at_end.items()
    ]
    return pl.DataFrame(rows, schema=FACTORIZATION)


def transfer_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/transfer.parquet of a run: 0.8 within a domain, 0.4 to others, 0.2 to test ones."""
    rows = []
    sets = _sets(run, plan).select("classes", "draw", "n").rows()
    for depth, (a, b) in product(range(len(SITES)), product(DOMAINS, DOMAINS)):
        value = 0.8 if a == b else 0.2 if b in run.test_domains else 0.4
        for classes, draw, n in sets:
            score = value - 0.1 * (classes == "held_out")
            own = 0.8 - 0.1 * (classes == "held_out")
            key = {"trained_on": a, "domain": b, "draw": draw, "classes": classes}
            counts = {"n_classes": n, "chance": 1 / 12, "within": own}
            rows.append(_placed(depth, key) | _estimate(score, 10 * n) | counts)
    return pl.DataFrame(rows, schema=TRANSFER)


def decodability_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/decodability.parquet of a run: the domain fades with depth."""
    del run, plan
    start = {
        "domain_accuracy": (0.9, -0.08, 1 / 6),
        "control_accuracy": (0.18, 0.0, 1 / 6),
        "subspace_cosine": (0.6, -0.05, 0.2),
    }
    rows = [
        _placed(depth, {"quantity": name})
        | _estimate(first + step * depth, len(CLASSES))
        | {"chance": chance, "chance_lo": chance - 0.04, "chance_hi": chance + 0.04}
        for depth in range(len(SITES))
        for name, (first, step, chance) in start.items()
    ]
    return pl.DataFrame(rows, schema=DECODABILITY)


def lens_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/lens.parquet of a run: it loses 0.1 in a domain left out, of a test domain 0.3.

    At the end the model itself has 0.7 in a test domain, and 0.8 elsewhere.
    """
    rows = []
    last, sizes = len(SITES) - 1, {draw: len(plan.draws[draw]) for draw in run.draws}
    for draw, depth, out, domain in product(run.draws, range(len(SITES)), DOMAINS, DOMAINS):
        own = 0.7 if domain in run.test_domains else 0.8
        lost = (0.3 if domain in run.test_domains else 0.1) if domain == out else 0.0
        for classes, n in (("seen", len(CLASSES) - sizes[draw]), ("held_out", sizes[draw])):
            whole = own - 0.1 * (classes == "held_out")
            score = whole - (lost + 0.02 * (last - depth)) * (depth < last)
            key = {"lens": "tuned", "test_domain": out, "domain": domain}
            key |= {"draw": draw, "classes": classes, "n_classes": n, "chance": 1 / 12}
            row = _placed(depth, key) | _estimate(score, 10 * n) | {"own": whole}
            if domain == out and depth < last:
                kept = score / whole
                row |= {"kept": kept, "kept_lo": kept - HALF, "kept_hi": kept + HALF}
            rows.append(row)
    return pl.DataFrame(rows, schema=LENS)


def published_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/published.parquet of a run: 0.3 of pairs with a test domain, 0.5 of others."""
    rows = []
    places = [("cka", depth) for depth in range(len(SITES))] + [("sae_overlap", len(SITES) - 1)]
    sets = _sets(run, plan).select("classes", "draw", "n").rows()
    for (measure, depth), (a, b) in product(places, combinations(DOMAINS, 2)):
        value = 0.3 if {a, b} & set(run.test_domains) else 0.5
        for classes, draw, n in sets:
            key = {
                "measure": measure,
                "domain_a": a,
                "domain_b": b,
                "classes": classes,
                "draw": draw,
            }
            ours = {"ours": value, "ours_lo": value - HALF, "ours_hi": value + HALF}
            rows.append(_placed(depth, key) | {"value": value, **ours, "n": n, "note": ""})
    return pl.DataFrame(rows, schema=PUBLISHED)


def published_circuits_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/published_circuits.parquet of a run, of held-out classes.

    0.2 of pairs with a test domain, 0.4 of others; edges half of that. Ours is 0.1 more, of the
    last block alone.
    """
    places = [("circuit_node_jaccard", site, "residual") for site in BLOCKS]
    places += [(name, "edges", "edge") for name in ("circuit_edge_jaccard", "circuit_wl")]
    rows = []
    sets = _sets(run, plan).filter(classes="held_out").select("classes", "draw", "n").rows()
    for (measure, site, level), (a, b) in product(places, combinations(DOMAINS, 2)):
        value = 0.2 if {a, b} & set(run.test_domains) else 0.4
        value *= 0.5 if level == "edge" else 1.0
        key = {"measure": measure, "site": site, "level": level, "domain_a": a, "domain_b": b}
        key |= {"depth": 0 if level == "edge" else BLOCKS.index(site)}
        ours, why = (value + 0.1, "") if site == BLOCKS[-2] else (None, "none of ours")
        for classes, draw, n in sets:
            row = key | {"classes": classes, "draw": draw, "n": n, "value": value, "note": why}
            rows.append(row | {"ours": ours} | _ends(ours))
    return pl.DataFrame(rows, schema=PUBLISHED)


def _ends(value: float | None) -> dict:
    return {} if value is None else {"ours_lo": value - HALF, "ours_hi": value + HALF}


def maps_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/maps.parquet of a run: an image per cell, domains beside each other."""
    del run, plan
    cells = enumerate(product(DOMAINS, CLASSES))
    images = [
        {"id": f"{domain}-{name}", "domain": domain, "class_name": name}
        | {"x": 3.0 * DOMAINS.index(domain) + 0.1 * place % 1, "y": float(place % 12)}
        for place, (domain, name) in cells
    ]
    rows = [
        _placed(depth, {"method": method, "explained": 0.4 if method == "pca" else None}) | image
        for depth, method, image in product(range(len(SITES)), ("pca", "tsne"), images)
    ]
    return pl.DataFrame(rows, schema=MAPS)


def map_distances_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/map_distances.parquet of a run: 2 to a test domain, 1 between others."""
    del plan
    rows = []
    for depth, (a, b) in product(range(len(SITES)), combinations(DOMAINS, 2)):
        key = {"quantity": "class_distance_relative", "domain_a": a, "domain_b": b}
        value = 1.0 + bool({a, b} & set(run.test_domains))
        rows.append(_placed(depth, key) | _estimate(value, len(CLASSES)))
    return pl.DataFrame(rows, schema=MAP_DISTANCES)


def _placed(depth: int, key: dict) -> dict:
    return {"site": SITES[depth], "level": "residual", "depth": depth} | key


def _estimate(value: float, n: int) -> dict:
    return {"value": value, "lo": value - HALF, "hi": value + HALF, "n": n, "note": ""}


PLANTERS = {
    "factorization": factorization_of,
    "transfer": transfer_of,
    "decodability": decodability_of,
    "lens": lens_of,
    "published": published_of,
    "published_circuits": published_circuits_of,
    "maps": maps_of,
    "map_distances": map_distances_of,
}
"""by name of the table"""
FAMILIES = (
    *("factorization", "transfer", "decodability", "lens", "published", "maps"),
    "published_circuits",
)
"""of analyses that write these tables"""
