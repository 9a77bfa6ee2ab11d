"""The report of a study: one page that needs nothing else, its text, its tables and its figures."""

from __future__ import annotations

from pathlib import Path

import jinja2
import polars as pl
from markupsafe import Markup, escape

from analysis.report import tables
from analysis.report.figures import (
    exposure_figure,
    headline_figure,
    similarity_figure,
    svg_text,
    training_figure,
)
from analysis.report.study import StudyResults
from analysis.report.summary import (
    banner_lines,
    caveat,
    contrast_sentences,
    is_complete,
    overview,
    seeds_note,
)
from analysis.report.views import (
    MISSING,
    View,
    all_domains_view,
    contrasts_view,
    cost_view,
    duration,
    exposure_view,
    headline_view,
    mixtures_view,
    provenance_view,
)
from splits.files import write_text

HERE = Path(__file__).parent
SMALLEST, LARGEST = 1.0, 1.42  # pixels per point of a figure


def write_report(results: StudyResults, folder: Path, command: str) -> Path:
    """Write `index.html`, `report.md`, `tables/*.csv` and `figures/*.svg`, each as a whole.

    The bytes depend on the results and the command alone.

    Args:
        results: what the study's folder holds.
        folder: where to write.
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
    write_text(folder / "report.md", _render("report.md.j2", content))
    write_text(folder / "index.html", _render("page.html.j2", content))
    return folder / "index.html"


def _tables(results: StudyResults) -> dict[str, pl.DataFrame]:
    return {
        "headline": tables.headline(results),
        "contrasts": tables.contrasts(results),
        "all_domains": tables.all_domains(results),
        "exposure_counts": tables.exposure_counts(results),
        "cost": tables.cost(results),
        "sharing": tables.sharing(results),
        "training": results.metrics,
    }


def _figures(results: StudyResults, numbers: dict[str, pl.DataFrame]) -> dict[str, str]:
    """SVG by name; a figure without any data is left out."""
    figures = {
        "headline": headline_figure(numbers["headline"]),
        "headline-unseen-drawings": headline_figure(numbers["headline"], "test_unseen_drawing"),
    }
    for test_domain in results.plan.test_domains:
        counts = numbers["exposure_counts"].filter(test_domain=test_domain)
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
    splits = tables.SPLITS
    everywhere = numbers["all_domains"]
    return {
        "plan": results.plan,
        "command": command,
        "style": Markup((HERE / "style.css").read_text(encoding="utf-8")),
        "overview": overview(results),
        "findings": contrast_sentences(results),
        "banner": banner_lines(results),
        "complete": is_complete(results),
        "caveat": caveat(results),
        "seeds_note": seeds_note(numbers["contrasts"]),
        "headline": headline_view(numbers["headline"]),
        "contrasts": [contrasts_view(numbers["contrasts"], split) for split in splits],
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


def _time_sentence(results: StudyResults, cost: pl.DataFrame) -> str:
    total = cost.select(
        pl.sum_horizontal(f"{stage}_seconds" for stage in tables.STAGES).sum()
    ).item()
    worked = f"All runs together worked for {duration(total or 0)}"
    if results.plan.dataset_seconds is not None:
        built = duration(results.plan.dataset_seconds)
        worked = f"Rendering the dataset took {built}. {worked}"
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


def _render(template: str, content: dict) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=lambda name: bool(name) and ".html" in str(name),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(MISSING=MISSING)
    environment.filters.update(inline_svg=inline_svg, markdown=_markdown)
    return environment.get_template(template).render(content)


def inline_svg(svg: str, label: str) -> Markup:
    """An SVG document as an element of a page, with a label for those who do not see it.

    It may shrink or grow a little with the page: all figures of a page keep one size of letters.
    """
    element = svg[svg.index("<svg") :]
    width = float(element.split('width="', 1)[1].split("pt", 1)[0])
    style = f"min-width: {SMALLEST * width:.0f}px; max-width: {LARGEST * width:.0f}px"
    opening = f'<svg role="img" aria-label="{escape(label)}" style="{style}"'
    return Markup(element.replace("<svg", opening, 1))


def _markdown(view: View) -> str:
    """A view as a Markdown table."""
    lines = [view.columns, ["---"] * len(view.columns), *view.rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )
