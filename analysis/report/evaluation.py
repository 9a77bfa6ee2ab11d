"""The report's sections on evaluation beyond the headline; a section without data is left out."""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from analysis.report import evaluation_tables, evaluation_views, probe_tables
from analysis.report.class_figure import (
    MOST_DRAWS,
    MOST_ROWS,
    class_figure,
    left_out,
)
from analysis.report.evaluation_figures import dot_figure, taken_for_figure
from analysis.report.evaluation_tables import DIRECTIONS, RECALLS
from analysis.report.evaluation_views import SPLIT, WAY_LABELS
from analysis.report.probe_figures import MOST_PANELS, few_shot_figure, site_figure
from analysis.report.section import Chart, Section, Table, Text
from analysis.report.study import StudyResults
from analysis.report.study_plan import StudyPlan
from analysis.report.summary import percent
from analysis.report.tables import CLASS_SETS
from analysis.report.views import CLASS_LABELS, count
from gen.evaluation.calibration import BINS

Parts = list[Text | Chart | Table]
PROMPT_SETS = {
    "domain_free": "names no domain, so that a domain which training never showed is not named "
    "at the test either",
    "single": "is the first sentence of domain_free alone",
    "ensemble": "is all sentences, those that name any of the domains too",
    "domain": "names the domain of the test image",
    "openai": "is the 80 templates published with CLIP",
}
"""prompt set → what its sentences are"""


def evaluation_sections(results: StudyResults) -> list[Section]:
    """Prompts, confusion, calibration, more scores, classes, retrieval, linear probes.

    Each section is there where any run of the study has its scores; runs that have not are rows
    of its tables that say so.
    """
    builders: dict[str, Callable[[StudyResults], Parts]] = {
        "Prompts": _prompts,
        "What held-out classes are taken for": _taken_for,
        "Calibration": _calibration,
        "More scores": _more_scores,
        "Classes": _classes,
        "Retrieval": _retrieval,
        "Linear probes": _probes,
    }
    built = {title: build(results) for title, build in builders.items()}
    return [Section(title, tuple(parts)) for title, parts in built.items() if parts]


def _prompts(results: StudyResults) -> Parts:
    table, sets = evaluation_tables.prompt_scores(results), results.plan.prompts
    if table.is_empty() or len(sets) < 2:
        return []
    charts = [
        Chart(
            name=f"prompts-{classes.replace('_', '-')}",
            figure=dot_figure(
                _tested(table, classes), "balanced top-1 accuracy", "prompts", _same(sets)
            ),
            data="prompts",
            label=f"Accuracy on {CLASS_LABELS[classes]} of the test domain by prompt set",
            note=_note(results.plan, _tested(table, classes), "Colours: prompt sets."),
        )
        for classes in CLASS_SETS
        if _tested(table, classes).height
    ]
    view = evaluation_views.prompts_view(table, sets)
    return [Text(_headline_prompts(sets)), *charts, Table("prompts", table, view)]


def _same(names: tuple[str, ...]) -> dict[str, str]:
    return {name: name for name in names}


def _headline_prompts(sets: tuple[str, ...]) -> str:
    """Which set makes the headline, and what all of them are."""
    told = [f"{name} {PROMPT_SETS[name]}" for name in sets if name in PROMPT_SETS]
    return (
        f"Headline scores are those with the first set, {sets[0]}. Its scores and those of the "
        f"others are of the same weights and images. Sets: {'; '.join(told)}."
    )


def _taken_for(results: StudyResults) -> Parts:
    table = evaluation_tables.taken_for(results)
    held_out = _tested(table, "held_out")
    if held_out.is_empty():
        return []
    text = (
        "A model may recognize no held-out class because it answers with classes that it saw in "
        "the test domain, or because it mixes up held-out classes with each other. By chance, the "
        "share that is taken for a seen class is that of seen classes among all."
    )
    bars = "A bar per run; its parts sum to 100 %. Dotted: the first part by chance."
    chart = Chart(
        name="taken-for",
        figure=taken_for_figure(held_out),
        data="taken_for",
        label="What test samples of held-out classes are taken for",
        note=_note(results.plan, held_out, bars, chance=False),
    )
    return [Text(text), chart, Table("taken_for", table, evaluation_views.taken_for_view(table))]


