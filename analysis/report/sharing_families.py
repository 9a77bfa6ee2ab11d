"""The sections on factors, class transfer, domain probes and lenses; each where it has tables."""

from __future__ import annotations

import polars as pl

from analysis.report.domain_matrices import transfer_matrix
from analysis.report.evaluation_figures import dot_figure
from analysis.report.sae_section import sae_parts
from analysis.report.section import Chart, Section, Table, Text
from analysis.report.sharing_figures import (
    MOST_PANELS,
    REPLICATES,
    Looks,
    beyond_axis,
    kinds_figure,
)
from analysis.report.sharing_heat import MOST_ROWS, heat_figure, some_sites
from analysis.report.sharing_maps import maps_parts
from analysis.report.sharing_tables import (
    ESTIMATE,
    KEYS,
    LAST,
    PLACE,
    by_target,
    complete_mean,
    first_run,
    in_order,
    primary_site,
    reasons,
)
from analysis.report.sharing_text import CLASS_WORDS
from analysis.report.sharing_views import decodability_view, factorization_view, transfer_view
from analysis.report.study import StudyResults
from analysis.report.study_plan import StudyPlan
from analysis.report.tables import CLASS_SETS, served

Parts = list[Text | Chart | Table]
ORANGE, BLUE, GREEN, PINK = "#D55E00", "#0072B2", "#009E73", "#CC79A7"
FACTORS: Looks = {
    "r2": ("class plus domain", "-", BLUE),
    "class_r2": ("class within domains", "-", GREEN),
    "held_out_cosine": ("held-out cells: cosine", "--", ORANGE),
}
FACTORS_AXIS = "R², cosine"
PREDICTED = {
    "accuracy_true": "true cell means",
    "accuracy_predicted": "predicted: class plus domain",
    "accuracy_without_domain": "predicted without domain",
    "accuracy_without_class": "predicted without class",
}
DECODED: Looks = {
    "domain_accuracy": ("domain probe", "-", BLUE),
    "control_accuracy": ("control task", "--", PINK),
    "subspace_cosine": ("subspaces: cosine", "-", GREEN),
}
READ: Looks = {
    "test_seen": ("test domain, seen classes", "-", ORANGE),
    "test_held_out": ("test domain, held-out classes", "--", ORANGE),
    "others_seen": ("mean of other domains, seen classes", "-", BLUE),
}
ACCURACY, KEPT_AXIS = "zero-shot accuracy", "share of own accuracy"
KEPT = ("kept", "kept_lo", "kept_hi")
FACTORS_TEXT = (
    "An additive fit says that a cell's mean is one vector of its class plus one of its domain. It "
    "is made on all cells but the held-out classes in the test domain, and then asked for these. "
    "R² is the share of the variance between cells that the fit explains, without what noise in "
    "the means adds."
)
FACTORS_NOTE = (
    "How to read it: at 1 the layer is class plus domain and nothing else; what is missing to 1 is "
    "bound to single combinations. Green: how much of what is left when every domain's mean is "
    "taken away is the class. Dashed: the cosine of the predicted held-out cells with the true "
    "ones. Dotted: the same where classes are exchanged. Bands: 95 % jackknife over classes."
)
PREDICTED_NOTE = (
    "How to read it: mean embeddings of held-out cells, true and predicted, are classified by the "
    "class texts among all classes. The true cells are no ceiling: a prediction is made of other "
    "cells, and may be recognised where the true ones are not. Nor does a recognised "
    "prediction say that it is right: what counts is whether class plus domain does better than "
    "class without domain, and that class and domain add up is said only by the cosines of "
    "predicted with true cells and by the accuracy of the true ones. Intervals: 95 %, Wilson, over "
    "held-out classes. Dotted: chance."
)
TRANSFER_TEXT = (
    "A linear discriminant of all classes is fitted at every site on images of one domain, and "
    "tested on images of every other one. Equally many images of every class and domain; its "
    "shrinkage comes from the fitting images alone."
)
TRANSFER_NOTE = (
    "How to read it: rows of a panel are domains of the fitting images, columns those of the test "
    "images; the diagonal is the accuracy within a domain. A row that stays bright: boundaries of "
    "this domain hold elsewhere. A dot in the corner: the 95 % interval over test samples reaches "
    "chance."
)
DECODED_TEXT = (
    "A probe for the domain is fitted on half of the classes and tested on the other half. The "
    "control task has a random domain for every instance of a class; no instance that is tested "
    "was fitted on, so that it cannot be learnt by heart, and measures chance. That a domain can "
    "be read off says nothing against generalization."
)
DECODED_NOTE = (
    "How to read it: a probe above its chance reads the domain on classes that it never saw. "
    "Green: the mean cosine of principal angles between the leading directions of class means and "
    "those of domain means; its chance is that of as many random vectors with the covariance of "
    "images within cells. Bands: 95 % over classes."
)
LENS_TEXT = {
    "logit": "The logit lens reads a block's tokens as if they were the last block's, with the "
    "tower's own norm, pooling and projection.",
    "tuned": "The tuned lens is a ridge map from a site to the final embedding. Every domain is "
    "read by a map that was fitted on images of all others.",
}
LENS_NOTE = (
    "How to read it: zero-shot accuracy of what the lens reads at every depth; the last site is "
    "the model's own embedding, without a lens. Domains differ there already: a distance between "
    "two lines says nothing of the lens. Bands: 95 % over test samples. Dotted: chance."
)
KEPT_NOTE = (
    "How to read it: of the accuracy that the model itself has in a domain, the share that the "
    "lens has which was fitted without this domain, on the same images. Every domain loses by "
    "being left out: only what the test domain loses beyond the others is its own. Nothing is "
    "drawn where the model's own accuracy is not clearly above chance. Bands: 95 % over test "
    "samples. Dotted: chance over own accuracy."
)


