"""The sections of a study's report, in the order in which one reads them.

What the quantities, the evaluation and the sharing of a study give stands in modules of their own.
"""

from __future__ import annotations

from urllib.parse import quote

import polars as pl
from matplotlib.figure import Figure

from analysis.report import tables
from analysis.report.accuracy_figures import headline_figure
from analysis.report.binding_section import binding_sections
from analysis.report.circuit_report import circuit_sections
from analysis.report.comparison_views import contrasts_view, over_draws_view, spread_view
from analysis.report.contrasts import over_draws
from analysis.report.evaluation import evaluation_sections
from analysis.report.figure_notes import figure_notes
from analysis.report.figures import exposure_figure, training_figure
from analysis.report.modality_section import modality_sections
from analysis.report.quantities import quantity_sections
from analysis.report.section import Chart, Links, Part, Section, Table, Text
from analysis.report.sharing import sharing_sections
from analysis.report.spread import accuracy_spread
from analysis.report.study import StudyResults
from analysis.report.summary import caveat, twin_note
from analysis.report.text_section import text_sections
from analysis.report.views import (
    all_domains_view,
    cost_view,
    duration,
    exposure_view,
    headline_view,
    mixtures_view,
    provenance_view,
)

MOST_LINKS = 24
"""pages of mixtures that are linked one by one"""
PAIRED = (
    "Interval: bootstrap within class. p: sign-flip permutation test over samples; Holm: corrected "
    "for all comparisons of its table."
)
OVER_DRAWS = (
    "Interval over draws: Student's, from three draws on; it takes the draws for a sample of all "
    "draws, and knows nothing of test samples. It is not corrected for several comparisons."
)


def report_sections(
    results: StudyResults,
    differences: pl.DataFrame,
    mixture_pages: list[str],
    evaluation_pages: dict[str, str],
) -> list[Section]:
    """All sections of the report.

    Args:
        results: of the study.
        differences: `contrasts.contrasts` of it.
        mixture_pages: names of mixtures that have a page.
        evaluation_pages: address, by what is written on the link, of the pages of settings.
    """
    headline = Table("headline", (frame := tables.headline(results)), headline_view(frame))
    return [
        headline_section(results, headline),
        difference_section(results, differences),
        exposure_section(results, mixture_pages),
        accuracy_section(results, headline, evaluation_pages),
        *quantity_sections(results),
        *evaluation_sections(results),
        *text_sections(results),
        *sharing_sections(results),
        *modality_sections(results),
        *binding_sections(results),
        *circuit_sections(results, differences),
        training_section(results),
        cost_section(results),
        provenance_section(results),
    ]


def headline_section(results: StudyResults, headline: Table) -> Section:
    """The figure of all settings, on the held-out classes of each test domain."""
    chart = Chart(
        name="headline",
        figure=headline_figure(headline.frame),
        data="headline",
        label="Accuracy on the held-out classes of each test domain, by setting",
        note=f"{figure_notes(results.plan)['headline']} {caveat(results)}",
    )
    return Section("Accuracy on held-out classes", (chart, *_twins(results)))


def _twins(results: StudyResults) -> list[Text]:
    note = twin_note(results.plan)
    return [Text(note, soft=True)] if note else []


def difference_section(results: StudyResults, differences: pl.DataFrame) -> Section:
    """What settings add to each other, on the same test samples."""
    splits = results.plan.splits
    parts: list[Part] = [
        Table("contrasts", differences, contrasts_view(differences, split)) for split in splits
    ]
    parts += [Text(f"{PAIRED} {caveat(results)}", soft=True), *_twins(results)]
    if len(results.plan.draws) > 1:
        over = over_draws(differences)
        parts += [
            Table("contrasts_over_draws", over, over_draws_view(over, split)) for split in splits
        ]
        parts.append(Text(OVER_DRAWS, soft=True))
    return Section("What diversity did", tuple(parts))


def exposure_section(results: StudyResults, pages: list[str]) -> Section:
    """Training samples per cell, and links to the pages of mixtures."""
    counts, root = tables.exposure_counts(results), results.plan.root
    parts: list[Part] = []
    for test_domain in results.plan.test_domains:
        shown = counts.filter(test_domain=test_domain, draw=0)
        chart = Chart(
            name=f"exposure-{test_domain}",
            figure=exposure_figure(shown) if shown.height else None,
            data="exposure_counts",
            label=f"Training samples per domain and class, test domain {test_domain}",
            note=figure_notes(results.plan)["exposure"],
        )
        parts.append(chart)
    parts.append(Table("exposure_counts", counts, exposure_view(counts, results)))
    if len(pages) > MOST_LINKS:
        index = {f"{len(pages)} mixtures": f"{root}/splits/index.html"}
        parts.append(Links("One page each, with all cells", index))
    elif pages:
        links = {name: f"{root}/splits/{quote(name)}.html" for name in pages}
        parts.append(Links("One page each, with all cells", links))
    return Section("What each mixture shows", tuple(parts))