def _calibration(results: StudyResults) -> Parts:
    table = evaluation_tables.calibration(results)
    tested = _tested(table, *CLASS_SETS)
    if tested.is_empty():
        return []
    text = (
        "Expected calibration error: how far confidence and accuracy differ, in absolute value, "
        f"in {BINS} bins of confidence of equal width, weighted by the samples in each. Confidence "
        "is the probability of the first choice over all classes at the model's own scale of "
        "logits. The error depends on the bins. It cannot be negative, so that noise makes it "
        "larger: of few samples it is above zero for a perfectly calibrated model too. The "
        "interval is of the error without what noise adds."
    )
    chart = Chart(
        name="calibration",
        figure=dot_figure(tested, "expected calibration error", "classes", CLASS_LABELS),
        data="calibration",
        label="Expected calibration error in the test domain",
        note=_note(results.plan, tested, "Left is better.", chance=False),
    )
    view = evaluation_views.calibration_view(table)
    return [Text(text), chart, Table("calibration", table, view)]


def _more_scores(results: StudyResults) -> Parts:
    table = evaluation_tables.more_scores(results)
    if table.is_empty():
        return []
    text = (
        "Balanced scores count every class alike, plain top-1 every image; macro-F1 also counts "
        "images of other classes that were taken for a class."
    )
    return [Text(text), Table("more_scores", table, evaluation_views.scores_view(table))]


def _classes(results: StudyResults) -> Parts:
    table = evaluation_tables.class_scores(results)
    if table.is_empty():
        return []
    tested = table.filter(split=SPLIT)
    charts = [
        Chart(
            name=f"classes-{test_domain}",
            figure=class_figure(rows),
            data="classes",
            label=f"Accuracy on every class of {test_domain}",
            note=_classes_note(results.plan, rows),
        )
        for test_domain in results.plan.test_domains
        if (rows := tested.filter(test_domain=test_domain)).height
    ]
    view = evaluation_views.classes_view(table)
    return [*charts, Table("classes", table, view)]


def _classes_note(plan: StudyPlan, rows: pl.DataFrame) -> str:
    note = (
        "From left to right the hardest to the easiest class, by the mean over the rows; held-out "
        f"classes apart. {_samples(rows, 'per class')} The intervals are in the table: "
        f"95 %, over test samples. Chance: {percent(1 / len(plan.classes))}."
    )
    if words := left_out(rows):
        note += f" {words} All are in the CSV."
    shown = rows.select("setting", "seed").n_unique()
    if shown > MOST_ROWS:
        note += f" The first {MOST_ROWS} of {shown} rows."
    if len(plan.draws) > MOST_DRAWS:
        note += f" The first {MOST_DRAWS} of {len(plan.draws)} draws of held-out classes."
    return note


def _retrieval(results: StudyResults) -> Parts:
    table = evaluation_tables.retrieval(results)
    if table.is_empty():
        return []
    text = (
        "Images look for their captions and captions for their images, among all test images of "
        "the test domain. R@k: the share of queries with a right answer among the first k; ties "
        "count in expectation. The modality gap is the distance between the mean image and the "
        "mean caption, of embeddings of length one: from 0 to 2."
    )
    charts = [
        Chart(
            name=f"retrieval-{direction.replace('_', '-')}",
            figure=dot_figure(rows, "share of the queries", "metric", _recall_labels(direction)),
            data="retrieval",
            label=f"Recall {WAY_LABELS[direction]}, queries of held-out classes",
            note=_note(results.plan, rows, _CHANCES, "queries", chance=False),
        )
        for direction in DIRECTIONS
        if (rows := _tested(table, "held_out").filter(direction=direction)).height
    ]
    view = evaluation_views.retrieval_view(table)
    return [Text(text), *charts, Table("retrieval", table, view)]


_CHANCES = "Dotted: chance, a line per k and draw; from left to right they are those of rising k."


def _recall_labels(direction: str) -> dict[str, str]:
    return {name: f"R@{k}" for name, (way, k) in RECALLS.items() if way == direction}


