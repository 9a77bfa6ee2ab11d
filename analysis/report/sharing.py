"""The sections on how domains share representations: by layer, and over training time."""

from __future__ import annotations

import polars as pl

from analysis.headline import headline
from analysis.report import sharing_headline, sharing_tables, sharing_views
from analysis.report.domain_matrices import similarity_matrix
from analysis.report.section import Chart, Section, Table, Text
from analysis.report.sharing_families import family_sections
from analysis.report.sharing_figures import (
    CLASS_SETS,
    GEOMETRY,
    MOST_PANELS,
    REPLICATES,
    beyond_axis,
    kinds_figure,
    layer_figure,
)
from analysis.report.sharing_floor import uncorrected, with_floors
from analysis.report.sharing_heat import MOST_ROWS, heat_figure, some_sites
from analysis.report.sharing_points import generalization_figure, time_figure
from analysis.report.sharing_published import published_section
from analysis.report.sharing_tables import RESIDUAL, SHARED, first_run
from analysis.report.sharing_text import (
    headline_sentence,
    measure_label,
    no_points_sentence,
    sharing_paragraphs,
)
from analysis.report.study import StudyResults
from analysis.report.study_plan import StudyPlan
from analysis.report.tables import served

Parts = list[Text | Chart | Table]
GENERALIZATION = "Sharing and generalization"
HEAT = "cka"
"""measure of the heat maps: one whose ceiling tells how noisy class means are"""
MEANING = (
    "Two domains share a layer where their classes stand in the same relations to each other. "
    "Measured are class means of test images, each domain around its own mean. S_id asks whether "
    "the same directions hold them, as weights that read both domains need; S_rot also counts what "
    "another rotation of the layer would show. CKA (unbiased) knows no directions. Noise-corrected "
    "measures are divided by what two halves of one domain's images have in common: 1 is as alike "
    "as images of one domain. Whether sharing causes accuracy is not asked here."
)
LAYERS = (
    "How to read it: a panel per setting, depth from left to right. Thick line: mean of the pairs "
    "that include the test domain, with its 95 % jackknife interval over classes; thin lines: "
    "single pairs. A mean above the grey band shares more than shuffled classes would (95 % of "
    "shuffles); above the blue one, more than the same network before training; where it "
    "reaches the green one, the two domains are as alike as other images of one domain. Bands of "
    "ceiling and floor go from the lowest to the highest pair."
)
HEAT_NOTE = (
    "How to read it: rows of panels are settings, columns are layers; a cell is a pair of domains, "
    "the diagonal a domain's own ceiling: the same between two halves of its images, on half the "
    "images of other cells. One scale of colours. A dot in the corner: the 95 % interval reaches "
    "what shuffled classes give."
)
GEOMETRY_NOTE = (
    "How to read it: both lines are of the same class means, and S_rot is never below S_id. The "
    "gap between them is geometry that both domains have, but in other directions of the layer: "
    "the next layer's weights cannot read both alike. S_rot is above 0 by chance alone: hatched is "
    "what shuffled classes give. Bands: 95 % jackknife of the mean over pairs, over classes."
)
SETS_NOTE = (
    "How to read it: the same networks and measure, once on the classes that training shows in "
    "the test domain and once on the held-out ones, pairs with the test domain. A line that lies "
    "below the other where the bands part: these classes are shared less. Held-out classes are "
    "fewer, so that their bands are wider and their chance too."
)
POINTS_NOTE = (
    "How to read it: a dot per run and draw: how alike the test domain is to the others at the "
    "primary site, on classes that training may show there, against accuracy on the classes that "
    "are held out there. Horizontal: 95 % jackknife of the mean over pairs, over seen classes; "
    "vertical: 95 % over test samples. Runs of a setting differ in seed and draw. Settings differ "
    "in more than sharing: the regression below has accuracy on seen classes and the amount of "
    "data of the test domain beside it."
)
TIME_NOTE = (
    "How to read it: a line per run at the primary site, pairs with the test domain, seen classes, "
    "on a logarithmic axis of samples seen; the last point are the final weights. Grey: 95 % of "
    "shuffled classes. Bands (where a panel has at most eight lines): mean of the pairs' 95 % "
    "jackknife intervals over classes, which is as wide as that of the mean or wider."
)


def sharing_sections(results: StudyResults) -> list[Section]:
    """The sections on sharing that the study has tables for, in the order in which one reads."""
    pairs = sharing_tables.sharing_pairs(results)
    means = sharing_tables.sharing(pairs)
    sections = [
        layers_section(results, pairs, means),
        time_section(results),
        generalization_section(results, means),
    ]
    there = [section for section in sections if section is not None]
    published = published_section(results)
    return [*there, *family_sections(results), *([published] if published else [])]


