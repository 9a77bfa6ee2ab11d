"""The page of a coverage sweep: when do controlled models learn to bind, and by what function?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from scipy.stats import spearmanr

from analysis.report.binding_figures import class_label
from analysis.report.binding_models import models_chart
from analysis.report.controlled_models import controlled_models
from analysis.report.coverage_figures import (
    carried_figure,
    coverage_figure,
    panel_title,
    panels_of,
)
from analysis.report.coverage_tables import (
    CELL,
    FAMILIARITIES,
    OBJECT,
    SCORES,
    SWAP,
    carried,
    carried_over_seeds,
    emerges,
    over_seeds,
    scored,
)
from analysis.report.page import write_page
from analysis.report.section import Chart, Part, Section, Table, Text
from analysis.report.spread import FEWEST as FEWEST_SEEDS
from analysis.report.summary import percent
from analysis.report.views import NONE, View

FEWEST = 5
"""models, of so many scores, that a correlation needs"""
LEAKED = ", unseen objects being negatives of the training"
CAVEAT = (
    "Every model is small, and trained from nothing on scenes of two objects. Intervals are 95 %, "
    "Student's over seeds, each with weights and a draw of the train objects of its own; the "
    "interval over scenes of every single model stands in scores.csv. Dots are models."
)
READING = (
    "How to read it: blue and green lie high where a model has learned to bind what it was shown; "
    "orange follows where it binds objects that it was never shown. Where orange stays at the "
    "dotted line it is a bag of concepts for them. Swaps are matched: both scenes are of train "
    "objects, or both of unseen ones."
)
BOUND_WORDS = {
    SWAP: "matched swaps of unseen objects",
    OBJECT: "unseen objects that they recognise",
}
CARRIED_TEXT = (
    "Functions of rising complexity were fitted to the embeddings of every model, on scenes of "
    "70 % of the objects, and asked for scenes of the others (docs/binding_function.md): how many "
    "of the objects that probes find in true embeddings do they find in predicted ones? These are "
    "drawn apart from the objects of the training: the more a model was shown, the more of them "
    "it knows (column known)."
)
CARRIED_NOTE = (
    "How to read it: a dot per model and class of functions. If models that bind unseen objects do "
    "so by products of concepts, dots of products rise to 100 % to the right, and others do not. "
    "Models in whose true embeddings probes find no more objects than a bag may have are left out."
)


def write_coverage_page(
    name: str,
    scores: pl.DataFrame,
    functions: pl.DataFrame,
    folder: Path,
    missing: int,
    command: str,
) -> Path:
    """Write `index.html`, `report.md`, tables and figures.

    Args:
        name: of the sweep.
        scores: of `analysis.binding.controlled.results.score_table`.
        functions: of `function_table` there.
        folder: where to write.
        missing: models that are not done.
        command: that made them.

    Returns:
        The path of `index.html`.
    """
    sections = coverage_sections(scores, functions)
    models = scores["key"].n_unique()
    found = emergence_sentences(over_seeds(scored(scores)))
    left = [f"{missing} of {models + missing} models are not done."] if missing else []
    content: dict[str, Any] = {
        "study": name,
        "above": "",
        "question": "at which coverage do small models learn to bind?",
        "dataset": f"{models} models on scenes of two objects.",
        "overview": " ".join(found),
        "findings": found,
        "no_findings": "Nothing can be told.",
        "banner": left or [f"{models} models expected: {models} done."],
        "complete": not missing,
        "caveat": CAVEAT,
        "points_note": "",
        "command": command,
    }
    return write_page(content, sections, folder)


def coverage_sections(scores: pl.DataFrame, functions: pl.DataFrame) -> list[Section]:
    """All sections of the page."""
    shown = scored(scores)
    means = over_seeds(shown)
    parts: list[Part] = []
    for score, label in SCORES.items():
        rows = shown.filter(score=score)
        if not rows["value"].count():
            continue
        rows = _told_panels(rows)
        parts.append(
            Chart(
                name=f"coverage-{score}",
                figure=coverage_figure(rows, means.filter(score=score)),
                data="coverage",
                label=f"Share of scenes in which a model {label}, over coverage",
                note=READING if score == SWAP else CAVEAT,
            )
        )
    parts.append(Table("coverage", means, _view(means)))
    parts.append(Table("scores", scores))
    points = controlled_models(scores, functions)
    models = Section("Models", (models_chart(points), Table("binding_models", points)))
    return [Section("Coverage", tuple(parts)), *_functions(shown, functions), models]


def _told_panels(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of grids in which any model has the score."""
    known = rows.drop_nulls("value")["grid"].unique().to_list()
    return rows.filter(pl.col("grid").is_in(known))