def family_sections(results: StudyResults) -> list[Section]:
    """The sections whose tables some run has, in the order in which one reads them."""
    builders = {
        "Class plus domain": factorization_parts,
        "Class transfer between domains": transfer_parts,
        "What layers say of the domain": decodability_parts,
        "Lenses": lens_parts,
        "Features of sparse autoencoders": sae_parts,
        "Maps of images": maps_parts,
    }
    built = {title: build(results) for title, build in builders.items()}
    return [Section(title, tuple(parts)) for title, parts in built.items() if parts]


# ---------------------------------------------------------------------------- class plus domain


def factorization_parts(results: StudyResults) -> Parts:
    """R² of the additive fit by layer, and what held-out cells that it predicts are taken for."""
    table = of_target(results, "factorization")
    if table.is_empty():
        return []
    parts: Parts = [Text(FACTORS_TEXT)]
    for test_domain in results.plan.test_domains:
        rows = table.filter(pl.col("quantity").is_in(list(FACTORS)), test_domain=test_domain)
        label = f"Class plus domain by layer, test domain {test_domain}"
        name = f"factorization-{test_domain}"
        parts.append(
            _kinds_chart(
                results, rows, "quantity", FACTORS, (name, label, FACTORS_NOTE), FACTORS_AXIS
            )
        )
    predicted = table.filter(pl.col("quantity").is_in(list(PREDICTED)))
    if predicted["value"].count():
        figure = dot_figure(predicted, "zero-shot accuracy of cells", "quantity", PREDICTED)
        label = "Held-out cells as class plus domain predicts them, and as they are"
        parts.append(Chart("predicted-cells", figure, "factorization", label, PREDICTED_NOTE))
    last = table.filter("primary")
    view = factorization_view(last) if last.height else None
    return [*parts, Table("factorization", table, view)]


def of_target(results: StudyResults, name: str) -> pl.DataFrame:
    """Rows of a table that itself names the test domain, beside the target that they are of.

    Columns: KEYS, those of the table, and `primary` (whether it is the study's primary site).
    """
    rows = results.analyses[name].drop("setting", "seed").drop_nulls("draw")
    grid = served(results).select(KEYS)
    found = grid.join(rows, on=["run", "test_domain", "draw"], maintain_order="left_right")
    return in_order(results.plan, found).with_columns(primary=primary_site(results.plan))


def _kinds_chart(
    results: StudyResults,
    rows: pl.DataFrame,
    kind: str,
    looks: Looks,
    told: tuple[str, str, str],
    axis: str,
    *,
    data: str = "",
    percent: bool = False,
) -> Chart:
    """A chart by layer with a line per kind.

    Args:
        results: of the study.
        rows: of one test domain.
        kind, looks, axis, percent: as `kinds_figure` has them.
        told: name, label and note of the chart.
        data: name of the table; empty for the first word of the chart's name.
    """
    name, label, note = told
    settings = rows["setting"].unique(maintain_order=True).to_list()
    figure = None
    if rows["value"].count():
        figure = kinds_figure(rows, settings, kind, looks, axis, percent=percent)
    return Chart(
        name, figure, data or name.partition("-")[0], label, f"{note} {_rest(results.plan, rows)}"
    )


