"""The sections of the study's quantities: generalization, curves, trajectories, robustness."""

from __future__ import annotations

import polars as pl

from analysis.report import exposure_axes, robustness_tables
from analysis.report.curve_figures import curve_figure, trajectory_figure
from analysis.report.quantity_figures import relative_figure, robustness_figure
from analysis.report.quantity_tables import DG, RELATIVE, over_draws, quantities
from analysis.report.quantity_views import (
    baselines_view,
    over_draws_view,
    quantities_view,
    robustness_view,
)
from analysis.report.section import Chart, Section, Table, Text
from analysis.report.study import StudyResults
from analysis.report.trajectory_tables import trajectories, without_milestones
from analysis.robustness import Baseline

DEFINITIONS = (
    "Every number is about new instances in the test domain. Score: balanced top-1 accuracy on its "
    "held-out classes. Domain generalization (DG) is the score of leave out domain, compositional "
    "generalization (CG) that of the CG settings; the gap CG − DG is their row minus leave out "
    "domain. Relative to upper bound: the score as a share of that of the upper bound which "
    "shows as many domains (low for natural only and CG low diversity, high for leave out domain "
    "and CG high diversity). Minus natural only is called relative robustness as well."
)
COVERED = (
    "Intervals cover the test samples only; seeds and draws of held-out classes stand apart. A "
    "share is refused where the upper bound is not clearly above chance."
)
CURVES = {
    exposure_axes.DIVERSITY: (
        "Score by the number of other domains in training",
        "A point per run with its 95 % interval over test samples; points of one place differ in "
        "which domains are shown, in the draw of held-out classes and in the seed. Lines join the "
        "means of a place.",
    ),
    exposure_axes.SEEN: (
        "Score by the share of the test domain's seen classes that training shows",
        "Nothing is shown of the held-out classes. A point per run with its 95 % interval over "
        "test samples; points of one place differ in draw and seed. Lines join the means.",
    ),
    exposure_axes.HELD_OUT: (
        "Score by the share of the held-out classes' samples that training shows",
        "The seen classes of the test domain are shown whole. A point per run with its 95 % "
        "interval over test samples; points of one place differ in draw and seed. Lines join the "
        "means.",
    ),
}
MOST_NAMED = 4
"""runs that a sentence names"""


def quantity_sections(results: StudyResults) -> list[Section]:
    """The sections that a study has the settings for, in the order in which one reads them."""
    sections = [
        generalization_section(results),
        curves_section(results),
        trajectories_section(results),
        robustness_section(results),
    ]
    return [section for section in sections if section is not None]


def generalization_section(results: StudyResults) -> Section | None:
    """Scores, gaps and shares of the upper bound; None where nothing is tested."""
    table = quantities(results)
    if table.is_empty():
        return None
    parts: list[Text | Chart | Table] = [Text(DEFINITIONS)]
    relative = table.filter(quantity=RELATIVE)
    if relative.height:
        replicates = " Several seeds: a sample counts with the share of them that is right."
        parts.append(
            Chart(
                "relative_to_upper_bound",
                relative_figure(relative) if relative["value"].count() else None,
                "quantities",
                "Score on held-out classes as a share of the upper bound's score",
                "Intervals are 95 % over test samples, numerator and denominator from the same "
                "ones; 100 % is as good as having seen the combinations."
                + (replicates if len(results.plan.seeds) > 1 else "")
                + _not_drawn(relative),
            )
        )
    parts.append(Table("quantities", table, quantities_view(table)))
    if len(results.plan.draws) > 1:
        drawn = over_draws(table)
        parts.append(Table("quantities_over_draws", drawn, over_draws_view(drawn)))
    parts.append(Text(COVERED + _family(table), soft=True))
    return Section("Domain and compositional generalization", tuple(parts))


def _not_drawn(relative: pl.DataFrame) -> str:
    """How many shares are not drawn, and why."""
    without = relative.filter(pl.col("value").is_null())
    refused = without.filter(pl.col("seeds") > 0).height
    reasons = {
        "have no number, because the upper bound is not clearly above chance": refused,
        "are missing": without.height - refused,
    }
    told = [f"{count} {reason}" for reason, count in reasons.items() if count]
    return f" Not drawn, of {relative.height} points: {'; '.join(told)}." if told else ""


def _family(table: pl.DataFrame) -> str:
    tested = table.filter(against=DG)["p"].count()
    if not tested:
        return ""
    return (
        f" p (BH) corrects the {tested} comparisons with leave out domain for the share of false "
        "findings among those that are called real (Benjamini and Hochberg 1995)."
    )


