"""The command `compare`: two runs' representations of the same test images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gen.commands.options import Verbs, load, study_command

if TYPE_CHECKING:
    from analysis.probes import Activations
    from gen.runs import Run
    from gen.sweep.study import Study

EXAMPLES = """examples:
  clipgen compare demo --run natural_only --with leave_out_domain-quickdraw
  clipgen compare demo --run natural_only --with cg_high_diversity-clipart --to alike.csv
"""


def add_compare_command(commands: Verbs) -> None:
    """`compare`."""
    text = "how alike two runs represent the same test images, by domain and site"
    compare = study_command(commands, "compare", compare_runs, text)
    compare.add_argument("--run", metavar="ID", required=True, help="name, or a prefix of it")
    compare.add_argument("--with", metavar="ID", required=True, dest="other", help="another run")
    compare.add_argument("--to", metavar="FILE", type=Path, help="write all numbers, as CSV")
    compare.formatter_class = argparse.RawDescriptionHelpFormatter
    compare.epilog = EXAMPLES


def compare_runs(options: argparse.Namespace) -> None:
    from analysis.model_similarity import model_similarity
    from gen.commands.tables import Column, print_table
    from gen.progress import progress
    from gen.sweep.study import find_run
    from splits.files import write_text

    study = load(options)
    a, b = (_activations(study, find_run(study, name)) for name in (options.run, options.other))
    sites = _pairs(list(a.sites), list(b.sites))
    total = a.samples["domain"].n_unique() * len(sites)
    with progress(total, "similarity", "sites") as bar:
        found = model_similarity(a, b, sites, bar=bar)
    columns = [
        Column[dict]("domain", lambda row: row["domain"], is_text=True),
        Column[dict]("sites", _places, is_text=True),
        Column[dict]("measure", lambda row: row["measure"], is_text=True),
        Column[dict]("value", lambda row: _number(row["value"])),
        Column[dict]("95 % interval", lambda row: _ends(row, "lo", "hi")),
        Column[dict]("chance", lambda row: _ends(row, "chance_lo", "chance_hi")),
        Column[dict]("images", lambda row: str(row["n"]), rank=1),
        Column[dict]("note", lambda row: row["note"], rank=2, is_text=True),
    ]
    print_table(columns, list(found.iter_rows(named=True)))
    if options.to is not None:
        write_text(options.to, found.write_csv())


def _activations(study: Study, run: Run) -> Activations:
    """Those of the test images of a trained run.

    Raises:
        UserError: it is not trained.
    """
    from analysis.subject import Subject
    from gen.models.trained import load_trained
    from splits.errors import UserError

    if not run.trained:
        fix = f"clipgen train {study.name} --run {run.name}"
        raise UserError(f"run {run.name} is not trained", where=str(run.folder), fix=fix)
    return Subject(run, study.dataset, load_trained(run, study.dataset)).tested


def _pairs(a: list[str], b: list[str]) -> list[tuple[str, str]]:
    """Sites of one name; of towers that have few in common the first, middle and last."""
    common = [site for site in a if site in b]
    if len(common) > 2:
        return [(site, site) for site in common]
    ends = [(sites[0], sites[len(sites) // 2], sites[-1]) for sites in (a, b)]
    return list(zip(*ends, strict=True))


def _places(row: dict) -> str:
    return row["site_a"] if row["site_a"] == row["site_b"] else f"{row['site_a']}, {row['site_b']}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _ends(row: dict, lo: str, hi: str) -> str:
    return "" if row[lo] is None else f"{row[lo]:.2f} to {row[hi]:.2f}"