def _rest(plan: StudyPlan, rows: pl.DataFrame) -> str:
    """What a chart has several lines of, and what it leaves out."""
    told = beyond_axis(rows)
    if plan.is_replicated:
        told.append(REPLICATES)
    settings = rows["setting"].n_unique()
    if settings > MOST_PANELS:
        told.append(f"The first {MOST_PANELS} of {settings} settings; all are in the CSV.")
    gaps = rows["value"].null_count()
    if gaps:
        told.append(f"{gaps} of {rows.height} numbers are not estimable: the CSV says why.")
    return " ".join(told)


# ---------------------------------------------------------------------------- class transfer


def transfer_parts(results: StudyResults) -> Parts:
    """Accuracy of every domain's classifier in every domain, on seen and on held-out classes."""
    rows = results.analyses["transfer"]
    table = by_target(results, rows).with_columns(primary=primary_site(results.plan))
    if table.is_empty():
        return []
    parts: Parts = [Text(TRANSFER_TEXT)]
    for test_domain in results.plan.test_domains:
        for classes in CLASS_SETS:
            known = table.filter(test_domain=test_domain, classes=classes).drop_nulls("value")
            if known.height:
                parts.append(_transfer_chart(results.plan, known))
    view = transfer_view(to_test_domain(table).filter("primary"))
    return [*parts, Table("transfer", table), Table("transfer_ratio", to_test_domain(table), view)]


def _transfer_chart(plan: StudyPlan, rows: pl.DataFrame) -> Chart:
    """Of the first draw and seed that each setting has."""
    test_domain, classes = rows.select("test_domain", "classes").row(0)
    panels = {
        str(setting): first_run(of_setting)
        for (setting,), of_setting in rows.group_by("setting", maintain_order=True)
    }
    matrix, sites = transfer_matrix(plan.domains), some_sites(next(iter(panels.values())))
    note = TRANSFER_NOTE + (
        " The first draw and seed of each setting." if plan.is_replicated else ""
    )
    if len(panels) > MOST_ROWS:
        note += f" {MOST_ROWS} of {len(panels)} settings; all are in the CSV."
    words = CLASS_WORDS[classes]
    axes = ("fitted on", "tested on")
    return Chart(
        name=f"transfer-{test_domain}-{classes.replace('_', '-')}",
        figure=heat_figure(panels, sites, plan.domains, matrix, "balanced accuracy", axes),
        data="transfer",
        label=f"Class transfer between domains on {words}, test domain {test_domain}",
        note=note,
    )


def to_test_domain(table: pl.DataFrame) -> pl.DataFrame:
    """What classifiers of the other domains score in the test domain, and their share of its own.

    Args:
        table: rows of transfer.parquet beside their targets.

    Returns:
        KEYS, PLACE, `primary`, `classes`, the means over the other domains `value`, `lo`, `hi`
        (intervals as if their errors were one), `within` (the test domain's own classifier) and
        `ratio` (value / within, null where that is 0), `n`, `n_classes`, `chance`, `domains`
        (that were fitted on), `note` (why a number is not there).
    """
    others = table.filter(
        pl.col("domain") == pl.col("test_domain"), pl.col("trained_on") != pl.col("test_domain")
    )
    keys = [*KEYS, *PLACE, "primary", "classes"]
    means = others.group_by(keys, maintain_order=True).agg(
        *(complete_mean(pl.col(name)) for name in (*ESTIMATE, "within")),
        pl.col("n", "n_classes", "chance").first(),
        domains=pl.len().cast(pl.Int64),
        note=reasons(),
    )
    ratio = pl.when(pl.col("within") > 0).then(pl.col("value") / pl.col("within"))
    return means.with_columns(ratio=ratio)


# ---------------------------------------------------------------------------- domain probes


