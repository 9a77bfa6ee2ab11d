"""The report's sections on how words are read: disturbed prompts, probes on sentences."""

from __future__ import annotations

import polars as pl

from analysis.report.arms import Arms, label_of
from analysis.report.evaluation_views import SPLIT
from analysis.report.section import Chart, Part, Section, Table, Text
from analysis.report.study import StudyResults
from analysis.report.summary import percent, setting_label
from analysis.report.tables import CLASS_SETS
from analysis.report.text_figures import MOST_PANELS, robustness_figure
from analysis.report.text_tables import (
    probe_rows,
    probes_view,
    robustness_view,
    text_scores,
    way_findings,
)
from analysis.report.views import CLASS_LABELS, count
from gen.evaluation.score import CLEAN

DISTURBED, PROBED = "Disturbed prompts", "Linear probes on sentences"
GUIDE = (
    "The prompts of the headline are written in another way, the images stay: typos in class "
    "names (swapped, dropped, doubled and neighbouring letters), capitals, and where text is "
    "drawn, other fonts and lower rows. A class whose prompts a model cannot read is never its "
    "answer, and its images count as wrong: look at the share that cannot be read before comparing "
    "a model that knows the words of its captions alone with one that sees letters. A difference "
    "is of one model on the same images; its interval is over images, for these typos, and not "
    "corrected for several comparisons: of twenty without any effect one leaves out 0."
)
LINES = (
    "From left to right ways to write prompts, the first undisturbed. A line per run and draw of "
    "held-out classes. Bars: 95 % intervals over test samples, for fixed weights; of typos around "
    "the mean over draws, with the smallest and the largest as dots."
)


def text_sections(results: StudyResults) -> list[Section]:
    """Disturbed prompts and probes on sentences, each where any run has its numbers."""
    sections = [Section(DISTURBED, tuple(_disturbed(results))), Section(PROBED, _probed(results))]
    return [section for section in sections if section.parts]


def _disturbed(results: StudyResults) -> list[Part]:
    table = text_scores(results)
    if table.is_empty():
        return []
    settings = table["setting"].unique(maintain_order=True).to_list()
    domains = table["test_domain"].unique(maintain_order=True).to_list()
    charts = [
        Chart(
            name=f"disturbed-prompts-{classes.replace('_', '-')}",
            figure=robustness_figure(
                rows.with_columns(series="setting"),
                "test_domain",
                {name: f"test domain {name}" for name in domains},
                {name: setting_label(name) for name in settings},
            ),
            data="text_robustness",
            label=f"Accuracy on {CLASS_LABELS[classes]} by how prompts are written",
            note=_note(rows),
        )
        for classes in CLASS_SETS
        if (rows := table.filter(split=SPLIT, classes=classes)).height
    ]
    found = Text(" ".join(way_findings(table)), soft=True)
    view = robustness_view(table)
    return [Text(GUIDE), *charts, found, Table("text_robustness", table, view)]


def _note(rows: pl.DataFrame) -> str:
    counts = rows["n"].drop_nulls().unique().sort().to_list()
    chance = rows.filter(disturbance=CLEAN)["chance"].drop_nulls().unique().sort()
    told = ", ".join(percent(value) for value in chance)
    ends = dict.fromkeys(map(count, [*counts[:1], *counts[-1:]]))
    samples = f" n = {' to '.join(ends)} test samples." if counts else ""
    return f"{LINES}{samples} Dotted: chance with undisturbed prompts ({told})."


def _probed(results: StudyResults) -> tuple[Part, ...]:
    table = probe_rows(results)
    if table.is_empty():
        return ()
    text = (
        "A linear classifier reads off a sentence, at every site of what reads texts, which class, "
        "super-category or domain it names. It is fitted on some patterns of sentences and tested "
        "on others; the super-category on other classes, and the domain also by its other word "
        "(fitted on sentences with `photo`, tested on those with `snapshot`). What a probe reads "
        "is there; whether the model uses it, a probe does not tell."
    )
    return (Text(text), Table("text_probes", table, probes_view(table, results)))


def arm_text_sections(arms: Arms) -> list[Section]:
    """Disturbed prompts, the arms of a study side by side; none where no arm has them."""
    tables = [
        scores.filter(~_pretrained(arm.results)).select(
            pl.lit(label_of(arm)).alias("arm"), pl.all()
        )
        for arm in arms
        if (scores := text_scores(arm.results)).height
    ]
    if not tables:
        return []
    table = pl.concat(tables)
    labels = table["arm"].unique(maintain_order=True).to_list()
    rows = table.filter(split=SPLIT, classes="held_out").with_columns(
        series="arm", place=pl.col("setting") + "\n" + pl.col("test_domain")
    )
    cases = rows.select("place", "setting", "test_domain").unique(maintain_order=True).rows()
    titles = {place: f"{setting_label(setting)}, {domain}" for place, setting, domain in cases}
    more = f" The first {MOST_PANELS} of {len(titles)} panels." if len(titles) > MOST_PANELS else ""
    chart = Chart(
        name="disturbed-prompts",
        figure=robustness_figure(rows, "place", titles, {name: name for name in labels})
        if rows.height
        else None,
        data="text_robustness",
        label="Accuracy on held-out classes by how prompts are written, by arm",
        note=_note(rows) + more,
    )
    told = [
        Text(f"{label}. {' '.join(way_findings(table.filter(arm=label)))}", soft=True)
        for label in labels
    ]
    return [Section(DISTURBED, (Text(GUIDE), chart, *told, Table("text_robustness", table)))]


def _pretrained(results: StudyResults) -> pl.Expr:
    return pl.col("run").is_in([run.name for run in results.plan.runs if run.is_pretrained])
