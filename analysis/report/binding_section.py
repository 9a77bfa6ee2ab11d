"""The section on concept binding: does a model know which concept goes with which object?"""

from __future__ import annotations

from collections import Counter
from typing import Any

import polars as pl

from analysis.binding.complexity import best_carried, complexity
from analysis.report.arms import Arms, label_of
from analysis.report.binding_figures import (
    MOST_PANELS,
    behaviour_figure,
    function_figure,
)
from analysis.report.binding_models import carried_columns, models_parts, simplest_columns
from analysis.report.binding_tables import (
    ACROSS,
    ANY,
    CONCEPTS,
    PARTS,
    WITHIN,
    behaviour,
    function_curves,
    function_rows,
    novel_part,
)
from analysis.report.binding_views import SIDES, behaviour_view, geometry_views
from analysis.report.schemas import BINDING_MODELS
from analysis.report.section import Chart, Part, Section, Table, Text
from analysis.report.study import StudyResults
from analysis.report.study_plan import PlannedRun
from analysis.report.summary import percent, setting_label

TITLE = "Concept binding"
MEANING = (
    "Scenes of several objects ask whether a model knows which concept goes with which object. A "
    "bag of concepts knows the concepts of a scene and not how they are bound: it cannot tell a "
    "caption from the one in which two objects have exchanged a value. Swaps are matched: scene "
    "and swap are both made of objects that training showed, or both of unseen ones; unseen "
    "objects are new combinations of values that training showed."
)
BEHAVIOUR_NOTE = (
    "How to read it: above the line of retrieval, across modalities; below, what linear probes "
    "read off one modality, fitted on some families of scenes and asked on others. Grey strokes: "
    "what a bag of concepts reaches. Of objects and attributes only scenes count whose swap is "
    "asked as well. Bars: 95 % over families of scenes of one model; no seeds, no other objects."
)
FUNCTION_NOTE = (
    "How to read it: functions of rising complexity predict the embedding of a scene from its "
    "concepts, fitted on scenes of some objects and asked for scenes of others; probes of true "
    "embeddings then look for the objects in what was predicted. Where a simple class reaches the "
    "dashed line, binding is a simple rule; where none does, these classes find none. Bands: "
    "95 % over three draws of the fitted objects, Student's t."
)
GUESS = 0.5
"""of an image between two captions"""
VERDICTS = {
    (False, True): "This agrees with what was published of CLIP: not to be told from a bag of "
    "concepts across modalities, although images bind by themselves.",
    (True, True): "This is not the published picture of CLIP: objects are bound across "
    "modalities, too.",
    (False, False): "This is less than was published of CLIP: not to be told from a bag of "
    "concepts across modalities, and no more can be told of images.",
    (True, False): "This is not the published picture of CLIP: captions and images agree on "
    "what is bound, although linear probes do not find it in images.",
}
"""by whether a model is clear of a bag of concepts across modalities, and within images"""
UNSCORED = "Whether it binds cannot be told; the table of all scores says why."
UNLEARNED = (
    "Captions with a replaced value are not told apart either: across modalities not even concepts "
    "are known, and nothing can be told of how they are bound."
)
MOST_TOLD = 8
"""models that have a sentence of their own"""


def binding_sections(results: StudyResults) -> list[Section]:
    """The section of a study, where any of its runs has the tables."""
    table = behaviour(results)
    if table.is_empty():
        return []
    parts: list[Part] = [Text(MEANING)]
    labels = run_labels(results)
    points = model_points(results)
    parts += [Text(sentence) for sentence in claim_sentences(points)]
    parts += models_parts(points, results.controlled, results.plan.coverage)
    for size in table["objects"].unique(maintain_order=True):
        rows = table.filter(objects=size)
        parts.append(
            Chart(
                name=f"binding-behaviour-{size}",
                figure=behaviour_figure(rows, labels) if rows["value"].count() else None,
                data="binding_behaviour",
                label=f"What models know of scenes of {size} objects",
                note=BEHAVIOUR_NOTE + _more(labels),
            )
        )
    parts.append(Table("binding_behaviour", table, behaviour_view(table, labels)))
    parts += _functions(results, labels)
    parts += geometry_views(results, labels)
    return [Section(TITLE, tuple(parts))]


def arm_binding_sections(arms: Arms) -> list[Section]:
    """Models of all arms on one figure."""
    found = [
        model_points(arm.results, label_of(arm)) for arm in arms if behaviour(arm.results).height
    ]
    if not found:
        return []
    points = pl.concat(found).unique("run", maintain_order=True)
    told = [Text(sentence) for sentence in claim_sentences(points)]
    first = arms[0].results
    shown = models_parts(points, first.controlled, first.plan.coverage)
    return [Section(TITLE, (Text(MEANING), *told, *shown))]


def run_labels(results: StudyResults) -> dict[str, str]:
    """What runs that have tables of binding are called: no two alike.

    Their setting; test domains, draws of held-out classes and the seed where runs of it differ.
    """
    named = set(results.analyses["binding"]["run"].unique())
    runs = [run for run in results.plan.runs if run.name in named]
    return {
        run.name: _label(run, [one for one in runs if one.setting == run.setting]) for run in runs
    }