def accuracy_section(
    results: StudyResults, headline: Table, evaluation_pages: dict[str, str]
) -> Section:
    """Scores per class set and domain, and links to the pages with every class."""
    plan, parts = results.plan, [headline]
    if plan.is_replicated:
        spread = accuracy_spread(headline.frame)
        parts.append(Table("accuracy_spread", spread, spread_view(spread)))
    unseen = headline.frame.filter(split="test_unseen_drawing", classes="held_out")
    charts: list[Part] = []
    if unseen.height:
        label = "The same as the first figure, on drawings by artists that training never shows"
        note = f"Only classes that have such drawings. {caveat(results)}"
        figure = headline_figure(unseen, "test_unseen_drawing")
        charts = [Chart("headline-unseen-drawings", figure, "headline", label, note)]
    everywhere = tables.all_domains(results)
    return Section(
        "Accuracy per domain and class set",
        (
            *parts,
            *charts,
            *(
                Table("all_domains", everywhere, all_domains_view(everywhere, results, split))
                for split in plan.splits
            ),
            *_held_out_lists(results),
            Links("One page each, with every class", evaluation_pages),
        ),
    )


def _held_out_lists(results: StudyResults) -> list[Text]:
    draws = results.plan.draws
    return [
        Text(
            f"Held-out classes{f' of draw {number}' if len(draws) > 1 else ''} "
            f"({len(held_out)}): {', '.join(held_out)}.",
            soft=True,
        )
        for number, held_out in enumerate(draws)
    ]


def training_section(results: StudyResults) -> Section:
    """The loss of every trained run."""
    chart = Chart(
        name="training",
        figure=_training(results),
        data="training",
        label="Training loss of every run and its floor",
        note=figure_notes(results.plan)["training"],
    )
    return Section("Training", (chart, Table("training", results.metrics)))


def _training(results: StudyResults) -> Figure | None:
    trained = tables.served(results).filter(pl.col("mixture") != "")
    return training_figure(results.metrics, trained) if results.metrics.height else None


def cost_section(results: StudyResults) -> Section:
    """What every run took, and whether all saw as many samples."""
    cost = tables.cost(results)
    text = f"{_time_sentence(results, cost)} {_compute_sentence(cost)}"
    return Section("Time and compute", (Text(text), Table("cost", cost, cost_view(cost, results))))


def provenance_section(results: StudyResults) -> Section:
    """What mixtures are made of, and what runs were made with."""
    made_of, versions = mixtures_view(results), provenance_view(results)
    parts = (
        Table("mixtures", tables.mixtures(results), made_of),
        Table("provenance", _as_frame(versions.columns, versions.rows), versions),
    )
    return Section("Provenance", parts)


def _as_frame(columns: list[str], rows: list[list[str]]) -> pl.DataFrame:
    """A view's text as a table, for those whose numbers are text."""
    return pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String), orient="row")


def _time_sentence(results: StudyResults, cost: pl.DataFrame) -> str:
    total = cost.select(
        pl.sum_horizontal(f"{stage}_seconds" for stage in tables.STAGES).sum()
    ).item()
    worked = f"All runs together worked for {duration(total or 0)}"
    if results.plan.dataset_seconds is not None:
        built = duration(results.plan.dataset_seconds)
        worked = f"Making the dataset took {built}. {worked}"
    if results.wall_seconds is None:
        return f"{worked}."
    elapsed = duration(results.wall_seconds)
    return f"{worked}; from the first start to the last finish it took {elapsed}."


def _compute_sentence(cost: pl.DataFrame) -> str:
    trained = cost.filter("trained")
    equal = tables.equal_compute(cost)
    if equal is None:
        return (
            "Equal compute cannot be checked: fewer than two runs tell how many samples they saw."
        )
    untold = trained["samples_seen"].null_count()
    rest = f" ({untold} of {trained.height} runs do not tell)" if untold else ""
    if equal:
        return f"Equal compute: every run trained here saw the same number of samples{rest}."
    return f"Unequal compute: the runs saw different numbers of samples{rest}; compare with care."