def layers_section(results: StudyResults, pairs: pl.DataFrame, means: pl.DataFrame) -> Section:
    """How alike the domains are, site by site.

    Args:
        results: of the study.
        pairs: `sharing_tables.sharing_pairs`.
        means: `sharing_tables.sharing` of them.
    """
    measure = results.plan.primary[1]
    means = with_floors(means, pairs)
    of_pairs = pairs.filter(pl.col("measure").is_in([measure, HEAT]), classes=SHARED)
    with_test = of_pairs.filter(pairs="with_test_domain", measure=measure)
    changes = sharing_tables.differences(with_test)
    told = means.filter("primary", pl.col("classes") != "all", measure=measure)
    over_runs = sharing_tables.over_runs(told.filter(pairs="with_test_domain", classes=SHARED))
    here = changes.filter("primary")
    plain = means.filter("primary", classes=SHARED, measure=uncorrected(measure))
    paragraphs = sharing_paragraphs(results, told.filter(classes=SHARED), plain, here)
    parts: Parts = [Text(MEANING), *(Text(text) for text in paragraphs)]
    for test_domain in results.plan.test_domains:
        parts += _layer_charts(results, test_domain, of_pairs, means)
    parts += [
        Table("sharing_pairs", of_pairs.drop("left_out")),
        Table("sharing", means, sharing_views.primary_view(told, plain) if told.height else None),
        Table(
            "sharing_differences",
            changes,
            sharing_views.differences_view(here) if here.height else None,
        ),
        Table(
            "sharing_over_runs",
            over_runs,
            sharing_views.over_runs_view(over_runs) if results.plan.is_replicated else None,
        ),
    ]
    return Section("How domains share representations, layer by layer", tuple(parts))


def _layer_charts(
    results: StudyResults, test_domain: str, pairs: pl.DataFrame, means: pl.DataFrame
) -> Parts:
    """All charts by layer of a test domain."""
    pairs, means = (table.filter(test_domain=test_domain) for table in (pairs, means))
    levels = pairs["level"].unique(maintain_order=True).to_list() or [RESIDUAL]
    return [
        *(_pairs_chart(results, test_domain, level, pairs, means) for level in levels),
        *_heat_charts(results.plan, test_domain, pairs),
        *_kinds_charts(results, test_domain, means.filter(level=RESIDUAL)),
    ]


def _pairs_chart(
    results: StudyResults, test_domain: str, level: str, pairs: pl.DataFrame, means: pl.DataFrame
) -> Chart:
    measure = results.plan.primary[1]
    lines = pairs.filter(level=level, measure=measure)
    mean = means.filter(level=level, measure=measure, classes=SHARED)
    settings = settings_of(results, test_domain)
    label = measure_label(measure)
    of_level = "" if level == RESIDUAL else f"-{level}"
    return Chart(
        name=f"sharing-{test_domain}{of_level}",
        figure=layer_figure(lines, mean, settings, label) if lines["value"].count() else None,
        data="sharing_pairs",
        label=f"Sharing with {test_domain} by layer{_of_level(level)}: {label}",
        note=f"{LAYERS} {_extent(results.plan, lines, settings)}{_floors(lines)}",
    )


def _of_level(level: str) -> str:
    return "" if level == RESIDUAL else f" (sites: {level}s)"


def _extent(plan: StudyPlan, rows: pl.DataFrame, settings: list[str]) -> str:
    """Of how many classes, draws and seeds a figure is, and what it leaves out."""
    told = [_counted(rows)]
    if plan.is_replicated:
        told.append(REPLICATES)
    if len(settings) > MOST_PANELS:
        told.append(f"The first {MOST_PANELS} of {len(settings)} settings; all are in the CSV.")
    told += beyond_axis(rows)
    gaps = rows["value"].null_count()
    if gaps:
        told.append(f"{gaps} of {rows.height} numbers are not estimable: the CSV says why.")
    return " ".join(text for text in told if text)


def _floors(pairs: pl.DataFrame) -> str:
    """Of how many of the pairs with the test domain the floor is, where others have none."""
    known = pairs.filter(pairs="with_test_domain").drop_nulls("value")
    floors = known["floor"].count()
    if floors in (0, known.height):
        return ""
    return (
        f" The floor is that of {floors} of {known.height} numbers of pairs with the test domain; "
        "the CSV says why others have none."
    )


def _counted(rows: pl.DataFrame) -> str:
    counts = rows["n"].drop_nulls().unique().sort().to_list()
    if not counts:
        return ""
    return f"n = {counts[0]}{f' to {counts[-1]}' if len(counts) > 1 else ''} classes."


