"""The section on images and words, layer by layer."""

from __future__ import annotations

from math import inf

import polars as pl

from analysis.report.circuit_tables import LEVEL_WORDS, NODES
from analysis.report.circuit_text import shared_sentence
from analysis.report.modality_tables import (
    ANY_BASIS,
    NODE_INDEX,
    NODE_JACCARD,
    SAME_BASIS,
    gap_lines,
    modality_pairs,
    told_sites,
)
from analysis.report.modality_text import gap_sentence
from analysis.report.section import Chart, Section, Table, Text
from analysis.report.sharing import settings_of
from analysis.report.sharing_figures import (
    MOST_PANELS,
    REPLICATES,
    Looks,
    beyond_axis,
    kinds_figure,
    layer_figure,
)
from analysis.report.sharing_floor import uncorrected, with_floors
from analysis.report.sharing_tables import RESIDUAL, SHARED, over_runs, sharing
from analysis.report.sharing_text import (
    REFERENCES,
    measure_label,
    replicates_sentence,
    site_sentence,
)
from analysis.report.sharing_views import over_runs_view, primary_view
from analysis.report.study import StudyResults

Parts = list[Text | Chart | Table]
TITLE = "Images and words, layer by layer"
MEANING = (
    "Sentences that name a class, and no domain, stand beside the images of every domain: their "
    "class means are compared layer by layer. A model with one tower reads drawn sentences by the "
    "weights that read images, so that it can be asked whether both meet in the same directions "
    "(S_id). Two towers have no directions in common before the joint embedding; of them only "
    "measures that know no directions (CKA) compare layers, at equal relative depth."
)
LAYERS = (
    "How to read it: a panel per setting, depth from left to right. Thick line: images of the test "
    "domain with sentences, with the 95 % jackknife interval over classes; thin lines: images of "
    "the other domains. Above the grey band, images and sentences share more than shuffled classes "
    "would; above the blue one, more than before training; where a line reaches the green one, "
    "sentences are as alike to images as other images of the domain, or other sentences, are among "
    "themselves."
)
NODES_NOTE = (
    "How to read it: the strongest tenth of a site's nodes for images of a class, held against "
    "that for sentences of the class. Only what lies above the blue band (images with sentences of "
    "another class) is about the class; where the line reaches the green one, the two have as much "
    "in common as other images, or other sentences, of the class. Thick line: images of the test "
    "domain, with the 95 % jackknife interval over classes. One tower only."
)
GAPS_NOTE = (
    "How to read it: the distance between the mean of the test domain's images and that of the "
    "sentences, in units of the spread of images and sentences within classes: at 1 it is as large "
    "as this. Before training there is a gap already; beside it, what images of other domains are "
    "apart. That the two are far apart does not say that they share no directions of classes. "
    "Bands: 95 % jackknife over classes; of images of other domains the mean of their intervals."
)
WORDS = ("images of {} with sentences, 95 %", "", "images of other domains with sentences")
BANDS = {
    "ceiling": "other images, other sentences",
    "floor": "untrained network",
    "chance": "classes shuffled",
}
NODE_BANDS = {
    "ceiling": "other images or sentences, same class",
    "floor": "sentences of another class",
    "chance": "as many random nodes",
}
APART: Looks = {
    "text": ("from sentences", "-", "#D55E00"),
    "text_untrained": ("from sentences, before training", "--", "#56B4E9"),
    "images": ("from images of other domains", "-", "#777777"),
}
VIEW_CAPTION = (
    "The {} of images with sentences at the primary site and at the embedding, with 95 % intervals "
    "over classes; the first columns are of images of the test domain, `other pairs` the mean over "
    "those of other domains. Untrained: the network before training. Why a number is not estimable "
    "stands in the CSV's column note."
)
OVER_RUNS = "The noise-corrected CKA of the test domain's images with sentences"


def modality_sections(results: StudyResults) -> list[Section]:
    """The section on images and words; none where no run has its tables."""
    pairs = modality_pairs(results)
    if pairs.is_empty():
        return []
    means = with_floors(sharing(pairs), pairs)
    gaps = gap_lines(results)
    parts: Parts = [Text(MEANING)]
    for test_domain in results.plan.test_domains:
        text = _paragraph(results, test_domain, means, gaps)
        parts += [Text(text)] if text else []
    parts.append(Text(replicates_sentence(results.plan), soft=True))
    for test_domain in results.plan.test_domains:
        parts += _layer_charts(results, test_domain, pairs, means)
        parts += _gap_charts(results, test_domain, gaps)
    return [Section(TITLE, (*parts, *_tables(results, pairs, means, gaps)))]