def _label(run: PlannedRun, alike: list[PlannedRun]) -> str:
    words = [setting_label(run.setting)]
    if any(other.test_domains != run.test_domains for other in alike):
        words.append(" and ".join(run.test_domains))
    if any(other.draws != run.draws for other in alike):
        words.append(f"draw {' and '.join(map(str, run.draws))}")
    if any(other.seed != run.seed for other in alike):
        words.append(f"seed {run.seed}")
    return ", ".join(words)


def model_points(results: StudyResults, arm: str = "") -> pl.DataFrame:
    """A row per run, on scenes of the fewest objects: what the figure of all models shows.

    Args:
        results: of a study with tables of binding.
        arm: what labels begin with; pretrained models belong to no arm.

    Returns:
        `schemas.BINDING_MODELS`; models of one setting are a `group`.
    """
    table, labels = behaviour(results), run_labels(results)
    fewest = int(table["objects"].to_numpy().min())
    functions = function_rows(results, "images")
    rows = []
    for run in (run for run in results.plan.runs if run.name in labels):
        own = table.filter(run=run.name, objects=fewest)
        part = novel_part(own["part"].unique().to_list())
        prefix = f"{arm}, " if arm and not run.is_pretrained else ""
        row: dict[str, Any] = {"run": run.name, "model": prefix + labels[run.name]}
        row |= {"group": prefix + setting_label(run.setting), "objects": fewest, "part": part}
        for key in (CONCEPTS, ACROSS, WITHIN):
            (score,) = own.filter(measure=key, part=part).head(1).to_dicts() or [{}]
            row |= {key: score.get("value"), f"{key}_n": score.get("n")}
            row |= {f"{key}_{end}": score.get(end) for end in ("lo", "hi", "bag")}
        of_run = functions.get((run.name, fewest), [])
        row |= carried_columns(best_carried(of_run))
        rows.append(row | simplest_columns(complexity(of_run) if of_run else None))
    return pl.DataFrame(rows, schema=BINDING_MODELS)


def claim_sentences(points: pl.DataFrame) -> list[str]:
    """Bound across, held within, and is that the published picture?

    A sentence per model; of more than MOST_TOLD only how many models each is true of.
    """
    rows = points.to_dicts()
    if len(rows) <= MOST_TOLD:
        return [_claim(row) for row in rows]
    counts = Counter(_verdict(row) for row in rows)
    return [f"{number} of {len(rows)} models: {text}" for text, number in counts.most_common()]


def _claim(row: dict[str, Any]) -> str:
    where = PARTS[ANY] if row["part"] == ANY else f"scenes of {PARTS[row['part']]}"
    if row[ACROSS] is None or row[WITHIN] is None:
        return f"{row['model']}, {where}: {_verdict(row)}"
    concepts = row[CONCEPTS]
    control = (
        "" if concepts is None else f"one with a value replaced in {percent(concepts)} and to "
    )
    if row["why"]:
        simplest = f"Binding function: {row['simplest']} ({row['why']})."
    else:
        simplest = (
            f"The simplest function that carries its objects: {row['simplest']}, fitted on "
            f"{percent(row['fraction'], 0)} of them."
        )
    return (
        f"{row['model']}, {where}: an image prefers its caption to {control}the swap in "
        f"{_side(row, ACROSS)}; probes on images tell a noun's attribute in {_side(row, WITHIN)}. "
        f"{_verdict(row)} {simplest}"
    )


def _verdict(row: dict[str, Any]) -> str:
    if row[ACROSS] is None or row[WITHIN] is None:
        return UNSCORED
    across, within = (row[f"{key}_lo"] > row[f"{key}_bag"] for key in (ACROSS, WITHIN))
    known = row[f"{CONCEPTS}_lo"]
    if not across and known is not None and known <= GUESS:
        return UNLEARNED
    return VERDICTS[across, within]


def _side(row: dict[str, Any], key: str) -> str:
    value, lo, hi, bag = (row[f"{key}{end}"] for end in ("", "_lo", "_hi", "_bag"))
    return f"{percent(value)} ({percent(lo)}–{percent(hi)}; a bag: {percent(bag)})"


def _functions(results: StudyResults, labels: dict[str, str]) -> list[Part]:
    """The binding function of images and captions: a figure of each number of objects."""
    table = function_curves(results)
    if table.is_empty():
        return []
    parts: list[Part] = []
    for size in table["objects"].unique(maintain_order=True):
        rows = table.filter(objects=size, kind="object", bank="full").with_columns(
            panel=pl.col("run") + "\n" + pl.col("side")
        )
        panels = {
            f"{run}\n{side}": f"{label}, {word}"
            for run, label in labels.items()
            for side, word in SIDES.items()
        }
        parts.append(
            Chart(
                name=f"binding-function-{size}",
                figure=function_figure(rows, panels) if rows["value"].count() else None,
                data="binding_function_curves",
                label=f"How simple a function binds: scenes of {size} objects, unseen ones",
                note=FUNCTION_NOTE + _more(panels),
            )
        )
    return [*parts, Table("binding_function_curves", table)]


def _more(panels: dict[str, str]) -> str:
    if len(panels) <= MOST_PANELS:
        return ""
    return f" The first {MOST_PANELS} of {len(panels)} panels; all stand in the table."
