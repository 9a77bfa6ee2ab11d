"""The sections on the nodes that carry classes: which, how many of them, whose; each where it has
tables."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from analysis.headline import headline
from analysis.report import circuit_tables, sharing_headline, sharing_tables, sharing_views
from analysis.report.cause_tables import ablation_lines
from analysis.report.cause_text import ablation_sentence
from analysis.report.circuit_tables import (
    EDGE_LEVEL,
    EDGES,
    LEVEL_WORDS,
    MEASURE,
    NODE_LEVELS,
    NODES,
    RAW,
)
from analysis.report.circuit_text import accuracy_sentences, shared_sentence
from analysis.report.circuit_views import BASELINES, SCORES, accuracy_view, nodes_view, quality_view
from analysis.report.domain_matrices import pair_matrix
from analysis.report.section import Chart, Section, Table, Text
from analysis.report.sharing import settings_of
from analysis.report.sharing_figures import (
    CLASS_SETS,
    MOST_PANELS,
    REPLICATES,
    Dashes,
    kinds_figure,
    layer_figure,
)
from analysis.report.sharing_heat import MOST_ROWS, heat_figure, some_sites
from analysis.report.sharing_points import generalization_figure
from analysis.report.sharing_tables import SHARED, first_run
from analysis.report.sharing_text import (
    comparisons,
    headline_sentence,
    measure_label,
    replicates_sentence,
)
from analysis.report.study import StudyResults
from analysis.report.study_plan import StudyPlan

Parts = list[Text | Chart | Table]
MOST_HEATS = 3
"""layers of a heat map, beside all nodes"""
PUBLISHED = "css"
"""the Circuit Shift Score of Peng et al. 2026, which sharing must add something to"""
BANDS = {
    "ceiling": "other images, same class and domain",
    "floor": "another class, same domain",
    "chance": "as many random nodes",
}
COLOURS = {"atp": "#D55E00", "ig_input": "#0072B2", "ig_layer": "#009E73"}
MEANING = (
    "A node (a channel, an attention head, a neuron of an MLP) is scored for a class in a domain "
    "by what the margin of the class loses, to first order, when the node is set to what it is on "
    "average for other classes of the same domain. The strongest tenth of a site's nodes is held "
    "against that of another domain. Any two such sets overlap: different classes of one domain "
    "do (the floor), and even the same class and domain do not fully on other images (the "
    "ceiling). The normalised index is 0 at the floor and 1 at the ceiling. Overlap is not yet a "
    "shared mechanism: what the nodes carry is asked below."
)
QUALITY_NOTE = (
    "How to read it: for every site the Spearman correlation, over nodes, of a score with what the "
    "margin really loses when the node alone is replaced. At 1 the score orders nodes as ablation "
    "does; at 0 (dotted) it says nothing of single nodes, and overlaps of such scores are about "
    "something else. Dashed: scores against another baseline than other classes of the domain. "
    "Bands: 95 % over nodes. The first run of each setting."
)
LAYERS_NOTE = (
    "How to read it: a panel per setting, depth from left to right. Thick line: mean of the pairs "
    "that include the test domain, with its 95 % jackknife interval over classes; thin lines: "
    "single pairs. Only what lies above the blue band is about the class; where the line reaches "
    "the green one, the two domains have as much in common as other images of one domain. All "
    "three are between two halves of the images. Bands go from the lowest to the highest pair; "
    "chance is an interval of the mean."
)
SETS_NOTE = (
    "How to read it: on the normalised index, pairs with the test domain: classes that training "
    "shows in the test domain, and those it holds out there. 0 is what other classes of a domain "
    "have in common, 1 what other images of the class have. Bands: 95 % jackknife over classes of "
    "the ratio of means; a site whose ceiling is not clearly above its floor has no number."
)
HEAT_NOTE = (
    "How to read it: rows of panels are settings, columns are layers; a cell is a pair of domains, "
    "on seen classes. One scale of colours. A dot in the corner: the 95 % interval reaches 0, what "
    "other classes of a domain have in common."
)
POINTS_NOTE = (
    "How to read it: a dot per run and draw: how much of the strongest nodes the test domain "
    "shares with the others, on classes that training may show there, against accuracy on the "
    "classes that are held out there. Horizontal: 95 % jackknife over seen classes; vertical: "
    "95 % over test samples. Runs of a setting differ in seed and draw. Settings differ in more "
    "than this: the regression has accuracy on seen classes and the amount of data of the test "
    "domain beside it."
)
QUESTIONS = "Two answers: sharing beside generalization, and shared against private parts"
MATTERING = (
    "Do shared parts matter more? Nodes that carry a class in the test domain are taken away: "
    "those that at least half of the other domains have too, and as many, with like scores, that "
    "none of them has. Differences are of losses of margin, shared minus private, of the same "
    "images, with 95 % intervals over classes."
)
ANSWER = (
    "Are parts shared more where generalization succeeded? Two settings differ in what they share "
    "(all nodes, the normalised index, seen classes) and in accuracy on held-out classes. "
    "That both differ in the same direction is no evidence that one of them moves the other; "
    "sharing is measured on other classes than accuracy, and what becomes of answers when nodes "
    "are taken away stands in the section on changed parts."
)


def scores_section(
    results: StudyResults, pairs: pl.DataFrame, means: pl.DataFrame
) -> Section | None:
    """Which nodes carry a class, and who shares them; None without tables.

    Args:
        results: of the study.
        pairs: `circuit_tables.circuit_pairs`.
        means: `sharing_tables.sharing` of them.
    """
    quality = quality_parts(results)
    shared = node_parts(results, pairs, means) if pairs.height else []
    if not quality and not shared:
        return None
    return Section("Which parts carry a class", (Text(MEANING), *quality, *shared))


# ---------------------------------------------------------------------------- scores


def quality_parts(results: StudyResults) -> Parts:
    """How far scores agree with exact ablation, per site and over sites."""
    table = circuit_tables.quality(results)
    if table.is_empty():
        return []
    charts: Parts = []
    kind = pl.col("score") + pl.lit("|") + pl.col("baseline")
    first = circuit_tables.first_runs(table).with_columns(kind=kind)
    for level in first["level"].unique(maintain_order=True):
        rows = first.filter(level=level)
        settings = rows["setting"].unique(maintain_order=True).to_list()
        looks = {name: _score_look(name) for name in rows["kind"].unique(maintain_order=True)}
        figure = None
        if rows["value"].count():
            figure = kinds_figure(rows, settings, "kind", looks, "Spearman correlation")
        label = f"Scores against exact ablation: {LEVEL_WORDS.get(level, level)}"
        note = f"{QUALITY_NOTE} {_gaps(rows, settings)}".strip()
        charts.append(Chart(f"attribution-{level}", figure, "attribution_quality", label, note))
    over_sites = circuit_tables.quality_means(table)
    return [
        *charts,
        Table("attribution_quality", table.drop("value", "lo", "hi", "draw", "chance")),
        Table("attribution_means", over_sites, quality_view(over_sites)),
    ]


def _score_look(name: str) -> tuple[str, Dashes, str]:
    score, _, baseline = name.partition("|")
    label = f"{SCORES.get(score, score)}; baseline: {BASELINES.get(baseline, baseline)}"
    is_default = baseline == "domain_other_class"
    return label, "-" if is_default else "--", COLOURS.get(score, "#777777")


def _gaps(rows: pl.DataFrame, settings: Sequence[str], *, replicated: bool = False) -> str:
    """What a chart has several lines of, and what it leaves out."""
    told = [REPLICATES] if replicated else []
    if len(settings) > MOST_PANELS:
        told.append(f"The first {MOST_PANELS} of {len(settings)} settings; all are in the CSV.")
    gaps = rows["value"].null_count()
    if gaps:
        told.append(f"{gaps} of {rows.height} numbers are not estimable: the CSV says why.")
    return " ".join(told)


# ---------------------------------------------------------------------------- sharing


def node_parts(results: StudyResults, pairs: pl.DataFrame, means: pl.DataFrame) -> Parts:
    """How much of the strongest nodes domains share, by layer and of all nodes together.

    Args:
        results: of the study.
        pairs: `circuit_tables.circuit_pairs`.
        means: `sharing_tables.sharing` of them.
    """
    parts: Parts = []
    for test_domain in results.plan.test_domains:
        of_domain = (table.filter(test_domain=test_domain) for table in (pairs, means))
        parts += _layer_charts(results, test_domain, *of_domain)
    told = means.filter("primary", pl.col("measure").is_in([MEASURE, RAW]))
    with_test = told.filter(pairs="with_test_domain", measure=MEASURE, classes=SHARED)
    paragraphs = [
        shared_sentence(rows)
        for domain in results.plan.test_domains
        if (rows := with_test.filter(test_domain=domain)).height
    ]
    if paragraphs:
        paragraphs[-1] = f"{paragraphs[-1]} {replicates_sentence(results.plan)}"
    drawn = pairs.filter(pl.col("measure").is_in([MEASURE, RAW]), classes=SHARED)
    over_runs = sharing_tables.over_runs(with_test)
    return [
        *(Text(text) for text in paragraphs),
        *parts,
        Table("node_pairs", drawn.drop("left_out")),
        Table("node_sharing", means, nodes_view(told) if told.height else None),
        Table(
            "node_sharing_over_runs",
            over_runs,
            sharing_views.over_runs_view(over_runs) if results.plan.is_replicated else None,
        ),
    ]


def _layer_charts(
    results: StudyResults, test_domain: str, pairs: pl.DataFrame, means: pl.DataFrame
) -> Parts:
    """All charts by layer of a test domain."""
    levels = [level for level in (*NODE_LEVELS, EDGE_LEVEL) if level in set(pairs["level"])]
    settings = settings_of(results, test_domain)
    by_site = ~pl.col("site").is_in([NODES, EDGES])
    parts: Parts = []
    for level in levels:
        lines = pairs.filter(by_site, level=level, measure=RAW, classes=SHARED)
        mean = means.filter(by_site, level=level, measure=RAW, classes=SHARED)
        if lines.is_empty():
            continue
        words, label = LEVEL_WORDS[level], measure_label(RAW)
        drawable = lines["value"].count() > 0
        figure = layer_figure(lines, mean, settings, label, BANDS) if drawable else None
        note = (
            f"{LAYERS_NOTE} {_gaps(lines, settings, replicated=results.plan.is_replicated)}".strip()
        )
        name = f"nodes-{test_domain}-{level}"
        title = f"Strongest {words} shared with {test_domain}, by layer: {label}"
        parts.append(Chart(name, figure, "node_pairs", title, note))
    return [
        *parts,
        *_class_charts(results, test_domain, means, settings),
        *_heat_charts(results.plan, pairs),
    ]


def _class_charts(
    results: StudyResults, test_domain: str, means: pl.DataFrame, settings: Sequence[str]
) -> Parts:
    """Seen and held-out classes on the normalised index, a chart per level of nodes."""
    parts: Parts = []
    replicated = results.plan.is_replicated
    by_site = ~pl.col("site").is_in([NODES, EDGES])
    rows = means.filter(
        by_site,
        pl.col("classes").is_in(list(CLASS_SETS)),
        measure=MEASURE,
        pairs="with_test_domain",
    )
    for level in NODE_LEVELS:
        sets = rows.filter(level=level)
        if not sets["value"].count():
            continue
        figure = kinds_figure(sets, settings, "classes", CLASS_SETS, measure_label(MEASURE))
        label = f"Seen and held-out classes: shared {LEVEL_WORDS[level]}, pairs with {test_domain}"
        note = f"{SETS_NOTE} {_gaps(sets, settings, replicated=replicated)}".strip()
        name = f"nodes-classes-{test_domain}-{level}"
        parts.append(Chart(name, figure, "node_sharing", label, note))
    return parts


def _heat_charts(plan: StudyPlan, pairs: pl.DataFrame) -> Parts:
    """Domain by domain, of the first draw and seed that each setting has, and all nodes last."""
    rows = pairs.filter(
        pl.col("level").is_in(NODE_LEVELS) | (pl.col("site") == NODES),
        measure=MEASURE,
        classes=SHARED,
    ).drop_nulls("value")
    if rows.is_empty():
        return []
    panels = {
        str(setting): first_run(of_setting)
        for (setting,), of_setting in rows.group_by("setting", maintain_order=True)
    }
    first = next(iter(panels.values())).filter(pl.col("site") != NODES)
    sites = [*(some_sites(first, MOST_HEATS) if first.height else []), NODES]
    note = HEAT_NOTE + (" The first draw and seed of each setting." if plan.is_replicated else "")
    if len(panels) > MOST_ROWS:
        note += f" {MOST_ROWS} of {len(panels)} settings; all are in the CSV."
    matrix, label = pair_matrix(plan.domains), measure_label(MEASURE)
    test_domain = rows["test_domain"][0]
    return [
        Chart(
            f"nodes-pairs-{test_domain}",
            heat_figure(panels, sites, plan.domains, matrix, label),
            "node_pairs",
            f"Nodes that every pair of domains shares, test domain {test_domain}: {label}",
            note,
        )
    ]


# ---------------------------------------------------------------------------- generalization


def answer_section(
    results: StudyResults, pairs: pl.DataFrame, means: pl.DataFrame, accuracies: pl.DataFrame
) -> Section | None:
    """Shared nodes beside accuracy, and shared against private nodes; None without tables.

    Args:
        results: of the study.
        pairs: `circuit_tables.circuit_pairs`.
        means: `sharing_tables.sharing` of them.
        accuracies: `contrasts.contrasts`.
    """
    beside = beside_parts(results, pairs, accuracies) if pairs.height else []
    points = point_parts(results, means) if pairs.height else []
    ablation = ablation_lines(results)
    told = [
        Text(ablation_sentence(rows))
        for domain in results.plan.test_domains
        if (rows := ablation.filter(test_domain=domain)).height
    ]
    parts: Parts = [*beside, *points, *([Text(MATTERING)] if told else []), *told]
    return Section(QUESTIONS, tuple(parts)) if parts else None


def beside_parts(results: StudyResults, pairs: pl.DataFrame, accuracies: pl.DataFrame) -> Parts:
    """What settings differ in: shared nodes, and accuracy on held-out classes."""
    changes = circuit_tables.changes_of(pairs)
    here = changes.filter("primary")
    beside = circuit_tables.beside_accuracy(here, accuracies)
    parts: Parts = [Text(ANSWER)]
    for domain in results.plan.test_domains:
        told = accuracy_sentences(beside, domain)
        if not told and here.height:
            told = comparisons(results, domain, here.filter(test_domain=domain))
        if told:
            parts.append(Text(f"In {domain}: {' '.join(told)}"))
    view = accuracy_view(beside) if beside.height else None
    tables = [
        Table("node_differences", changes),
        Table("node_differences_accuracy", beside, view),
    ]
    return [*parts, *tables]


def point_parts(results: StudyResults, means: pl.DataFrame) -> Parts:
    """Accuracy on held-out classes against shared nodes: a dot per run, and the regression."""
    points = sharing_headline.points(results, means, MEASURE)
    here = points.filter("primary")
    if here.drop_nulls(["sharing", "held_out"]).is_empty():
        return []
    rows = sharing_headline.headline_rows(results, points)
    table = _regression(rows)
    chart = Chart(
        "nodes-generalization",
        generalization_figure(here, results.plan.settings, measure_label(MEASURE)),
        "node_points",
        f"Accuracy on held-out classes against shared nodes: {measure_label(MEASURE)}",
        POINTS_NOTE,
    )
    return [
        chart,
        Text(headline_sentence(table.row(0, named=True))),
        Table("node_points", here),
        Table("node_headline", table, sharing_views.headline_view(table)),
    ]


def _regression(rows: pl.DataFrame) -> pl.DataFrame:
    """`headline` of all nodes together, with the published score of shifted circuits as a baseline.

    Classifiers of other domains are fitted at residual sites: there are none of all nodes.
    """
    table = headline(rows, (NODES, MEASURE)).filter(pl.col("measure") != "transfer")
    is_published = (pl.col("site") == NODES) & (pl.col("measure") == PUBLISHED)
    role = pl.when(is_published.fill_null(value=False)).then(pl.lit("baseline")).otherwise("role")
    table = table.with_columns(role=role)
    corrected = pl.when(pl.col("role") == "exploratory").then("p_bh")
    is_later = pl.col("role") == "exploratory"
    return table.with_columns(p_bh=corrected).sort(is_later, maintain_order=True)