def _paragraph(
    results: StudyResults, test_domain: str, means: pl.DataFrame, gaps: pl.DataFrame
) -> str:
    """What can be said of one test domain."""
    what = f"images of {test_domain} with sentences"
    here = means.filter(test_domain=test_domain, pairs="with_test_domain", classes=SHARED)
    told = []
    for measure in (ANY_BASIS, SAME_BASIS):
        rows = told_sites(here.filter(level=RESIDUAL, measure=measure))
        for _, of_site in rows.group_by("site", maintain_order=True):
            if of_site["value"].count() or measure == ANY_BASIS:
                told.append(site_sentence(of_site, tuple(REFERENCES), what))
    nodes = here.filter(site=NODES, measure=NODE_INDEX)
    if nodes.height:
        told.append(shared_sentence(nodes, what))
    rows = told_sites(gaps.filter(test_domain=test_domain))
    told += [
        gap_sentence(of_site)
        for _, of_site in rows.group_by("site", maintain_order=True)
        if of_site.filter(apart_from="text")["value"].count()
    ]
    return " ".join(told)


# ---------------------------------------------------------------------------- charts


def _layer_charts(
    results: StudyResults, test_domain: str, pairs: pl.DataFrame, means: pl.DataFrame
) -> Parts:
    """Class means by both measures; then nodes, level by level."""
    here, mean = (
        table.filter(pl.col("site") != NODES, test_domain=test_domain, classes=SHARED)
        for table in (pairs, means)
    )
    parts: Parts = []
    for measure in (ANY_BASIS, SAME_BASIS):
        lines = here.filter(level=RESIDUAL, measure=measure)
        rows = mean.filter(level=RESIDUAL, measure=measure)
        label = f"Images of {test_domain} and sentences by layer: {measure_label(measure)}"
        name = f"modalities-{test_domain}-{measure.replace('_', '-')}"
        parts.append(_layer_chart(results, lines, rows, (name, label, LAYERS), BANDS))
    for level in here.filter(measure=NODE_JACCARD)["level"].unique(maintain_order=True):
        lines = here.filter(level=level, measure=NODE_JACCARD)
        rows = mean.filter(level=level, measure=NODE_JACCARD)
        words = LEVEL_WORDS.get(level, level)
        label = f"Strongest {words} for images of {test_domain} and for sentences, by layer"
        told = (f"modalities-{test_domain}-{level}", label, NODES_NOTE)
        parts.append(_layer_chart(results, lines, rows, told, NODE_BANDS))
    return parts


def _layer_chart(
    results: StudyResults,
    lines: pl.DataFrame,
    means: pl.DataFrame,
    told: tuple[str, str, str],
    bands: dict[str, str],
) -> Chart:
    """A chart of images with sentences, by its name, label and note."""
    name, label, note = told
    figure = None
    if lines["value"].count():
        settings = settings_of(results, lines["test_domain"][0])
        axis = measure_label(lines["measure"][0])
        figure = layer_figure(lines, means, settings, axis, bands, WORDS)
    return Chart(name, figure, "modality_pairs", label, f"{note} {_rest(results, lines)}".strip())


def _gap_charts(results: StudyResults, test_domain: str, gaps: pl.DataFrame) -> Parts:
    rows = gaps.filter(test_domain=test_domain)
    if not rows["value"].count():
        return []
    settings, axis = settings_of(results, test_domain), "distance over spread"
    figure = kinds_figure(rows, settings, "apart_from", APART, axis, highest=inf)
    label = f"How far images of {test_domain} lie from sentences, by layer"
    note = f"{GAPS_NOTE} {_rest(results, rows, bounded=False)}".strip()
    return [Chart(f"modality-gaps-{test_domain}", figure, "modality_gaps", label, note)]


def _rest(results: StudyResults, rows: pl.DataFrame, *, bounded: bool = True) -> str:
    """What a chart has several lines of, and what it leaves out."""
    told = [REPLICATES] if results.plan.is_replicated else []
    settings = rows["setting"].n_unique()
    if settings > MOST_PANELS:
        told.append(f"The first {MOST_PANELS} of {settings} settings; all are in the CSV.")
    told += beyond_axis(rows) if bounded else []
    gaps = rows["value"].null_count()
    if gaps:
        told.append(f"{gaps} of {rows.height} numbers are not estimable: the CSV says why.")
    return " ".join(told)


# ---------------------------------------------------------------------------- tables


def _tables(
    results: StudyResults, pairs: pl.DataFrame, means: pl.DataFrame, gaps: pl.DataFrame
) -> Parts:
    told = told_sites(means.filter(level=RESIDUAL))
    parts: Parts = [
        Table("modality_pairs", pairs.drop("left_out")),
        Table("modality_gaps", gaps),
    ]
    for measure in (ANY_BASIS, SAME_BASIS):
        rows = told.filter(measure=measure)
        if rows["value"].count():
            caption = VIEW_CAPTION.format(measure_label(measure))
            plain = told.filter(measure=uncorrected(measure))
            parts.append(Table("modality_sharing", means, primary_view(rows, plain, caption)))
    if len(parts) == 2:  # no measure has a number, and the table is there all the same
        parts.append(Table("modality_sharing", means))
    if results.plan.is_replicated:
        mine = told.filter("primary", measure=ANY_BASIS, pairs="with_test_domain", classes=SHARED)
        view = over_runs_view(over := over_runs(mine), OVER_RUNS)
        parts.append(Table("modality_over_runs", over, view))
    return parts
