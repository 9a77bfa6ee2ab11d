"""The report of a study: one page that needs nothing else, its text, its tables and its figures."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from analysis.report import tables
from analysis.report.accuracy_figures import headline_figure
from analysis.report.comparison_views import contrasts_view, over_draws_view, spread_view
from analysis.report.contrasts import contrasts, over_draws
from analysis.report.figure_notes import figure_notes
from analysis.report.figures import (
    exposure_figure,
    similarity_figure,
    svg_text,
    training_figure,
)
from analysis.report.rendering import render
from analysis.report.spread import accuracy_spread
from analysis.report.study import StudyResults
from analysis.report.summary import (
    banner_lines,
    caveat,
    contrast_sentences,
    is_complete,
    overview,
    points_note,
)
from analysis.report.views import (
    all_domains_view,
    cost_view,
    duration,
    exposure_view,
    headline_view,
    mixtures_view,
    provenance_view,
)
from splits.files import write_text


def write_report(results: StudyResults, folder: Path, command: str) -> Path:
    """Write `index.html`, `report.md`, `tables/*.csv` and `figures/*.svg`, each as a whole.

    The bytes depend on the results, the command, and which pages of mixtures there are.

    Args:
        results: what the study's folder holds.
        folder: where to write; pages of mixtures are looked for beside it, in `splits`.
        command: the command line that made the report, to be shown in it.

    Returns:
        The path of `index.html`.
    """
    numbers = _tables(results)
    figures = _figures(results, numbers)
    for name, table in numbers.items():
        write_text(folder / "tables" / f"{name}.csv", table.write_csv())
    for name, svg in figures.items():
        write_text(folder / "figures" / f"{name}.svg", svg)
    content = _content(results, numbers, figures, command)
    content["split_pages"] = _split_pages(results, folder.parent / "splits")
    write_text(folder / "report.md", render("report.md.j2", content))
    write_text(folder / "index.html", render("page.html.j2", content))
    return folder / "index.html"


def _tables(results: StudyResults) -> dict[str, pl.DataFrame]:
    headline, differences = tables.headline(results), contrasts(results)
    found = {
        "headline": headline,
        "contrasts": differences,
        "all_domains": tables.all_domains(results),
        "exposure_counts": tables.exposure_counts(results),
        "cost": tables.cost(results),
        "sharing": tables.sharing(results),
        "training": results.metrics,
    }
    if len(results.plan.draws) > 1:
        found["contrasts_over_draws"] = over_draws(differences)
    if results.plan.is_replicated:
        found["accuracy_spread"] = accuracy_spread(headline)
    return found


def _figures(results: StudyResults, numbers: dict[str, pl.DataFrame]) -> dict[str, str]:
    """SVG by name; a figure without any data is left out."""
    figures = {"headline": headline_figure(numbers["headline"])}
    unseen = numbers["headline"].filter(split="test_unseen_drawing", classes="held_out")
    if unseen.height:
        figures["headline-unseen-drawings"] = headline_figure(unseen, "test_unseen_drawing")
    for test_domain in results.plan.test_domains:
        counts = numbers["exposure_counts"].filter(test_domain=test_domain, draw=0)
        if counts.height:
            figures[f"exposure-{test_domain}"] = exposure_figure(counts)
    if results.metrics.height:
        figures["training"] = training_figure(results.metrics, tables.served(results))
    if numbers["sharing"].height:
        figures["similarity"] = similarity_figure(numbers["sharing"], tables.served(results))
    return {name: svg_text(figure, name) for name, figure in figures.items()}


def _content(
    results: StudyResults,
    numbers: dict[str, pl.DataFrame],
    figures: dict[str, str],
    command: str,
) -> dict:
    """Everything that the templates show."""
    splits, everywhere = results.plan.splits, numbers["all_domains"]
    differences, over = numbers["contrasts"], numbers.get("contrasts_over_draws")
    spread = numbers.get("accuracy_spread")
    return {
        "plan": results.plan,
        "command": command,
        "overview": overview(results, differences),
        "findings": contrast_sentences(results, differences),
        "banner": banner_lines(results),
        "complete": is_complete(results),
        "caveat": caveat(results),
        "points_note": points_note(results, differences),
        "notes": figure_notes(results.plan),
        "headline": headline_view(numbers["headline"]),
        "contrasts": [contrasts_view(differences, split) for split in splits],
        "over_draws": [] if over is None else [over_draws_view(over, split) for split in splits],
        "spread": None if spread is None else spread_view(spread),
        "all_domains": [all_domains_view(everywhere, results, split) for split in splits],
        "exposure": exposure_view(numbers["exposure_counts"], results),
        "cost": cost_view(numbers["cost"], results),
        "time": _time_sentence(results, numbers["cost"]),
        "compute": _compute_sentence(numbers["cost"]),
        "mixtures": mixtures_view(results),
        "provenance": provenance_view(results),
        "figures": figures,
        "tables": list(numbers),
    }


def _split_pages(results: StudyResults, folder: Path) -> list[str]:
    """Names of the study's mixtures that have a page."""
    names = dict.fromkeys(name for run in results.plan.runs for name in run.mixtures.values())
    return [name for name in names if (folder / f"{name}.html").is_file()]


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
    equal = tables.equal_compute(cost)
    if equal is None:
        return (
            "Equal compute cannot be checked: fewer than two runs tell how many samples they saw."
        )
    untold = cost["samples_seen"].null_count()
    rest = f" ({untold} of {cost.height} runs do not tell)" if untold else ""
    if equal:
        return f"Equal compute: every run sees the same number of samples{rest}."
    return f"Unequal compute: the runs saw different numbers of samples{rest}; compare with care."