def curves_section(results: StudyResults) -> Section | None:
    """Scores along the axes of diversity and exposure; None where no ladder has three rungs."""
    table = exposure_axes.placed(results)
    parts: list[Text | Chart | Table] = []
    for axis, (label, note) in CURVES.items():
        rows = exposure_axes.curves(table, axis)
        if rows.is_empty():
            continue
        name = f"score_by_{axis}"
        figure = curve_figure(rows, axis) if rows["value"].count() else None
        parts += [Chart(name, figure, name, label, note + _gaps(rows)), Table(name, rows)]
    if not parts:
        return None
    text = (
        "Settings that differ in one thing only are one line: what they show is read from their "
        "mixtures. The budget stays the same, so that more of one thing is less of another."
    )
    unknown = [run.setting for run in results.plan.runs if run.is_pretrained]
    if unknown:
        text += " Pretrained models have no point here: what they saw is not known."
    return Section("Diversity and exposure", (Text(text), *parts))


def _gaps(rows: pl.DataFrame) -> str:
    missing = rows["value"].null_count()
    return f" {missing} of {rows.height} points are missing." if missing else ""


def trajectories_section(results: StudyResults) -> Section | None:
    """Scores while training went on; None where nothing is tested."""
    table = trajectories(results)
    if table.is_empty():
        return None
    title = "Trajectories"
    only_final = without_milestones(table)
    trained = table.drop_nulls(["value", "samples_seen"])["run"].unique()
    if len(trained) and len(only_final) == len(trained):
        text = (
            "No milestones were kept (`training.milestones` is 0): only final weights have scores."
        )
        return Section(title, (Text(text), Table("trajectories", table)))
    note = (
        "A line per run, a dot for the final weights; the axis of samples seen is logarithmic. "
        "Bands are 95 % intervals over test samples, drawn where a panel has at most eight lines; "
        "the table has all of them."
    )
    if only_final:
        more = ", …" if len(only_final) > MOST_NAMED else ""
        note += f" No milestones: {', '.join(only_final[:MOST_NAMED])}{more}."
    if table.filter(pl.col("value").is_not_null())["samples_seen"].null_count():
        note += " Dashed: pretrained models, which have one score."
    absent = table.filter(pl.col("value").is_null())["run"].n_unique()
    note += f" {absent} runs are missing." if absent else ""
    figure = trajectory_figure(table) if len(trained) else None
    label = "Balanced top-1 accuracy in the test domain by samples seen"
    chart = Chart("trajectories", figure, "trajectories", label, note)
    return Section(title, (chart, Table("trajectories", table)))


def robustness_section(results: StudyResults) -> Section | None:
    """Effective robustness; None in a study without natural-only runs."""
    settings = pl.DataFrame({"setting": results.plan.settings})
    if settings.filter(robustness_tables.is_baseline()).is_empty():
        return None
    pairs = robustness_tables.accuracy_pairs(results)
    found = robustness_tables.fits(results, pairs)
    table = robustness_tables.robustness(results, pairs, found)
    if table.is_empty():
        return None
    lines = robustness_tables.baselines(found)
    points = pairs.with_columns(baseline=robustness_tables.is_baseline())
    first = points.filter(draw=0)
    fitted = {
        target.test_domain: fit
        for (target, transform), fit in found.items()
        if isinstance(fit, Baseline) and transform == "logit" and target.draw == 0
    }
    many = len(results.plan.draws)
    drawn = f" Draw 0 of held-out classes, the first of {many}." if many > 1 else ""
    chart = Chart(
        "effective_robustness",
        robustness_figure(first, fitted) if first.filter("final").height else None,
        "accuracy_pairs",
        "Accuracy in the test domain against accuracy in the natural domain, held-out classes",
        "A dot per run with its 95 % intervals over test samples, on logit axes; circles: "
        "natural-only runs before their end. The line is fitted to natural-only runs and ends "
        f"where they end; height above it is effective robustness.{drawn}",
    )
    parts = (
        Text(_definition()),
        chart,
        Table("accuracy_pairs", points),
        Table("effective_robustness", table, robustness_view(table)),
        Table("robustness_baselines", lines, baselines_view(lines)),
    )
    return Section("Robustness under the shift", parts)


def _definition() -> str:
    return (
        "Effective robustness (Taori et al. 2020) is accuracy in the test domain beyond what "
        "accuracy in the natural domain predicts, both on the held-out classes. The prediction is "
        "a line through natural-only runs at all moments of their training. Outside their range "
        "there is no number. Intervals are over baseline runs, not over test samples; too few runs "
        "allow none."
    )
