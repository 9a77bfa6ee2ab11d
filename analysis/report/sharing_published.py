"""The section of the published measures beside ours: what they would have said of these runs."""

from __future__ import annotations

import polars as pl

from analysis.report.section import Chart, Section, Table, Text
from analysis.report.sharing_figures import Looks, kinds_figure
from analysis.report.sharing_tables import (
    GROUPS,
    KEYS,
    PLACE,
    RESIDUAL,
    by_target,
    complete_mean,
    last_inner_site,
    primary_site,
    reasons,
)
from analysis.report.sharing_text import NO_NUMBER, measure_label, number
from analysis.report.study import StudyResults
from analysis.report.summary import setting_label
from analysis.report.views import CLASS_LABELS, NONE, View

SHOWN = "cka"
"""published measure that is drawn by layer"""
FEATURES = "sae_overlap"
"""published measure that there is of the embedding alone"""
LABELS = {
    FEATURES: "overlap of autoencoder features",
    "circuit_node_jaccard": "Jaccard index of kept channels",
    "circuit_edge_jaccard": "Jaccard index of edges",
    "circuit_wl": "Weisfeiler-Lehman kernel of the graphs",
}
CAPTION = (
    "Published measures at the primary site, that of features at the embedding; means over pairs, "
    "ours with 95 % interval."
)
CIRCUITS = "published_circuits"
"""table of the published nodes and edges"""
GRAPH_LEVEL = "edge"
"""level of the measures of whole graphs"""
CIRCUITS_TEXT = (
    "The published nodes and edges, of a few held-out classes of every draw and a few images of a"
    " cell: the tenth of the channels with the largest integrated gradients (of either sign) of "
    "the cosine to the own text is kept at every site, and three parents of each. Two domains are"
    " compared by the Jaccard index of kept channels, of edges, and by a kernel of the graphs. "
    "Ours, where the site is the same, is the Jaccard index of the tenth of the channels with the"
    " largest contributions (of either sign) to the margin, over the same classes: another score "
    "of the same channels, so that the two need not agree. No chance and no ceiling were "
    "published, and nothing here shows that what is kept carries the answer."
)
CIRCUITS_CAPTION = (
    "Published nodes at the last block, and edges of all sites; held-out classes, means over "
    "pairs, ours with 95 % interval (jackknife over classes)."
)
LOOKS: Looks = {
    "published_with_test_domain": ("published, with the test domain", "-", "#D55E00"),
    "ours_with_test_domain": ("ours, with the test domain", "", "#D55E00"),
    "published_others": ("published, other pairs", "-", "#0072B2"),
    "ours_others": ("ours, other pairs", "", "#0072B2"),
}
TEXT = (
    "The measures of Kempf et al. 2025 as they were published, computed on these runs, beside the "
    "measure of the same name here. The published ones came without intervals, chance or ceiling; "
    "none is invented for them. The code that computes them is not the code of ours: where both "
    "estimate the same thing, their numbers must agree."
)
NOTE = (
    "How to read it: held-out classes, as in the published figures; pairs with the test domain "
    "and all others. Lines are as published, and have no interval; ours are the diamonds, on the "
    "lines where both agree, with their bands (95 %, jackknife over classes, mean over pairs): how "
    "far other classes would have moved them."
)


def published_section(results: StudyResults) -> Section | None:
    """Published measures by layer and at one site, nodes and edges; None where no run has them."""
    parts = [*_similarity_parts(results), *_circuit_parts(results)]
    return Section("Published measures beside ours", tuple(parts)) if parts else None


def _similarity_parts(results: StudyResults) -> list[Text | Chart | Table]:
    table = published_means(results, "published", primary_site(results.plan))
    if table.is_empty():
        return []
    parts: list[Text | Chart | Table] = [Text(TEXT)]
    for test_domain in results.plan.test_domains:
        rows = table.filter(
            test_domain=test_domain, measure=SHOWN, classes="held_out", level=RESIDUAL
        )
        lines = _lines(rows)
        settings = rows["setting"].unique(maintain_order=True).to_list()
        figure = None
        if lines["value"].count():
            figure = kinds_figure(lines, settings, "line", LOOKS, measure_label(SHOWN))
        label = f"Published {measure_label(SHOWN)} by layer, test domain {test_domain}"
        parts.append(Chart(f"published-{test_domain}", figure, "published", label, NOTE))
    shown = table.filter(pl.col("primary") | (pl.col("measure") == FEATURES))
    return [*parts, Table("published", table, published_view(shown, CAPTION))]


