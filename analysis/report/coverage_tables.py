"""What controlled models tell of coverage: scores of a sweep → tables."""

from __future__ import annotations

from typing import Any

import polars as pl

from analysis.report.spread import t_interval

CELL = ["grid", "objects", "coverage", "swap_share", "leak"]
"""what the models of one cell of a sweep have in common; its seeds are replicates"""
TRAINED, NEW, UNSEEN = "trained", "new", "unseen"
FAMILIARITIES = {
    TRAINED: "scenes that training may show",
    NEW: "new scenes of train objects",
    UNSEEN: "scenes of unseen objects",
}
SCORES = {
    "swap": "prefers the scene to its swap",
    "object": "recognises the objects, of all",
    "attribute": "tells an object's first value from its last, by probes",
    "concept": "recognises the concepts",
    "replaced": "prefers the scene to one value replaced",
}
"""scores with words, in the order in which one reads; of banks the full one"""
BANKS = ("pair", "full", "values")
SWAP, OBJECT = "swap", "object"


def scored(table: pl.DataFrame) -> pl.DataFrame:
    """Rows of the sweep's scores that are shown: every model, familiarity and score."""
    return table.filter(
        pl.col("bank").is_in(BANKS),
        pl.col("familiarity").is_in(list(FAMILIARITIES)),
        pl.col("score").is_in(list(SCORES)),
    )


def over_seeds(table: pl.DataFrame) -> pl.DataFrame:
    """Means over the models of a cell, with Student's interval: other seeds, splits with them.

    Args:
        table: rows of `scored`.

    Returns:
        CELL, `familiarity`, `score`; `value`, `lo`, `hi` (cut at 0 and 1; None for fewer than three
        models),
        `smallest`, `largest`, `models` with a value, `missing` models and the first `reason`;
        `floor` and `chance`, means.
    """
    keys = [*CELL, "familiarity", "score"]
    rows: list[dict[str, Any]] = []
    for key, group in table.group_by(keys, maintain_order=True):
        known = group.drop_nulls("value")
        lo, hi = _within(*t_interval(known["value"].to_list()))
        reasons = group.filter(pl.col("value").is_null())["reason"].drop_nulls()
        numbers = {"value": known["value"].mean(), "lo": lo, "hi": hi}
        numbers |= {"smallest": known["value"].min(), "largest": known["value"].max()}
        numbers |= {name: known[name].mean() for name in ("floor", "chance")}
        counts = {"models": known.height, "missing": group.height - known.height}
        reason = reasons[0] if len(reasons) else None
        rows.append(dict(zip(keys, key, strict=True)) | numbers | counts | {"reason": reason})
    return pl.DataFrame(rows, infer_schema_length=None)


def _within(lo: float | None, hi: float | None) -> tuple[float | None, float | None]:
    """An interval of a share, which lies between 0 and 1 whatever Student says."""
    return None if lo is None else max(lo, 0.0), None if hi is None else min(hi, 1.0)


def carried(scores: pl.DataFrame, functions: pl.DataFrame) -> pl.DataFrame:
    """Every model's binding of unseen objects beside what each class of functions carries of it.

    Args:
        scores: rows of `scored`.
        functions: rows of `analysis.binding.binding_function` with CELL, `key` and `seed`.

    Returns:
        A row per model and class: CELL, `key`, `seed`, `class`, `width`; `value`, `lo`, `hi`:
        objects recognised in predicted scenes of objects that the fit did not see, `ceiling` in
        true ones, `bag_best`, `known`: the share of these objects that the model was trained on,
        `share` = value / ceiling where the ceiling's interval is above what a bag may reach,
        `reason`; `bound`: how well the model binds its own unseen objects, by the score `bound_by`:
        all objects of a scene recognised among all (OBJECT), or, in grids whose models have no
        queries of objects, matched swaps (SWAP).
    """
    rows = functions.filter(kind="object", bank="full", part=UNSEEN)
    is_told = pl.coalesce("ceiling_lo", "ceiling") > pl.col("bag_best")
    table = rows.join(_bound(scores), on=["grid", "key"], how="left", maintain_order="left")
    table = table.with_columns(share=pl.when(is_told).then(pl.col("value") / pl.col("ceiling")))
    columns = [*CELL, "key", "seed", "class", "width", "value", "lo", "hi", "ceiling", "bag_best"]
    return table.select(*columns, "known", "share", "reason", "bound", "bound_by")


def _bound(scores: pl.DataFrame) -> pl.DataFrame:
    """Grid and key of every model, `bound` and `bound_by`."""
    unseen = scores.filter(familiarity=UNSEEN).select(
        "grid", "key", bound_by="score", bound="value"
    )
    objects = unseen.filter(bound_by=OBJECT)
    has_objects = objects.drop_nulls("bound")["grid"].unique().to_list()
    in_them = pl.col("grid").is_in(has_objects)
    return pl.concat([objects.filter(in_them), unseen.filter(~in_them, bound_by=SWAP)])


def carried_over_seeds(table: pl.DataFrame) -> pl.DataFrame:
    """Means of `share` over the models of a cell, with Student's interval, by class of functions.

    Args:
        table: of `carried`.

    Returns:
        CELL, `class`, `width`; `share`, `lo`, `hi` (None for fewer than three models), `bound` and
        `ceiling` (means of the same models), `models` with a share, and `missing` ones.
    """
    keys = [*CELL, "class", "width"]
    rows: list[dict[str, Any]] = []
    for key, group in table.group_by(keys, maintain_order=True):
        known = group.drop_nulls("share")
        lo, hi = _within(*t_interval(known["share"].to_list()))
        row = dict(zip(keys, key, strict=True))
        row |= {"share": known["share"].mean(), "lo": lo, "hi": hi}
        row |= {name: known[name].mean() for name in ("bound", "ceiling")}
        rows.append(row | {"models": known.height, "missing": group.height - known.height})
    return pl.DataFrame(rows, infer_schema_length=None)


def emerges(table: pl.DataFrame, grid: str, swap_share: float) -> list[dict[str, Any]]:
    """Swap accuracy on unseen objects over coverage, of one mixture, in rising coverage.

    Args:
        table: of `over_seeds`.
        grid: name of the grid.
        swap_share: of the mixture.
    """
    mixture = table.filter(grid=grid, swap_share=swap_share)
    return mixture.filter(score=SWAP, familiarity=UNSEEN).sort("coverage").to_dicts()
