"""What stands below the figures: what they show, what varies in them, and what they leave out."""

from __future__ import annotations

from analysis.report.accuracy_figures import has_rows
from analysis.report.figures import COLOURS, EXPOSURE_SETTINGS, KNOWN
from analysis.report.study_plan import StudyPlan


def figure_notes(plan: StudyPlan) -> dict[str, str]:
    """Notes by the kind of figure: `headline`, `exposure`, `training`."""
    return {
        "headline": _headline(plan),
        "exposure": _exposure(plan),
        "training": _training(plan),
    }


def _headline(plan: StudyPlan) -> str:
    if not has_rows(len(plan.settings), len(plan.draws)):
        return "Dashed, with band: upper bounds, which saw these classes in this domain. " + _CHANCE
    many_seeds = len(plan.seeds) > 1
    if len(plan.draws) > 1:
        seeds = ", with a point per seed" if many_seeds else ""
        shown = f"A marker per draw of held-out classes{seeds}. "
    else:
        shown = "A point per seed. " if many_seeds else ""
    mean = "their mean" if plan.is_replicated else "the same in numbers"
    return f"{shown}At the right: {mean}. {_CHANCE}"


_CHANCE = "Dotted: chance."


def _exposure(plan: StudyPlan) -> str:
    note = "Held-out classes stand at the right of the line. Counts are exact: nothing varies."
    if len(plan.draws) > 1:
        note += f" Draw 0 of held-out classes, the first of {len(plan.draws)}."
    if len(plan.settings) > EXPOSURE_SETTINGS:
        note += f" The first {EXPOSURE_SETTINGS} settings; there are {len(plan.settings)}."
    return note


def _training(plan: StudyPlan) -> str:
    note = (
        "The floor is the loss that equal captions in a batch leave to a perfect model. One line "
        "per run, without interval."
    )
    variants = [name for name in plan.settings if name not in KNOWN]
    if len(KNOWN) + len(variants) > len(COLOURS):
        note += " Variants have the colour of the setting that they vary."
    return note
