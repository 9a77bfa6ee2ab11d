"""The report of a study: one page that needs nothing else, its text, its tables and its figures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from analysis.report.contrasts import contrasts
from analysis.report.evaluation_pages import page_names, write_evaluation_pages
from analysis.report.figures import svg_text
from analysis.report.rendering import render
from analysis.report.section import Chart, Section, Table
from analysis.report.sections import report_sections
from analysis.report.study import StudyResults
from analysis.report.study_plan import StudyPlan
from analysis.report.summary import (
    banner_lines,
    caveat,
    contrast_sentences,
    is_complete,
    overview,
    points_note,
)
from splits.files import write_text

OWN_FILES = {"tables": "*.csv", "figures": "*.svg", "splits": "*.html"}
"""files of the report's folders, all of which the report makes itself"""
NO_FINDINGS = "The report compares pairs of the six named settings; this study has no such pair."


def write_report(
    results: StudyResults, folder: Path, command: str, differences: pl.DataFrame | None = None
) -> Path:
    """Write `index.html`, `report.md`, `tables/`, `figures/` and `splits/`, each file as a whole.

    The bytes depend on the results, the command, and which pages of mixtures there are. What an
    earlier report left in these folders and this one does not have is deleted.

    Args:
        results: what the study's folder holds.
        folder: where to write; pages of mixtures are looked for in the study's folder, in `splits`.
        command: the command line that made the report, to be shown in it.
        differences: `contrasts.contrasts` of the results, where they are known already.

    Returns:
        The path of `index.html`.
    """
    differences = contrasts(results) if differences is None else differences
    plan = results.plan
    mixture_pages = _mixture_pages(results, folder.parents[plan.depth] / "splits")
    pages = {label: f"splits/{quote(name)}.html" for name, label in page_names(results).items()}
    sections = report_sections(results, differences, mixture_pages, pages)
    tables = named_tables(sections)
    kept = write_evaluation_pages(results, folder / "splits", set(mixture_pages), tables)
    content = {
        "study": plan.title,
        "above": f"All arms of study {plan.name}" if plan.arm else "",
        "question": "does diversity help CLIP generalize?",
        "dataset": dataset_line(plan),
        "overview": overview(results, differences),
        "findings": contrast_sentences(results, differences),
        "no_findings": NO_FINDINGS,
        "banner": banner_lines(results),
        "complete": is_complete(results),
        "caveat": caveat(results),
        "points_note": points_note(results, differences),
    }
    return write_page(content | {"command": command}, sections, folder, kept)


def write_page(
    content: dict[str, Any], sections: list[Section], folder: Path, kept: Iterable[Path] = ()
) -> Path:
    """Write `index.html` and `report.md`, and the tables and figures of their sections.

    Args:
        content: what stands above the sections, by the names of the templates.
        sections: of the page.
        folder: where to write.
        kept: further files of this report in its folders; all others there are deleted.

    Returns:
        The path of `index.html`.
    """
    charts, written = named_charts(sections), list(kept)
    figures = {name: svg_text(chart.figure, name) for name, chart in charts.items() if chart.figure}
    for name, table in named_tables(sections).items():
        written.append(folder / "tables" / f"{name}.csv")
        write_text(written[-1], table.write_csv())
    for name, svg in figures.items():
        written.append(folder / "figures" / f"{name}.svg")
        write_text(written[-1], svg)
    content = content | {"sections": sections, "figures": figures}
    write_text(folder / "report.md", render("report.md.j2", content))
    write_text(folder / "index.html", render("page.html.j2", content))
    _delete_others(folder, written)
    return folder / "index.html"


def dataset_line(plan: StudyPlan) -> str:
    """What a study's dataset is, and where it tests."""
    return (
        f"Dataset {plan.dataset}: {len(plan.classes)} classes in {len(plan.domains)} domains "
        f"({', '.join(plan.domains)}; natural: {plan.natural}). "
        f"Test domains: {', '.join(plan.test_domains)}."
    )


def named_tables(sections: Iterable[Section]) -> dict[str, pl.DataFrame]:
    """The frames of all tables by name.

    Raises:
        ValueError: two tables of one name have different frames.
    """
    found: dict[str, pl.DataFrame] = {}
    for section in sections:
        for part in section.parts:
            if (
                isinstance(part, Table)
                and found.setdefault(part.name, part.frame) is not part.frame
            ):
                raise ValueError(f"two different tables have the name {part.name}")
    return found


def named_charts(sections: Iterable[Section]) -> dict[str, Chart]:
    """All charts by name.

    Raises:
        ValueError: two have one name, or the table of one is not in the report.
    """
    found: dict[str, Chart] = {}
    sections = list(sections)
    tables = named_tables(sections)
    for part in (part for section in sections for part in section.parts):
        if not isinstance(part, Chart):
            continue
        if part.name in found:
            raise ValueError(f"two charts have the name {part.name}")
        if part.data not in tables:
            raise ValueError(f"chart {part.name} shows {part.data}, which is no table here")
        found[part.name] = part
    return found


def _mixture_pages(results: StudyResults, folder: Path) -> list[str]:
    """Names of the study's mixtures that have a page."""
    names = dict.fromkeys(name for run in results.plan.runs for name in run.mixtures.values())
    return [name for name in names if name and (folder / f"{name}.html").is_file()]


def _delete_others(folder: Path, written: Iterable[Path]) -> None:
    """Delete what an earlier report wrote and this one did not."""
    kept = set(written)
    for name, pattern in OWN_FILES.items():
        for path in (folder / name).glob(pattern):
            if path not in kept:
                path.unlink()
