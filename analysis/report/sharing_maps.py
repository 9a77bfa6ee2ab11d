"""The parts of the report on maps of embeddings and on distances between domains."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from analysis.report.domain_matrices import pair_matrix
from analysis.report.map_figures import map_figure
from analysis.report.section import Chart, Table, Text
from analysis.report.sharing_heat import heat_figure, some_settings, some_sites
from analysis.report.sharing_tables import KEYS, by_target
from analysis.report.study import StudyResults
from analysis.report.study_plan import StudyPlan

METHODS = {
    "pca": "the two directions of most variance (PCA)",
    "tsne": "t-SNE, in which neighbours count and distances between groups do not",
}
DIGITS = 5
"""of a coordinate in the table of points: more than a figure shows"""
QUANTITY = "class_distance_relative"
MAP_NOTE = (
    "How to read it: a point per test image, the same images everywhere; columns are layers, rows "
    "are settings. Every map is turned so that domains come as near as a rotation brings them to "
    "places on a circle, which are the same for all maps; that changes no distance. Ringed: "
    "held-out classes in the test domain. A map is a picture and no measurement: two dimensions "
    "keep little of a layer, and nothing is concluded from it."
)
DISTANCE_NOTE = (
    "How to read it: the distance between the means of one class in two domains, averaged over "
    "classes, in units of how far images of one cell lie from their mean, without what noise "
    "adds; 0 is no distance. A dot in the corner: the 95 % interval over classes reaches 0."
)
TEXT = (
    "Maps show the images of all domains, at a few layers of one run per setting. What they "
    "suggest is measured below them: distances between the means of domains, class by class."
)


def maps_parts(results: StudyResults) -> list[Text | Chart | Table]:
    """Maps and distances of the first run of some settings; nothing where no run has them."""
    nothing = pl.lit(None, dtype=pl.Int64).alias("draw")
    maps, distances = (
        by_target(results, results.analyses[name].with_columns(nothing))
        for name in ("maps", "map_distances")
    )
    if maps.is_empty() and distances.is_empty():
        return []
    parts: list[Text | Chart | Table] = [Text(TEXT)]
    points = [maps.clear()]
    for test_domain in results.plan.test_domains:
        if panels := _panels(maps.filter(test_domain=test_domain)):
            sites = some_sites(next(iter(panels.values())))
            parts += _map_charts(results.plan, test_domain, panels, sites)
            points += [table.filter(pl.col("site").is_in(sites)) for table in panels.values()]
        parts += _distance_charts(results.plan, _panels(distances.filter(test_domain=test_domain)))
    return [*parts, Table("maps", drawn_points(points)), Table("map_distances", distances)]


def drawn_points(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The points of maps that are drawn, once each whatever test domains their run serves."""
    points = pl.concat(parts).drop("test_domain", "draw").unique(maintain_order=True)
    return points.with_columns(pl.col("x", "y", "explained").round_sig_figs(DIGITS))


def _panels(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The rows of the first run of some settings, by setting."""
    by_setting = {
        str(setting): of_setting.filter(pl.col("run") == of_setting["run"][0])
        for (setting,), of_setting in rows.group_by("setting", maintain_order=True)
    }
    return {name: by_setting[name] for name in some_settings(by_setting)}


def _map_charts(
    plan: StudyPlan, test_domain: str, panels: dict[str, pl.DataFrame], sites: list[str]
) -> list[Text | Chart | Table]:
    charts: list[Text | Chart | Table] = []
    for method, told in METHODS.items():
        rows = {name: table.filter(method=method) for name, table in panels.items()}
        if not any(table.height for table in rows.values()):
            continue
        figure = map_figure(rows, sites, plan.domains, test_domain, plan.natural, plan.draws[0])
        label = f"Test images by {told}; test domain {test_domain}"
        note = MAP_NOTE + (" Held-out classes are those of draw 0." if len(plan.draws) > 1 else "")
        charts.append(Chart(f"map-{method}-{test_domain}", figure, "maps", label, note))
    return charts


def _distance_charts(
    plan: StudyPlan, panels: dict[str, pl.DataFrame]
) -> list[Text | Chart | Table]:
    rows = {name: table.filter(quantity=QUANTITY) for name, table in panels.items()}
    known = [table for table in rows.values() if table["value"].count()]
    if not known:
        return []
    test_domain = known[0][KEYS[0]][0]
    matrix = pair_matrix(plan.domains)
    figure = heat_figure(rows, some_sites(known[0]), plan.domains, matrix, "relative distance")
    label = f"Distances between domains, class by class; test domain {test_domain}"
    name = f"map-distances-{test_domain}"
    return [Chart(name, figure, "map_distances", label, DISTANCE_NOTE)]