def _circuit_parts(results: StudyResults) -> list[Text | Table]:
    """Every site is in the table; readers see the last block and the whole graphs."""
    table = published_means(results, CIRCUITS, last_inner_site())
    if table.is_empty():
        return []
    shown = table.filter(pl.col("primary") | (pl.col("level") == GRAPH_LEVEL))
    view = published_view(shown, CIRCUITS_CAPTION)
    return [Text(CIRCUITS_TEXT), Table(CIRCUITS, table, view)]


def published_means(results: StudyResults, name: str, primary: pl.Expr) -> pl.DataFrame:
    """Means over the pairs with the test domain, and over all others, as published.

    Args:
        results: of the study.
        name: of the table, whose columns are `analysis.replication.PUBLISHED`.
        primary: whether a row is of the site that stands for its run.

    Columns: KEYS, PLACE, `primary`, `measure`, `classes`, `pairs`, `value` (published), `ours`,
    `ours_lo`, `ours_hi` (intervals as if the errors of pairs were one; null where a pair has
    none), `n` (classes; images of features), `n_pairs` (behind the means of both: those that have
    a published value and, unless no pair has one, ours), `not_estimable` (the other pairs), `note`
    (why a number is not there).
    """
    table = by_target(results, results.analyses[name]).with_columns(primary=primary)
    is_with = pl.any_horizontal(pl.col("domain_a", "domain_b") == pl.col("test_domain"))
    table = table.with_columns(
        pairs=pl.when(is_with).then(pl.lit(GROUPS[0])).otherwise(pl.lit(GROUPS[1]))
    )
    keys = [*KEYS, *PLACE, "primary", "measure", "classes", "pairs"]
    has_ours = pl.col("ours").is_not_null()
    both = pl.col("value").is_not_null() & (has_ours | ~has_ours.any())
    return table.group_by(keys, maintain_order=True).agg(
        pl.col("value").filter(both).mean(),
        *(complete_mean(pl.col(name).filter(both)) for name in ("ours", "ours_lo", "ours_hi")),
        n=pl.col("n").min(),
        n_pairs=both.sum().cast(pl.Int64),
        not_estimable=(~both).sum().cast(pl.Int64),
        note=reasons(),
    )


def _lines(rows: pl.DataFrame) -> pl.DataFrame:
    """A row per number: the published one without interval, and ours."""
    ours = rows.with_columns(
        line=pl.lit("ours_") + pl.col("pairs"), value="ours", lo="ours_lo", hi="ours_hi"
    )
    nothing = pl.lit(None, dtype=pl.Float64)
    theirs = rows.with_columns(line=pl.lit("published_") + pl.col("pairs"), lo=nothing, hi=nothing)
    both = pl.concat([theirs.select(ours.columns), ours])
    return both.with_columns(chance=nothing)


def published_view(table: pl.DataFrame, caption: str) -> View:
    """A row per run, target, measure and class set.

    Args:
        table: `published_means`, of one site for each measure.
        caption: of the view.
    """
    many_draws, many_seeds = (table[key].drop_nulls().n_unique() > 1 for key in ("draw", "seed"))
    keys = [*KEYS, "measure", "classes"]
    rows = []
    for (test_domain, setting, draw, seed, _, measure, classes), group in table.group_by(
        keys, maintain_order=True
    ):
        found = {row["pairs"]: row for row in group.iter_rows(named=True)}
        names = [str(test_domain), setting_label(str(setting))]
        names += [NONE if draw is None else str(draw)] * many_draws + [str(seed)] * many_seeds
        names += [_label(str(measure)), CLASS_LABELS.get(str(classes), "all classes")]
        cells = [text for pairs in GROUPS for text in _cells(found.get(pairs))]
        rows.append([*names, *cells])
    columns = ["Test domain", "Setting", *["Draw"] * many_draws, *["Seed"] * many_seeds]
    columns += ["Measure", "Classes", "Published, with the test domain", "Ours"]
    return View(caption, [*columns, "Published, other pairs", "Ours"], rows, headers=2)


def _label(measure: str) -> str:
    return LABELS.get(measure) or measure_label(measure)


def _cells(row: dict | None) -> list[str]:
    if row is None:
        return [NONE, NONE]
    value = NO_NUMBER if row["value"] is None else number(row["value"])
    if row["ours"] is None:
        return [value, NO_NUMBER]
    ends = (
        "" if row["ours_lo"] is None else f" ({number(row['ours_lo'])} to {number(row['ours_hi'])})"
    )
    return [value, number(row["ours"]) + ends]