def _probes(results: StudyResults) -> Parts:
    if results.probes.is_empty():
        return []
    probes = probe_tables.probe_scores(results)
    zero_shot = probe_tables.zero_shot_scores(results)
    sites = probe_tables.site_scores(probes, zero_shot)
    few_shot = probe_tables.few_shot_scores(probes, zero_shot)
    text = (
        "A linear probe is a linear classifier on the activations of a site, which are not "
        "changed. Unlike the zero-shot classifier it is shown labelled images of all classes, "
        "held-out ones too. Trained in the test domain, it tells whether the information is there; "
        f"trained in {results.plan.natural}, whether boundaries drawn there hold in the test "
        "domain."
    )
    parts: Parts = [Text(text)]
    here = probe_tables.tested_here(sites)
    for test_domain in results.plan.test_domains:
        parts += _probe_charts(results.plan, test_domain, here, few_shot)
    parts.append(Table("probe_sites", sites, probe_tables.sites_view(here)))
    if few_shot["shots"].count():
        equivalent = probe_tables.shots_of_zero_shot(few_shot)
        parts.append(Table("few_shot", few_shot, probe_tables.few_shot_view(few_shot)))
        parts.append(Table("equivalent_shots", equivalent, probe_tables.shots_view(equivalent)))
    return parts


def _probe_charts(
    plan: StudyPlan, test_domain: str, sites: pl.DataFrame, few_shot: pl.DataFrame
) -> Parts:
    """The two charts of a test domain; a few-shot curve only where there are shots."""
    of_sites, of_shots = (table.filter(test_domain=test_domain) for table in (sites, few_shot))
    charts: Parts = [
        Chart(
            name=f"probe-sites-{test_domain}",
            figure=site_figure(of_sites) if of_sites["value"].count() else None,
            data="probe_sites",
            label=f"Linear probes by site, tested in {test_domain}",
            note=_probe_note(plan, of_sites, "Bands"),
        )
    ]
    if few_shot["shots"].count():
        note = (
            _probe_note(plan, of_shots.filter(classes="held_out"), "Vertical lines")
            + " Ticks on them: draws of the probe's images; the curve is their mean."
        )
        charts.append(
            Chart(
                name=f"few-shot-{test_domain}",
                figure=few_shot_figure(of_shots) if of_shots["value"].count() else None,
                data="few_shot",
                label=f"Few-shot probes of the last site on held-out classes of {test_domain}",
                note=note,
            )
        )
    return charts


def _probe_note(plan: StudyPlan, rows: pl.DataFrame, marks: str) -> str:
    lines = "A line per draw of held-out classes and seed of training. "
    note = (
        f"{marks}, and bands of the zero-shot lines: 95 % intervals over test samples. "
        f"{lines if plan.is_replicated else ''}{_samples(rows)} Dotted: chance."
    )
    settings = rows["setting"].n_unique()
    if settings > MOST_PANELS:
        note += f" The first {MOST_PANELS} of {settings} settings; all are in the CSV."
    return note


def _tested(table: pl.DataFrame, *classes: str) -> pl.DataFrame:
    """What charts show: scores and missing ones, but not those that a finished run cannot have."""
    there = pl.col("value").is_not_null() | pl.col("missing")
    return table.filter(there, pl.col("classes").is_in(classes), split=SPLIT)


def _note(
    plan: StudyPlan, rows: pl.DataFrame, reading: str, what: str = "", *, chance: bool = True
) -> str:
    """How to read a chart, what varies in it, and of how many samples."""
    told = [reading, "Intervals: 95 %, over test samples, for fixed weights."]
    if plan.is_replicated:
        told.append("Draws of held-out classes and seeds stand below each other, none averaged.")
    told += [_samples(rows, what), *(["Dotted: chance."] if chance else [])]
    return " ".join(part for part in told if part)


def _samples(rows: pl.DataFrame, what: str = "") -> str:
    """How many test samples stand behind each score of some rows."""
    counts = rows["n"].drop_nulls().unique().sort().to_list()
    if not counts:
        return ""
    shown = count(counts[0])
    if len(counts) > 1:
        shown += f" to {count(counts[-1])}"
    kind = "queries" if what == "queries" else "test samples"
    return f"n = {shown} {kind}{' per class' if what == 'per class' else ''}."