def _heat_charts(plan: StudyPlan, test_domain: str, pairs: pl.DataFrame) -> Parts:
    """Domain by domain, of the first draw and seed that each setting has."""
    rows = pairs.filter(level=RESIDUAL, measure=HEAT).drop_nulls("value")
    if rows.is_empty():
        return []
    panels = {
        str(setting): first_run(of_setting)
        for (setting,), of_setting in rows.group_by("setting", maintain_order=True)
    }
    sites = some_sites(next(iter(panels.values())))
    note = HEAT_NOTE + (" The first draw and seed of each setting." if plan.is_replicated else "")
    if len(panels) > MOST_ROWS:
        note += f" {MOST_ROWS} of {len(panels)} settings; all are in the CSV."
    matrix = similarity_matrix(plan.domains)
    return [
        Chart(
            name=f"sharing-pairs-{test_domain}",
            figure=heat_figure(panels, sites, plan.domains, matrix, measure_label(HEAT)),
            data="sharing_pairs",
            label=f"{measure_label(HEAT)} of every pair of domains, test domain {test_domain}",
            note=f"{note} {_counted(rows)}",
        )
    ]


def _kinds_charts(results: StudyResults, test_domain: str, means: pl.DataFrame) -> Parts:
    """S_rot beside S_id, and seen beside held-out classes."""
    measure, settings = results.plan.primary[1], settings_of(results, test_domain)
    with_test = means.filter(pairs="with_test_domain")
    geometry = with_test.filter(pl.col("measure").is_in(list(GEOMETRY)), classes=SHARED)
    sets = with_test.filter(pl.col("classes").is_in(list(CLASS_SETS)), measure=measure)
    parts: Parts = []
    if geometry.drop_nulls("value")["measure"].n_unique() == len(GEOMETRY):
        figure = kinds_figure(geometry, settings, "measure", GEOMETRY, "alignment")
        label = f"The same directions, or other ones: S_id and S_rot, pairs with {test_domain}"
        note = f"{GEOMETRY_NOTE} {_extent(results.plan, geometry, settings)}"
        parts.append(Chart(f"sharing-geometry-{test_domain}", figure, "sharing", label, note))
    if sets.drop_nulls("value")["classes"].n_unique() == len(CLASS_SETS):
        figure = kinds_figure(sets, settings, "classes", CLASS_SETS, measure_label(measure))
        label = f"Seen and held-out classes: {measure_label(measure)}, pairs with {test_domain}"
        note = f"{SETS_NOTE} {_extent(results.plan, sets, settings)}"
        parts.append(Chart(f"sharing-classes-{test_domain}", figure, "sharing", label, note))
    return parts


def settings_of(results: StudyResults, test_domain: str) -> list[str]:
    """The settings that apply to a test domain."""
    rows = served(results).filter(test_domain=test_domain)
    return rows["setting"].unique(maintain_order=True).to_list()


def time_section(results: StudyResults) -> Section | None:
    """Sharing while training went on; None where no milestone is analysed."""
    table = sharing_tables.over_time(results)
    here = table.filter("primary")
    if here.is_empty():
        return None
    label = measure_label(results.plan.primary[1])
    chart = Chart(
        name="sharing-time",
        figure=time_figure(here, results.plan.settings, label) if here["value"].count() else None,
        data="sharing_time",
        label=f"Sharing with the test domain over training: {label}",
        note=f"{TIME_NOTE} {_counted(here)}",
    )
    return Section("Sharing over training time", (chart, Table("sharing_time", table)))


def generalization_section(results: StudyResults, means: pl.DataFrame) -> Section | None:
    """Accuracy on held-out classes against sharing on seen ones; None where no run has sharing.

    Where no run has both at the primary site, the section says why.

    Args:
        results: of the study.
        means: `sharing_tables.sharing`.
    """
    points = sharing_headline.points(results, means)
    if points.is_empty():
        return None
    here = points.filter("primary")
    if here.drop_nulls(["sharing", "held_out"]).is_empty():
        reason = Text(no_points_sentence(results.plan.primary, points))
        return Section(GENERALIZATION, (reason, Table("sharing_points", here)))
    rows = sharing_headline.headline_rows(results, points)
    sites = (
        here.filter(pl.col("run").is_in(rows["run"].unique().to_list()))["site"].unique().to_list()
    )
    site = sites[0] if len(sites) == 1 else results.plan.primary[0]
    table = headline(rows, (site, results.plan.primary[1]))
    label = measure_label(results.plan.primary[1])
    gaps = here.select(pl.any_horizontal(pl.col("sharing", "held_out").is_null())).sum().item()
    without = f" {gaps} of {here.height} dots have no number." if gaps else ""
    chart = Chart(
        name="sharing-generalization",
        figure=generalization_figure(here, results.plan.settings, label),
        data="sharing_points",
        label=f"Accuracy on held-out classes against sharing on seen ones: {label}",
        note=POINTS_NOTE + without,
    )
    told = Text(headline_sentence(table.row(0, named=True)))
    parts = (
        chart,
        told,
        Table("sharing_points", here),
        Table("sharing_headline", table, sharing_views.headline_view(table)),
    )
    return Section(GENERALIZATION, parts)
