"""A page per setting and test domain: what its runs get right, class by class."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

import polars as pl

from analysis.report.evaluation_page_views import (
    class_view,
    confusion_view,
    domains_view,
    extremes_view,
)
from analysis.report.rendering import render
from analysis.report.section import Links
from analysis.report.study import StudyResults
from analysis.report.summary import setting_label
from analysis.report.tables import served
from gen.runs import Target
from splits.files import write_text

TABLES = ("evaluation", "cells")


def page_names(results: StudyResults) -> dict[str, str]:
    """What stands on the link, by name of the page, in the grid's order."""
    many_draws = len(results.plan.draws) > 1
    names = {}
    for test_domain, draw, setting, *_ in _grid(results):
        label = f"{setting_label(setting)} in {test_domain}"
        names[page_name(setting, Target(test_domain, draw))] = (
            f"{label}, draw {draw}" if many_draws else label
        )
    return names


def page_name(setting: str, target: Target) -> str:
    """Name of a page: that of the mixture, where there is one."""
    return f"{setting}.{target.test_domain}" + (f".d{target.draw}" if target.draw else "")


def write_evaluation_pages(
    results: StudyResults,
    folder: Path,
    mixture_pages: Collection[str],
    report_tables: Collection[str],
) -> list[Path]:
    """Write every page as a whole; equal results give equal bytes.

    Args:
        results: of the study.
        folder: where to write, below the report's folder.
        mixture_pages: names of mixtures that have a page in the study's folder.
        report_tables: names of the tables of the report, which hold the numbers of the pages.

    Returns:
        Paths of the pages.
    """
    by_run = {
        name: getattr(results, name).partition_by("run", as_dict=True, include_key=True)
        for name in TABLES
    }
    paths = []
    for test_domain, draw, setting, mixture, runs in _grid(results):
        target = Target(test_domain, draw)
        found = {
            name: _of_runs(getattr(results, name), parts, runs) for name, parts in by_run.items()
        }
        content = _content(results, setting, target, runs, found)
        content["links"] = _links(results.plan.root, mixture, mixture_pages)
        content["csv"] = {name: f"../tables/{name}.csv" for name in report_tables}
        path = folder / f"{page_name(setting, target)}.html"
        write_text(path, render("evaluation.html.j2", content))
        paths.append(path)
    return paths


def _grid(results: StudyResults) -> Iterator[tuple[str, int, str, str, dict[str, int]]]:
    """Test domain, draw, setting, mixture and planned runs with their seeds, of every page."""
    keys = ["test_domain", "draw", "setting", "mixture", "run", "seed"]
    order = served(results).select(keys).rows()
    for key, group in groupby(order, key=lambda row: row[:4]):
        yield (*key, dict(row[4:] for row in group))


def _of_runs(whole: pl.DataFrame, parts: dict, runs: Collection[str]) -> pl.DataFrame:
    """The rows of these runs, without looking at those of all others."""
    return pl.concat([whole.clear(), *(parts[run,] for run in runs if (run,) in parts)])


def _content(
    results: StudyResults,
    setting: str,
    target: Target,
    runs: dict[str, int],
    found: dict[str, pl.DataFrame],
) -> dict:
    plan = results.plan
    manifest = results.mixtures.get(page_name(setting, target), {})
    evaluation = found["evaluation"].filter(
        "final", pl.col("prompts") == plan.prompts[0], draw=target.draw
    )
    cells = found["cells"].filter(split="test", domain=target.test_domain)
    held_out, seeds = plan.draws[target.draw], list(runs.values())
    states = dict(results.runs.select("run", "state").rows())
    title = f"{setting_label(setting)}, test domain {target.test_domain}"
    return {
        "study": plan.title,
        "title": title + (f", draw {target.draw}" if len(plan.draws) > 1 else ""),
        "description": _description(setting, manifest),
        "states": {run: states[run] for run in runs},
        "held_out": held_out,
        "domains": domains_view(evaluation, plan, target.draw, seeds),
        "confusion": confusion_view(evaluation, target.test_domain, seeds),
        "extremes": extremes_view(cells, held_out),
        "classes": class_view(cells, held_out, seeds),
    }


def _description(setting: str, manifest: dict) -> str:
    if setting.startswith("pretrained-"):
        return "A pretrained model: what it was shown is not known."
    shown = (manifest.get("rule") or {}).get("description") or ""
    return f"{shown[:1].upper()}{shown[1:]}." if shown else ""


def _links(root: str, mixture: str, pages: Collection[str]) -> Links | None:
    if mixture not in pages:
        return None
    return Links("What it saw", {mixture: f"../{root}/splits/{quote(mixture)}.html"})
