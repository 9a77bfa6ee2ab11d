"""Controlled models as points beside other models: a row per model of a coverage sweep."""

from __future__ import annotations

from typing import Any

import polars as pl

from analysis.binding.complexity import best_carried, complexity
from analysis.report.binding_models import carried_columns, simplest_columns
from analysis.report.binding_tables import ACROSS, CONCEPTS, WITHIN
from analysis.report.coverage_figures import panel_title
from analysis.report.coverage_tables import UNSEEN
from analysis.report.schemas import BINDING_MODELS
from analysis.report.summary import percent

OBJECTS = 2
"""of a controlled scene"""
SCORES = {CONCEPTS: ("replaced", "pair"), ACROSS: ("swap", "pair"), WITHIN: ("attribute", "values")}
"""measure of a study's models → score and bank of a sweep's"""


def controlled_models(scores: pl.DataFrame, functions: pl.DataFrame) -> pl.DataFrame:
    """What controlled models make of scenes of unseen objects.

    Args:
        scores: of `analysis.binding.controlled.results.score_table`.
        functions: of `function_table` there.

    Returns:
        `schemas.BINDING_MODELS`, in the order of the scores. A model that stands in several grids
        stands here once, in the first.
    """
    rows = []
    keys = ["key", "grid", "coverage", "swap_share", "seed", "split_seed"]
    for values, own in scores.group_by(*keys, maintain_order=True):
        of: dict[str, Any] = dict(zip(keys, values, strict=True))
        group = panel_title((of["grid"], of["swap_share"]))
        name = f"{group}, coverage {percent(of['coverage'], 0)}, seed {of['seed']}"
        name += "" if of["seed"] == of["split_seed"] else f", split {of['split_seed']}"
        row = {"run": of["key"], "model": name, "group": group}
        row |= {"objects": OBJECTS, "part": UNSEEN}
        for measure, (score, bank) in SCORES.items():
            asked = own.filter(familiarity=UNSEEN, score=score, bank=bank)
            (found,) = asked.head(1).to_dicts() or [{}]
            row |= {measure: found.get("value"), f"{measure}_bag": found.get("floor")}
            row |= {f"{measure}_{end}": found.get(end) for end in ("n", "lo", "hi")}
        own_functions = _functions(functions, of["key"], of["grid"])
        row |= carried_columns(best_carried(own_functions))
        rows.append(row | simplest_columns(complexity(own_functions) if own_functions else None))
    return pl.DataFrame(rows, schema=BINDING_MODELS).unique("run", maintain_order=True)


def _functions(functions: pl.DataFrame, key: str, grid: str) -> list[dict[str, Any]]:
    return [] if functions.is_empty() else functions.filter(key=key, grid=grid).to_dicts()