def decodability_parts(results: StudyResults) -> Parts:
    """How well the domain can be read off every layer, and from which directions."""
    rows = results.analyses["decodability"].with_columns(draw=pl.lit(None, dtype=pl.Int64))
    table = by_target(results, rows).with_columns(primary=primary_site(results.plan))
    if table.is_empty():
        return []
    parts: Parts = [Text(DECODED_TEXT)]
    for test_domain in results.plan.test_domains:
        here = table.filter(pl.col("quantity").is_in(list(DECODED)), test_domain=test_domain)
        told = (
            f"decodability-{test_domain}",
            f"The domain by layer, runs of test domain {test_domain}",
            DECODED_NOTE,
        )
        parts.append(_kinds_chart(results, here, "quantity", DECODED, told, "accuracy, cosine"))
    view = decodability_view(table.filter("primary"))
    return [*parts, Table("decodability", table, view)]


# ---------------------------------------------------------------------------- lenses


def lens_parts(results: StudyResults) -> Parts:
    """Zero-shot accuracy that lenses read off every layer, and what of the model's own it is."""
    table = left_out(results)
    if table.is_empty():
        return []
    lines = read_lines_of(table)
    lenses = [name for name in LENS_TEXT if name in set(lines["lens"])]
    parts: Parts = [Text(" ".join(LENS_TEXT[name] for name in lenses))]
    for test_domain in results.plan.test_domains:
        for lens in lenses:
            rows = lines.filter(lens=lens, test_domain=test_domain)
            name = f"lens-{lens}-{test_domain}"
            label = f"What the {lens} lens reads by layer, test domain {test_domain}"
            if rows.height:
                parts.append(_lens_chart(results, rows, (name, label, LENS_NOTE), ACCURACY))
            if rows.height and lens == "tuned":
                kept = f"What the tuned lens keeps by layer, test domain {test_domain}"
                told = (f"lens-kept-{test_domain}", kept, KEPT_NOTE)
                parts.append(_lens_chart(results, shares_of(rows), told, KEPT_AXIS))
    return [*parts, Table("lens", table), Table("lens_lines", lines)]


def _lens_chart(
    results: StudyResults, rows: pl.DataFrame, told: tuple[str, str, str], axis: str
) -> Chart:
    return _kinds_chart(results, rows, "line", READ, told, axis, data="lens_lines", percent=True)


def left_out(results: StudyResults) -> pl.DataFrame:
    """Rows of lens.parquet in the domain that the map never saw, beside every target of their run.

    Columns: KEYS (`test_domain` is the target's), and those of the table without its own: it is
    `domain`.
    """
    rows = results.analyses["lens"].filter(pl.col("test_domain") == pl.col("domain"))
    rows = rows.drop("setting", "seed", "test_domain").drop_nulls("draw")
    grid = served(results).select(KEYS)
    found = grid.join(rows, on=["run", "draw"], maintain_order="left_right")
    return in_order(results.plan, found)


def read_lines_of(table: pl.DataFrame) -> pl.DataFrame:
    """The lines of a lens chart: the test domain on both class sets, and the mean of the others.

    Args:
        table: `left_out`.

    Returns:
        KEYS, PLACE, `lens`, `line` (one of READ), `value`, `lo`, `hi`, `own`, `kept`, `kept_lo`,
        `kept_hi` (means; intervals as if the errors of domains were one), `n` (test images of all
        its domains), `n_classes`, `domains`, `chance`, `note` (why a number is not there).
    """
    here = pl.col("domain") == pl.col("test_domain")
    line = pl.when(here).then(pl.lit("test_")).otherwise(pl.lit("others_")) + pl.col("classes")
    lines = table.with_columns(line=line).filter(pl.col("line").is_in(list(READ)))
    return lines.group_by([*KEYS, *PLACE, "lens", "line"], maintain_order=True).agg(
        *(complete_mean(pl.col(name)) for name in (*ESTIMATE, "own", *KEPT)),
        n=pl.col("n").sum(),
        n_classes=pl.col("n_classes").min(),
        domains=pl.len().cast(pl.Int64),
        chance=pl.col("chance").first(),
        note=reasons(),
    )


def shares_of(lines: pl.DataFrame) -> pl.DataFrame:
    """Lines of what a lens keeps of the own accuracy; the embedding, which has none, is left out.

    Args:
        lines: `read_lines_of`.

    Returns:
        The same with `value`, `lo`, `hi` of the share, and `chance` over the own accuracy, null
        where there is no share.
    """
    chance = pl.when(pl.col("kept").is_not_null()).then(pl.col("chance") / pl.col("own"))
    kept = [pl.col(share).alias(name) for name, share in zip(ESTIMATE, KEPT, strict=True)]
    return lines.filter(pl.col("site") != LAST).with_columns(*kept, chance=chance)