def emergence_sentences(means: pl.DataFrame) -> list[str]:
    """A sentence per mixture: from which coverage on unseen objects are bound."""
    return [_emergence(means, panel) for panel in panels_of(means)]


def _emergence(means: pl.DataFrame, panel: tuple[str, float]) -> str:
    rows = [row for row in emerges(means, *panel) if row["value"] is not None]
    name = panel_title(panel)
    if not rows:
        return f"{name}: no swap of unseen objects could be scored."
    name += LEAKED if any(row["leak"] for row in rows) else ""
    first, last = rows[0], rows[-1]
    ends = f"{_score(first)} at a coverage of {percent(first['coverage'], 0)}"
    if last is not first:
        ends += f", {_score(last)} at {percent(last['coverage'], 0)}"
    if max(row["models"] for row in rows) < FEWEST_SEEDS:
        return f"{name}: too few models to tell them from a bag of concepts ({ends})."
    clear = [row for row in rows if _is_clear(row)]
    if not clear:
        return (
            f"{name}: at no coverage is the mean over seeds clear of a bag of concepts on unseen "
            f"objects ({ends})."
        )
    return (
        f"{name}: unseen objects are told from their swap clearly more often than by a bag of "
        f"concepts at coverages of {_listed(clear)} ({ends})."
    )


def _is_clear(row: dict[str, Any]) -> bool:
    """Whether a cell's models are above a bag: by the interval, or all of them by as much."""
    if row["lo"] is None:
        return row["models"] >= FEWEST_SEEDS and row["smallest"] > row["floor"]
    return row["lo"] > row["floor"]


def _listed(rows: list[dict[str, Any]]) -> str:
    return ", ".join(percent(row["coverage"], 0) for row in rows)


def _score(row: dict[str, Any]) -> str:
    return _mean(row) if row["lo"] is not None else f"{_mean(row)} ({_models(row)})"


def _mean(row: dict[str, Any]) -> str:
    if row["lo"] is None:
        return percent(row["value"])
    return f"{percent(row['value'])} ({percent(row['lo'])} to {percent(row['hi'])})"


def _models(row: dict[str, Any]) -> str:
    return f"{row['models']} model" + "s" * (row["models"] != 1)


def _view(means: pl.DataFrame) -> View:
    """`coverage_tables.over_seeds`: a row per cell and score."""
    rows = []
    keys = [*CELL, "score"]
    for key, group in means.group_by(keys, maintain_order=True):
        of = dict(zip(keys, key, strict=True))
        cells = {row["familiarity"]: row for row in group.iter_rows(named=True)}
        if not any(row["models"] for row in cells.values()):
            continue
        floors = [row["floor"] for row in cells.values() if row["floor"] is not None]
        rows.append(
            [of["grid"], percent(of["coverage"], 0), percent(of["swap_share"], 0)]
            + [SCORES[of["score"]]]
            + [_cell(cells.get(name)) for name in FAMILIARITIES]
            + [percent(sum(floors) / len(floors)) if floors else NONE]
        )
    columns = ["Grid", "Coverage", "Swapped pairs", "The model"]
    columns += [label.capitalize() for label in FAMILIARITIES.values()]
    caption = (
        "Share of scenes, mean over models with other seeds, with Student's 95 % interval over "
        "them from three on; then the smallest and the largest, and the number of models."
    )
    return View(caption, [*columns, "Bag of concepts"], rows, headers=4)


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return NONE
    if not row["models"]:
        return row["reason"] or NONE
    rest = f", {row['missing']} without" if row["missing"] else ""
    ends = f"{percent(row['smallest'])}–{percent(row['largest'])}"
    return f"{_mean(row)}; {ends}, {_models(row)}{rest}"


