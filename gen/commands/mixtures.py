"""Commands on the mixtures of a study: build, show, audit."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from gen.commands.options import Verbs, load, save, study_command

if TYPE_CHECKING:
    from gen.sweep.study import Study


def add_split_commands(commands: Verbs) -> None:
    """`split` with its verbs."""
    split = commands.add_parser("split", help="build and look at a study's mixtures")
    verbs = split.add_subparsers(required=True, metavar="VERB")
    study_command(verbs, "build", build_splits, "write the mixtures of a study")
    show = study_command(verbs, "show", show_splits, "what each mixture of a study holds")
    show.add_argument("--compare", nargs=2, metavar=("A", "B"), help="two mixtures side by side")
    show.set_defaults(shows=True)
    audit = study_command(verbs, "audit", audit_splits, "look for leaks and near duplicates")
    audit.add_argument(
        "--distance", type=int, default=4, help="bits of 64 in which near images may differ (4)"
    )
    audit.add_argument(
        "--embeddings", metavar="RUN", help="also compare images as this trained run sees them"
    )
    audit.add_argument(
        "--cosine", type=float, default=0.99, help="from which embeddings are near (0.99)"
    )


def build_splits(options: argparse.Namespace) -> None:
    study = load(options)
    save(study)
    for name, mixture in study.mixtures.items():
        folder = study.folder / "mixtures" / name
        print(f"{folder}  {mixture.size:>8}  {mixture.sha256[:12]}")


def show_splits(options: argparse.Namespace) -> None:
    from analysis.report.split_manifests import read_manifests
    from analysis.report.split_pages import summary_lines, write_comparison

    study = load(options)
    save(study)
    mixtures = study.folder / "mixtures"
    manifests, problems = read_manifests(mixtures, study.mixtures)
    if options.compare:
        comparison = write_comparison(manifests, problems, mixtures, options.compare, study.name)
        print(f"comparison: {comparison}")
    else:
        print("\n".join(summary_lines(manifests, problems)) + "\n")
    print(f"pages: {write_pages(study)}")


def write_pages(study: Study) -> Path:
    """Write the pages of the mixtures that are saved; the path of their index."""
    from analysis.report.split_manifests import read_manifests
    from analysis.report.split_pages import write_split_pages
    from gen.progress import progress

    manifests, problems = read_manifests(study.folder / "mixtures", study.mixtures)
    folder = study.folder / "splits"
    with progress(len(manifests) + 1, "pages of mixtures", "page") as bar:
        for _ in write_split_pages(manifests, problems, folder, study.name):
            bar.update()
    return folder / "index.html"


def audit_splits(options: argparse.Namespace) -> None:
    from analysis.report.audit_figure import audit_figure
    from analysis.report.figures import svg_text
    from gen.auditing.page import refuse_errors, summary_lines, write_audit
    from gen.auditing.study import audit_study
    from gen.sweep.study import find_run

    study = load(options)
    run = find_run(study, options.embeddings) if options.embeddings else None
    audit = audit_study(study, distance=options.distance, run=run, cosine=options.cosine)
    figure = audit_figure(audit.statistics, audit.counts, study.dataset.domains)
    folder = study.folder / "audit"
    write_audit(audit, folder, svg_text(figure, "audit"))
    print("\n".join(summary_lines(audit)))
    print(f"audit: {folder / 'audit.md'}")
    refuse_errors(audit, folder)
