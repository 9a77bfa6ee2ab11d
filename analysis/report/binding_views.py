"""The tables of binding as readers see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import polars as pl

from analysis.report.binding_tables import MEASURES, PARTS, RUN
from analysis.report.section import Part, Table
from analysis.report.study import StudyResults
from analysis.report.summary import percent
from analysis.report.views import MISSING, NONE, View, count

SIDES = {"images": "images", "texts": "captions"}
ESTIMATORS = {
    "avg": "mean of scenes",
    "avg_pos": "mean by slot",
    "single": "scenes of one object",
    "fitted": "least squares",
}
REMOVED = {
    "nothing": "nothing",
    "concepts": "concepts",
    "objects": "objects",
    "interaction": "what objects have beyond concepts",
}
MOST_MODELS = 12
"""whose rows a table shows"""
EDITS = {"object": "an object exchanged", "concept": "a value exchanged"}


def behaviour_view(table: pl.DataFrame, labels: Mapping[str, str]) -> View:
    """`binding_tables.behaviour`: a row per run and measure, a column per part."""
    parts = [part for part in PARTS if table.filter(part=part).height]
    table = _first(table, labels)
    rows = []
    keys = ["run", "objects", "measure"]
    for (run, size, name), group in table.group_by(keys, maintain_order=True):
        cells = {row["part"]: row for row in group.iter_rows(named=True)}
        found = [cells.get(part, {}) for part in parts]
        rows.append(
            [
                labels[str(run)],
                str(size),
                MEASURES[str(name)].label,
                *(score_cell(row) for row in found),
                _bags(found),
                " / ".join(count(row.get("n") or 0) for row in found),
            ]
        )
    columns = ["Model", "Objects", "Score", *(PARTS[part].capitalize() for part in parts)]
    caption = (
        "Share of scenes that are right, with 95 % interval over families of scenes; beside it the "
        "most that a bag of concepts reaches, and numbers of scenes, both in the order of the "
        "columns where these differ."
    ) + _rest(labels)
    return View(caption, [*columns, "Bag of concepts", "Scenes"], rows, headers=3)


def _first(table: pl.DataFrame, labels: Mapping[str, str]) -> pl.DataFrame:
    """Rows of the models that a table shows."""
    return table.filter(pl.col("run").is_in(list(labels)[:MOST_MODELS]))


def _rest(labels: Mapping[str, str]) -> str:
    if len(labels) <= MOST_MODELS:
        return ""
    return f" The first {MOST_MODELS} of {len(labels)} models; the file has all."


def _bags(found: Sequence[Mapping[str, Any]]) -> str:
    """What a bag reaches of every part, once where it is the same of all."""
    bags = [None if row.get("bag") is None else percent(row["bag"]) for row in found]
    known = [bag for bag in bags if bag is not None]
    if len(set(known)) < 2:
        return known[0] if known else NONE
    return " / ".join(bag or NONE for bag in bags)


def score_cell(row: Mapping[str, Any]) -> str:
    """A score with its interval, or that there is none."""
    if not row:
        return NONE
    if row["value"] is None:
        return f"{MISSING}: {row['reason']}" if row.get("reason") else MISSING
    if row["lo"] is None or row["hi"] is None:
        return percent(row["value"])
    return f"{percent(row['value'])} ({percent(row['lo'])}–{percent(row['hi'])})"


def geometry_views(results: StudyResults, labels: Mapping[str, str]) -> list[Part]:
    """Reconstruction, removal and editing: a table each, where it has rows."""
    table = results.analyses["binding"]
    found: list[Part] = []
    for aspect, view in (
        ("geometry", _geometry_view),
        ("removal", _removal_view),
        ("editing", _editing_view),
    ):
        rows = table.filter(aspect=aspect)
        if rows.height:
            told = rows[[column.name for column in rows if column.null_count() < rows.height]]
            shown = view(_first(rows, labels), labels)
            shown = replace(shown, caption=shown.caption + _rest(labels))
            found.append(Table(f"binding_{aspect}", told, shown))
    return found


def _geometry_view(table: pl.DataFrame, labels: Mapping[str, str]) -> View:
    keys = [*RUN, "side", "estimator", "level"]
    names = {"R2": "R²", "retrieval": "Right scene", "concept": "Concepts", "object": "Objects"}
    rows = []
    for key, group in table.group_by(keys, maintain_order=True):
        of = dict(zip(keys, key, strict=True))
        scores = {row["score"]: row for row in group.iter_rows(named=True)}
        level = {0: "as it is", 1: "objects", 2: "objects of concepts"}.get(of["level"], NONE)
        estimator = ESTIMATORS.get(of["estimator"], of["estimator"] or NONE)
        rows.append(
            [labels[of["run"]], str(of["objects"]), SIDES[of["side"]], level, estimator]
            + [_plain(scores.get(name, {})) for name in names]
        )
    caption = (
        "An embedding rebuilt as the sum of its objects (and these of their concepts), estimated "
        "on some families of scenes and judged on others, with 95 % interval. Beside the variance "
        "that is explained: is the right scene the nearest, and what do probes of true embeddings "
        "recognise? A high R² alone does not show binding: memorised objects add up as well."
    )
    columns = ["Model", "Objects", "Side", "Sum of", "Estimated by", *names.values()]
    return View(caption, columns, rows, headers=5)


def _removal_view(table: pl.DataFrame, labels: Mapping[str, str]) -> View:
    keys = [*RUN, "side", "removed", "permuted"]
    rows = []
    for key, group in table.group_by(keys, maintain_order=True):
        of = dict(zip(keys, key, strict=True))
        scores = {row["kind"]: row for row in group.iter_rows(named=True)}
        control = " of other objects (control)" if of["permuted"] else ""
        rows.append(
            [labels[of["run"]], str(of["objects"]), SIDES[of["side"]]]
            + [REMOVED[of["removed"]] + control]
            + [score_cell(scores.get(kind, {})) for kind in ("concept", "object")]
        )
    caption = (
        "What new probes recognise after a fitted part was subtracted from every embedding, with "
        "95 % interval; the control subtracts as much of other objects."
    )
    columns = ["Model", "Objects", "Side", "Taken away", "Concepts", "Objects recognised"]
    return View(caption, columns, rows, headers=4)


def _editing_view(table: pl.DataFrame, labels: Mapping[str, str]) -> View:
    keys = [*RUN, "side", "edit", "estimator"]
    rows = []
    for key, group in table.group_by(keys, maintain_order=True):
        of = dict(zip(keys, key, strict=True))
        scores = {row["score"]: row for row in group.iter_rows(named=True)}
        estimator = "not edited" if of["estimator"] is None else of["estimator"]
        rows.append(
            [labels[of["run"]], str(of["objects"]), SIDES[of["side"]]]
            + [EDITS[of["edit"]], ESTIMATORS.get(estimator, estimator)]
            + [score_cell(scores.get(name, {})) for name in ("retrieval", "object")]
        )
    caption = (
        "Embeddings edited by arithmetic, with 95 % interval: is the scene that was meant the "
        "nearest one, and do probes of true embeddings recognise its objects? Not edited: the "
        "floor of any edit."
    )
    columns = ["Model", "Objects", "Side", "Edit", "Parts by", "Scene meant", "Objects recognised"]
    return View(caption, columns, rows, headers=5)


def _plain(row: Mapping[str, Any]) -> str:
    """A score as a number: R² may lie below 0."""
    if not row or row["value"] is None:
        return score_cell(row)
    ends = [row["value"], row["lo"], row["hi"]]
    value, lo, hi = (NONE if end is None else f"{end:.2f}" for end in ends)
    return f"{value} ({lo}–{hi})"