# ---------------------------------------------------------------------------- functions


def _functions(scores: pl.DataFrame, functions: pl.DataFrame) -> list[Section]:
    if functions.is_empty():
        return []
    table = carried(scores, functions)
    known = table.drop_nulls(["bound", "share"])
    means = carried_over_seeds(table)
    sentences = [Text(line) for line in relation_sentences(known)]
    chart = Chart(
        name="carried",
        figure=carried_figure(table) if known.height else None,
        data="carried",
        label="What functions carry of a model's objects, by how well it binds unseen ones",
        note=CARRIED_NOTE,
    )
    told = means.filter(pl.col("models") > 0)
    view = _carried_view(told) if told.height else None
    tables = (Table("carried_means", means, view), Table("carried", table))
    return [Section("By what function", (Text(CARRIED_TEXT), *sentences, chart, *tables))]


def _carried_view(means: pl.DataFrame) -> View:
    """`coverage_tables.carried_over_seeds`: a row per cell, a column per class of functions."""
    classes = means.select("class", "width").unique(maintain_order=True).rows()
    rows = []
    for key, group in means.group_by(CELL, maintain_order=True):
        of = dict(zip(CELL, key, strict=True))
        cells = {(row["class"], row["width"]): row for row in group.iter_rows(named=True)}
        first = group.row(0, named=True)
        bound = NONE if first["bound"] is None else percent(first["bound"])
        rows.append(
            [of["grid"], percent(of["coverage"], 0), percent(of["swap_share"], 0), bound]
            + [percent(first["ceiling"]), _models(first)]
            + [_mean(cells[one] | {"value": cells[one]["share"]}) for one in classes]
        )
    columns = ["Grid", "Coverage", "Swapped pairs", "Bound", "Ceiling", "Models"]
    caption = (
        "Objects that probes find in predicted scenes of unseen objects, as a share of those that "
        "they find in true ones (the ceiling): mean over models with other seeds, with Student's "
        "95 % interval over them from three on. Bound: what the figure has below, mean of the "
        "same models. Only models whose ceiling is above what a bag may reach."
    )
    labels = [class_label(str(name), width) for name, width in classes]
    return View(caption, [*columns, *labels], rows, headers=3)


def relation_sentences(known: pl.DataFrame) -> list[str]:
    """Of every grid and class: do models that bind unseen objects have more of it carried?

    Args:
        known: rows of `coverage_tables.carried` with `bound` and `share`.
    """
    told = []
    for grid, rows in known.group_by("grid", maintain_order=True):
        parts = []
        for (name, width), group in rows.group_by("class", "width", maintain_order=True):
            label = class_label(str(name), None if width is None else int(width))
            if group["bound"].n_unique() < FEWEST:
                parts.append(f"{label} not told ({group.height} models, too few of other scores)")
                continue
            if group["share"].n_unique() == 1:
                parts.append(f"{label} not told (the same share of all models)")
                continue
            rho = spearmanr(group["bound"].to_numpy(), group["share"].to_numpy())
            parts.append(f"{label} {rho.statistic:+.2f} (p = {rho.pvalue:.2g})")
        bound = BOUND_WORDS[rows["bound_by"][0]]
        told.append(
            f"{grid[0]}: rank correlation over models of {bound} with the "
            f"share that is carried: {'; '.join(parts)}. {rows['key'].n_unique()} models, not "
            "corrected for several classes; models of one coverage are no independent draws of it."
        )
    return told
