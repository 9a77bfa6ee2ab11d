"""A point per model: binding across modalities, within images, and by what function."""

from __future__ import annotations

from typing import Any

import polars as pl

from analysis.binding.complexity import Carried, Complexity
from analysis.report.binding_figures import class_label, models_figure
from analysis.report.binding_tables import ACROSS, WITHIN
from analysis.report.section import Chart, Part, Table, Text
from analysis.report.summary import percent
from analysis.statistics import Refused

MODELS_NOTE = (
    "A point per model. Left, what it makes of unseen objects (of all scenes where its training is "
    "not known): to the right of the dotted line captions and images agree on what is bound; above "
    "the other, images tell which attribute belongs to a noun, by linear probes. Published of "
    "pretrained CLIPs: above and not to the right. Right, all objects of a scene among all there "
    "are, in embeddings of images and in what the best class of functions predicts of objects that "
    "it was not fitted on (70 % of them were): on the line a function carries them all, left of "
    "the dotted one there may be nothing to carry. The marker: the simplest class that carries the "
    "objects, at any share of fitted ones. Bars: 95 % over families of scenes, on the right over "
    "draws of the fitted objects where there are three."
)
NO_CLASS = "none of the classes"
NOTHING = "nothing to carry"
UNTOLD = "not analysed"


def simplest_columns(found: Complexity | Refused | None) -> dict[str, Any]:
    """The simplest class that carries a model's objects, or why there is none."""
    if found is None:
        return {"simplest": UNTOLD, "fraction": None, "why": "no table of binding functions"}
    if isinstance(found, Refused):
        return {"simplest": NOTHING, "fraction": None, "why": found.reason}
    if found.simplest is None:
        why = f"no class reaches {percent(found.share)} of the ceiling"
        return {"simplest": NO_CLASS, "fraction": None, "why": why}
    name = class_label(found.simplest.kind, found.simplest.width)
    return {"simplest": name, "fraction": found.simplest.fraction, "why": ""}


def carried_columns(found: Carried | None) -> dict[str, Any]:
    """Objects in embeddings of images, and in what the best class of functions predicts."""
    if found is None:
        return {"carrier": None}
    row: dict[str, Any] = {"carrier": class_label(found.kind, found.width)}
    for measure, (value, lo, hi) in (("held", found.held), ("carried", found.carried)):
        row |= {measure: value, f"{measure}_lo": lo, f"{measure}_hi": hi}
        row |= {f"{measure}_n": found.n, f"{measure}_bag": found.bag}
    return row


def models_parts(points: pl.DataFrame, controlled: pl.DataFrame, sweep: str) -> list[Part]:
    """A study's models, and the controlled models of a coverage sweep beside them.

    Args:
        points: `schemas.BINDING_MODELS`.
        controlled: the same; no rows where the sweep was not run.
        sweep: its name; empty where the study names none.
    """
    every = pl.concat([points, controlled])
    shown: list[Part] = [models_chart(every), Table("binding_models", every)]
    if not sweep:
        return shown
    if controlled.is_empty():
        return [Text(f"No controlled models beside them: run clipgen coverage {sweep}."), *shown]
    told, count = controlled.drop_nulls([ACROSS, WITHIN]).height, controlled.height
    left = "" if told == count else ", of the others nothing can be told on unseen objects"
    beside = (
        f"Beside them stand controlled models of the coverage sweep {sweep}: {told} of {count}"
        f"{left}. Its own page has their curves over coverage."
    )
    return [Text(beside), *shown]


def models_chart(points: pl.DataFrame) -> Chart:
    """The figure of all models.

    Args:
        points: `schemas.BINDING_MODELS`.
    """
    across_and_within = pl.all_horizontal(pl.col(ACROSS, WITHIN).is_not_null())
    known = points.filter(across_and_within | pl.col("held").is_not_null())
    return Chart(
        name="binding-models",
        figure=models_figure(points) if known.height else None,
        data="binding_models",
        label="Binding across modalities, within images, and by a simple function",
        note=MODELS_NOTE,
    )
