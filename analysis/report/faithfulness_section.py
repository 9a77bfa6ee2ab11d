"""The sections on what few nodes carry of an answer, and on where those of single classes lie."""

from __future__ import annotations

import polars as pl

from analysis.report import circuit_tables, faithfulness_tables
from analysis.report.circuit_figures import BESIDE, beyond_axis, curve_figure, parts_figure
from analysis.report.circuit_text import circuit_sentence
from analysis.report.circuit_views import summary_view, verdict_view
from analysis.report.domain_matrices import source_matrix
from analysis.report.faithfulness_tables import (
    AT_SHARE,
    AT_SIZE,
    EDGES,
    NEAR,
    NODES,
    OTHER,
    OWN,
    STATED,
)
from analysis.report.section import Chart, Section, Table, Text
from analysis.report.sharing_figures import MOST_PANELS
from analysis.report.sharing_heat import MOST_ROWS, heat_figure, some_settings
from analysis.report.sharing_tables import first_run, first_targets, in_order
from analysis.report.study import StudyResults
from analysis.report.study_plan import StudyPlan
from analysis.report.summary import setting_label
from analysis.report.tables import CLASS_SETS
from analysis.report.views import CLASS_LABELS

Parts = list[Text | Chart | Table]
ORDER = ("seen", "held_out")
MEANING = (
    "Strong scores do not make a circuit. Nodes are ranked for a class on training images of a "
    "domain; on test images the first of them keep what they do, and all others are set to what "
    "they are for other classes. f is the part of the margin that is left: 0 for no node, 1 for "
    "all. Nodes are called a circuit of their domain here only where fewer than all of them carry "
    "at least 0.8 of the answer, and clearly more than as many random nodes and than the nodes of "
    "another class. The size is the smallest tried at which f is 0.8, found on the same test "
    "images: it is a little optimistic."
)
CURVE_NOTE = (
    "How to read it: a panel per setting; from left to right ever more nodes are kept. Where the "
    "blue line lies below the orange one, nodes that carry the class in other domains do not carry "
    "it here. Dashed grey and pink: as many nodes at random, and those of another class. Dashed "
    "green and light blue: the other way round, all nodes but so many of the strongest. Dotted: "
    "0.8. Bands (where a panel has at most eight lines of a kind): 95 % jackknife over classes, of "
    "other domains the mean of theirs."
)
EDGE_NOTE = (
    "How to read it: a panel per setting, seen classes. An edge is what one part of the network "
    "hands to one other; edges are ranked, kept and tested as nodes are. Solid: nodes, as above; "
    "dashed: edges. A share of the edges is no share of the nodes: compare each orange line with "
    "the grey one of its kind, and the blue line with the orange one. Nothing is called a circuit "
    "by this chart. Dotted: 0.8. Bands as above."
)
MATRIX_NOTE = (
    "How to read it: rows are domains whose images chose the nodes, columns domains whose images "
    "test them; the diagonal is a domain's own. Left: a tenth of the nodes, whatever it carries; "
    "right: the size at which the column's own nodes reach 0.8 (no number where they never do). "
    "Seen classes. A dot in the corner: the 95 % interval reaches that of random nodes."
)
PARTS_TEXT = (
    "The strongest nodes of single classes, in the test domain and in the others. A picture of "
    "where they lie, of one run; whether they are a circuit is said above, and by no picture."
)
PARTS_NOTE = (
    "How to read it: sites from the input (left) to the output, a marker per node among the "
    "strongest of the class, larger where it contributes more; its height is its place among the "
    "nodes of its site, which has no meaning of its own. Green: in the test domain and in at least "
    "half of the others; orange: in the test domain and fewer others; blue: in at least half of "
    "the others and not in the test domain."
)


def faithfulness_section(results: StudyResults) -> Section | None:
    """Curves, matrices of sources and targets, and what they come to; None without tables."""
    table = faithfulness_tables.faithfulness(results).filter(
        pl.col("classes").is_in(list(CLASS_SETS))
    )
    if table.is_empty():
        return None
    means = faithfulness_tables.to_test_domain(table)
    nodes = table.filter(parts=NODES)
    verdicts = faithfulness_tables.verdicts(nodes)
    crossed = faithfulness_tables.crossed(nodes)
    parts: Parts = [Text(MEANING)]
    for test_domain in results.plan.test_domains:
        told = verdicts.filter(test_domain=test_domain)
        parts += [
            Text(circuit_sentence(rows))
            for classes in ORDER
            if (rows := told.filter(classes=classes)).height
        ]
        carried = means.filter(test_domain=test_domain, quantity="f")
        parts += _curve_charts(results, carried.filter(parts=NODES))
        parts += _matrix_charts(results.plan, crossed.filter(test_domain=test_domain))
        parts += _edge_charts(results, carried.filter(classes="seen"))
    return Section("Are they circuits?", (*parts, *_tables(results.plan, means, verdicts, crossed)))


def _curve_charts(results: StudyResults, means: pl.DataFrame) -> Parts:
    """A chart of nodes per class set that has a curve."""
    parts: Parts = []
    for classes in ORDER:
        rows = means.filter(classes=classes)
        if rows.is_empty():
            continue
        settings = rows["setting"].unique(maintain_order=True).to_list()
        test_domain, words = rows["test_domain"][0], CLASS_LABELS[classes]
        figure = curve_figure(rows, settings) if rows["value"].count() else None
        label = f"What a part of the nodes carries in {test_domain}, {words}"
        name = f"faithfulness-{test_domain}-{classes.replace('_', '-')}"
        parts.append(Chart(name, figure, "faithfulness", label, _told(CURVE_NOTE, results, rows)))
    return parts


def _edge_charts(results: StudyResults, means: pl.DataFrame) -> Parts:
    """Edges beside nodes, of a test domain; none where no run has edges."""
    named = means.with_columns(circuit=pl.concat_str("parts", "circuit", separator=" "))
    rows = named.filter(pl.col("circuit").is_in(list(BESIDE)))
    if EDGES not in rows["parts"]:
        return []
    settings, test_domain = rows["setting"].unique(maintain_order=True), rows["test_domain"][0]
    share = "share of the nodes, or of the edges, kept"
    known = rows["value"].count()
    figure = curve_figure(rows, settings.to_list(), BESIDE, share) if known else None
    label = f"What a part of the edges carries in {test_domain}, beside nodes"
    name, note = f"faithfulness-edges-{test_domain}", _told(EDGE_NOTE, results, rows)
    return [Chart(name, figure, "faithfulness", label, note)]


def _told(note: str, results: StudyResults, rows: pl.DataFrame) -> str:
    """The note of a chart of curves, with what is to be said of these rows."""
    settings = rows["setting"].n_unique()
    told = [note, *beyond_axis(rows)]
    if results.plan.is_replicated:
        told.append("A line per draw of held-out classes and seed; none is averaged.")
    if settings > MOST_PANELS:
        told.append(f"The first {MOST_PANELS} of {settings} settings; all in the CSV.")
    gaps = rows["value"].null_count()
    if gaps:
        told.append(f"{gaps} of {rows.height} numbers are not estimable: the CSV says why.")
    return " ".join(told)


def _matrix_charts(plan: StudyPlan, crossed: pl.DataFrame) -> Parts:
    """Source against target, of the first draw and seed that each setting has."""
    rows = crossed.filter(classes="seen").drop_nulls("value")
    if rows.is_empty():
        return []
    panels = {
        str(setting): first_run(of_setting)
        for (setting,), of_setting in rows.group_by("setting", maintain_order=True)
    }
    note = MATRIX_NOTE + (" The first draw and seed of each setting." if plan.is_replicated else "")
    if len(panels) > MOST_ROWS:
        note += f" {MOST_ROWS} of {len(panels)} settings; all are in the CSV."
    test_domain, matrix = rows["test_domain"][0], source_matrix(plan.domains)
    axes = ("chosen in", "tested in")
    figure = heat_figure(panels, [AT_SHARE, AT_SIZE], plan.domains, matrix, "f", axes)
    label = f"Nodes of every domain in every domain, runs of test domain {test_domain}"
    name = f"faithfulness-pairs-{test_domain}"
    return [Chart(name, figure, "faithfulness_pairs", label, note)]


def _tables(
    plan: StudyPlan, means: pl.DataFrame, verdicts: pl.DataFrame, crossed: pl.DataFrame
) -> list[Table]:
    is_stated = (pl.col("quantity") != "f") | ((pl.col("k") - STATED).abs() < NEAR)
    kinds = [
        means.filter(is_stated, parts=parts, circuit=circuit)
        for parts in (NODES, EDGES)
        for circuit in (OWN, OTHER)
    ]
    shown = first_targets(in_order(plan, pl.concat(kinds)))
    return [
        Table("circuits", verdicts, verdict_view(verdicts) if verdicts.height else None),
        Table("faithfulness", means, summary_view(shown) if shown.height else None),
        Table("faithfulness_pairs", crossed),
    ]


# ---------------------------------------------------------------------------- drawn nodes


def parts_section(results: StudyResults) -> Section | None:
    """The strongest nodes of some classes, drawn for one setting per test domain; None without."""
    table = circuit_tables.node_parts(results)
    if table.is_empty():
        return None
    parts: Parts = [Text(PARTS_TEXT)]
    drawn: list[pl.DataFrame] = []
    for test_domain in results.plan.test_domains:
        chart, nodes = _parts_chart(results, table, test_domain)
        if chart:
            parts.append(chart)
            drawn.append(nodes)
    if not drawn:
        return None
    return Section("Parts of single classes, drawn", (*parts, Table("parts", pl.concat(drawn))))


def _parts_chart(
    results: StudyResults, table: pl.DataFrame, test_domain: str
) -> tuple[Chart | None, pl.DataFrame]:
    """Of the last setting that figures tell of, the first run and draw; and the nodes drawn."""
    served = {
        (run.setting, target): run.name
        for run in reversed(results.plan.runs)
        for target in run.mixtures
        if target.test_domain == test_domain and run.name in set(table["run"])
    }
    settings = [name for name in results.plan.settings if name in {key[0] for key in served}]
    if not settings:
        return None, table.clear()
    setting = some_settings(settings)[-1]
    target = min(target for name, target in served if name == setting)
    run = served[setting, target]
    rows = table.filter(run=run)
    classes = circuit_tables.drawn_classes(rows, results.plan, target.draw)
    nodes = circuit_tables.owned_nodes(rows, test_domain, list(classes))
    sites = circuit_tables.sites_in_order(results, rows)
    units = dict(rows.group_by("source").agg(pl.col("node").max()).iter_rows())
    panels = {
        f"{name} ({CLASS_LABELS[classes[name]].removesuffix(' classes')})": nodes.filter(
            class_name=name
        )
        for name in classes
    }
    label = f"Strongest nodes of single classes in {test_domain}: {setting_label(setting)}"
    figure = parts_figure(panels, sites, units) if panels else None
    chart = Chart(f"parts-{test_domain}", figure, "parts", label, PARTS_NOTE)
    named = {"test_domain": test_domain, "setting": setting, "run": run}
    first = [pl.lit(text).alias(key) for key, text in named.items()]
    return chart, nodes.select(*first, pl.all())
