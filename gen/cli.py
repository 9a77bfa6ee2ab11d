"""The command line. Every command imports its room when it is called: `--help` is instant."""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from splits.errors import UserError

if TYPE_CHECKING:
    from gen.runs import Run
    from gen.sweep.study import Study

DISK_ERRORS = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG),
)
USER_ERROR_CODE = 2

EXAMPLES = """examples:
  clipgen dataset build icons-small            make the dataset of the demo
  clipgen dataset show icons-small             look at it: data/icons-small/contact_sheet.png
  clipgen dataset import pacs --from ~/PACS    a dataset of images that are there already
  clipgen split show demo                      what each mixture of the study holds
  clipgen split audit demo                     leaks, near duplicates, balance: runs/demo/audit
  clipgen sweep demo --dry-run                 which runs a study has, and their state
  clipgen sweep demo                           train, evaluate and analyse all of them
  clipgen sweep demo training.samples_seen=50000 name=short
  clipgen report demo                          runs/demo/report/index.html
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code (2 for mistakes of the user)."""
    options = parse(arguments)
    try:
        options.command(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR_CODE
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        print(f"error: {_disk_error(error)}", file=sys.stderr)
        return USER_ERROR_CODE
    except KeyboardInterrupt:
        print("stopped; the same command goes on from here", file=sys.stderr)
        return 130
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; KEY=VALUE may stand anywhere, also behind options."""
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    strange = [text for text in rest if text.startswith("-") or "=" not in text]
    if strange or (rest and not hasattr(options, "overrides")):
        parser.error(f"unrecognized arguments: {' '.join(strange or rest)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    return options


def build_parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="clipgen",
        description="When and how does CLIP generalize to domains and class-domain combinations "
        "that it never saw?",
        epilog=EXAMPLES,
        formatter_class=form,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_dataset_commands(commands)
    _add_split_commands(commands)
    _add_run_commands(commands)
    sweep = _study_command(commands, "sweep", sweep_study, "finish every run of a study")
    sweep.add_argument("--slots", type=_positive, default=_cores(), help="processes at a time")
    sweep.add_argument("--dry-run", action="store_true", help="list the runs, start none")
    status = _study_command(commands, "status", show_status, "where a study stands")
    status.add_argument("--watch", action="store_true", help="again every two seconds")
    status.add_argument("--json", action="store_true", help="as JSON")
    _study_command(commands, "report", write_study_report, "write a study's report")
    return parser


def _add_dataset_commands(commands: argparse._SubParsersAction) -> None:
    dataset = commands.add_parser("dataset", help="build, look at and check datasets")
    verbs = dataset.add_subparsers(required=True, metavar="VERB")
    _add_download_command(verbs)
    _add_import_command(verbs)
    for name, command, text in (
        ("build", build_dataset, "render a dataset and write its shards and tables"),
        ("show", show_dataset, "write a contact sheet (domains × classes) as PNG"),
        ("verify", check_dataset, "compare every shard and image with its hash"),
    ):
        verb = verbs.add_parser(name, help=text, description=text)
        verb.add_argument("name", metavar="NAME", help="a dataset in configs/datasets")
        verb.add_argument("--data", type=Path, default=Path("data"), help="folder of all datasets")
        verb.set_defaults(command=command)
        if name == "build":
            verb.add_argument("--workers", type=_positive, default=_cores(), help="processes")
            verb.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. pixels=64")
        if name == "show":
            verb.add_argument("--classes", type=_positive, default=16, help="columns")
            verb.add_argument("--out", type=Path, help="default: contact_sheet.png in its folder")


def _add_download_command(verbs: argparse._SubParsersAction) -> None:
    text = "fetch and verify the files of a dataset that others publish"
    verb = verbs.add_parser("download", help=text, description=text)
    verb.add_argument("name", metavar="NAME", help="a dataset in configs/datasets")
    verb.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder of the files")
    verb.set_defaults(command=download_dataset)


def _add_import_command(verbs: argparse._SubParsersAction) -> None:
    text = "make a dataset of images that are there already"
    verb = verbs.add_parser("import", help=text, description=text)
    verb.add_argument(
        "name", metavar="NAME", help="in configs/datasets, a YAML file, or a new name"
    )
    verb.add_argument(
        "--from", type=Path, required=True, metavar="DIR", dest="source", help="where they are"
    )
    verb.add_argument("--data", type=Path, default=Path("data"), help="folder of all datasets")
    verb.add_argument("--workers", type=_positive, default=_cores(), help="processes")
    verb.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. natural=photo")
    verb.set_defaults(command=import_dataset)


def _add_split_commands(commands: argparse._SubParsersAction) -> None:
    split = commands.add_parser("split", help="build and look at a study's mixtures")
    verbs = split.add_subparsers(required=True, metavar="VERB")
    _study_command(verbs, "build", build_splits, "write the mixtures of a study")
    show = _study_command(verbs, "show", show_splits, "what each mixture of a study holds")
    show.add_argument("--compare", nargs=2, metavar=("A", "B"), help="two mixtures side by side")
    audit = _study_command(verbs, "audit", audit_splits, "look for leaks and near duplicates")
    audit.add_argument(
        "--distance", type=int, default=4, help="bits of 64 in which near images may differ (4)"
    )
    audit.add_argument(
        "--embeddings", metavar="RUN", help="also compare images as this trained run sees them"
    )
    audit.add_argument(
        "--cosine", type=float, default=0.99, help="from which embeddings are near (0.99)"
    )


def _add_run_commands(commands: argparse._SubParsersAction) -> None:
    run = _study_command(commands, "run", run_study, "train, evaluate and analyse open runs")
    run.add_argument("--run", metavar="ID", help="only this run (a prefix of its name will do)")
    run.add_argument("--slot", action="store_true", help="end when standard input closes")
    for name, command, text in (
        ("train", train_one, "train one run"),
        ("evaluate", evaluate_one, "evaluate one trained run (again)"),
        ("analyze", analyze_one, "analyse one trained run (again)"),
    ):
        stage = _study_command(commands, name, command, text)
        stage.add_argument("--run", metavar="ID", required=True, help="name, or a prefix of it")


def _study_command(
    commands: argparse._SubParsersAction, name: str, command: Callable, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("study", metavar="STUDY", help="a study in configs/studies, or a YAML file")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. seeds=[0,1,2]")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of all datasets")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all studies")
    parser.set_defaults(command=command)
    return parser


# ---------------------------------------------------------------------------- datasets


def build_dataset(options: argparse.Namespace) -> None:
    from gen.config import IconsConfig, load_config
    from gen.datasets.icons.build import build_icons

    config = load_config("datasets", options.name, options.overrides)
    if not isinstance(config, IconsConfig):
        fix = f"clipgen dataset import {options.name} --from DIR"
        raise UserError(f"dataset `{options.name}` is imported, not rendered", fix=fix)
    folder = build_icons(config, options.data, workers=options.workers)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    print(f"{folder}: {manifest['samples']} samples, sha256 {manifest['sha256'][:12]}")


def import_dataset(options: argparse.Namespace) -> None:
    from gen.config import DatasetKind
    from gen.datasets.captioned import list_captioned
    from gen.datasets.folder import list_folder
    from gen.datasets.importing import import_config, import_listing, summary

    config = import_config(options.name, options.overrides)
    if config.kind is DatasetKind.folder:
        listed = list_folder(config, options.source)
    else:
        listed = list_captioned(config, options.source, workers=options.workers)
    folder = import_listing(config, *listed, options.data, workers=options.workers)
    print("\n".join(summary(folder)))


def show_dataset(options: argparse.Namespace) -> None:
    from gen.datasets.contact_sheet import contact_sheet
    from gen.datasets.samples import load_dataset
    from splits.files import replacing

    dataset = load_dataset(options.name, options.data)
    path = options.out or dataset.folder / "contact_sheet.png"
    with replacing(path) as temporary:
        contact_sheet(dataset, classes=options.classes).save(temporary, format="PNG")
    print(path)


def check_dataset(options: argparse.Namespace) -> None:
    from gen.datasets.samples import load_dataset, making_command, verify_dataset

    dataset = load_dataset(options.name, options.data)
    problems = verify_dataset(dataset)
    if problems:
        raise UserError(
            f"{len(problems)} problems:" + "".join(f"\n    {problem}" for problem in problems[:20]),
            where=str(dataset.folder),
            fix=f"delete {dataset.folder} and run: {making_command(options.name, options.data)}",
        )
    print(f"{dataset.folder}: {dataset.manifest['samples']} samples, all as their hashes say")


def download_dataset(options: argparse.Namespace) -> None:
    from gen.config import ImportConfig, load_config
    from gen.datasets.download import download

    config = load_config("datasets", options.name)
    if not isinstance(config, ImportConfig):
        raise UserError(
            f"dataset `{options.name}` is rendered here, not downloaded",
            fix=f"clipgen dataset build {options.name}",
        )
    print("\n".join(download(config, options.to)))
    print(f"next: clipgen dataset import {options.name} --from {options.to}")


# ---------------------------------------------------------------------------- splits


def build_splits(options: argparse.Namespace) -> None:
    from gen.sweep.study import save_study

    study = _load(options)
    save_study(study)
    for name, mixture in study.mixtures.items():
        folder = study.folder / "mixtures" / name
        print(f"{folder}  {mixture.size:>8}  {mixture.sha256[:12]}")


def show_splits(options: argparse.Namespace) -> None:
    from analysis.report.split_manifests import read_manifests
    from analysis.report.split_pages import summary_lines, write_comparison
    from gen.sweep.study import save_study

    study = _load(options)
    save_study(study)
    mixtures = study.folder / "mixtures"
    manifests, problems = read_manifests(mixtures, study.mixtures)
    if options.compare:
        comparison = write_comparison(manifests, problems, mixtures, options.compare, study.name)
        print(f"comparison: {comparison}")
    else:
        print("\n".join(summary_lines(manifests, problems)) + "\n")
    print(f"pages: {_write_split_pages(study)}")


def _write_split_pages(study: Study) -> Path:
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
    from gen.auditing import audit_study, refuse_errors, summary_lines, write_audit
    from gen.sweep.study import find_run

    study = _load(options)
    run = find_run(study, options.embeddings) if options.embeddings else None
    audit = audit_study(study, distance=options.distance, run=run, cosine=options.cosine)
    figure = audit_figure(audit.statistics, audit.counts, study.dataset.domains)
    folder = study.folder / "audit"
    write_audit(audit, folder, svg_text(figure, "audit"))
    print("\n".join(summary_lines(audit)))
    print(f"audit: {folder / 'audit.md'}")
    refuse_errors(audit, folder)


# ---------------------------------------------------------------------------- runs


def run_study(options: argparse.Namespace) -> None:
    from gen.sweep.local import complain, forget_failures
    from gen.sweep.study import find_run

    if options.slot:
        _end_with_standard_input()
    study = _load(options)
    if options.run:
        run = find_run(study, options.run)
        run.failure.unlink(missing_ok=True)
        if not _finish_run(run, study):
            raise UserError(f"run {run.name} is held by another process", where=str(run.folder))
        return
    if not options.slot:
        forget_failures(study)
    _take_open_runs(study)
    if not options.slot:
        complain(study)


def _take_open_runs(study: Study) -> None:
    """Finish runs, one after another, until none is left that nobody has failed at."""
    while open_runs := [r for r in study.runs if not r.done and not r.failure.is_file()]:
        taken = [_finish_run(run, study, note_failure=True) for run in open_runs]
        if not any(taken):
            time.sleep(1)  # the rest is held by others, who may yet be killed


def _finish_run(run: Run, study: Study, *, note_failure: bool = False) -> bool:
    """All stages of a run that are not done yet; False where another process holds it.

    With `note_failure` one run's failure is not the others': it is written into its folder.
    """
    from gen.runs import claim

    with claim(run) as mine:
        if not mine:
            return False
        if run.done or (note_failure and run.failure.is_file()):
            return True
        try:
            _do_stages(run, study)
        except Exception as error:
            if not note_failure or (isinstance(error, OSError) and error.errno in DISK_ERRORS):
                raise
            run.failure.write_text(f"{error}\n\n{traceback.format_exc()}", encoding="utf-8")
    return True


def _do_stages(run: Run, study: Study) -> None:
    from analysis.run import analyze_run
    from gen.stages import evaluate_run, train_run
    from splits.files import write_text

    train_run(run, study.dataset, study.base)
    if not run.evaluated:
        evaluate_run(run, study.dataset)
    if not run.similarity.is_file():
        analyze_run(run, study.dataset)
    write_text(run.folder / "DONE", run.results_key)


def train_one(options: argparse.Namespace) -> None:
    from gen.stages import train_run

    _one_stage(options, lambda run, study: train_run(run, study.dataset, study.base), trained=False)


def evaluate_one(options: argparse.Namespace) -> None:
    from gen.stages import evaluate_run

    _one_stage(options, lambda run, study: evaluate_run(run, study.dataset), trained=True)


def analyze_one(options: argparse.Namespace) -> None:
    from analysis.run import analyze_run

    _one_stage(options, lambda run, study: analyze_run(run, study.dataset), trained=True)


def _one_stage(
    options: argparse.Namespace, stage: Callable[[Run, Study], None], *, trained: bool
) -> None:
    from gen.runs import claim
    from gen.sweep.study import find_run

    study = _load(options)
    run = find_run(study, options.run)
    if trained and not run.final_weights.is_file():
        fix = f"clipgen train {options.study} --run {run.name}"
        raise UserError(f"run {run.name} is not trained", where=str(run.folder), fix=fix)
    with claim(run) as mine:
        if not mine:
            raise UserError(f"run {run.name} is held by another process", where=str(run.folder))
        stage(run, study)
    print(run.folder)


# ---------------------------------------------------------------------------- studies


def sweep_study(options: argparse.Namespace) -> None:
    from gen.sweep.local import run_sweep, slot_command

    study = _load(options)
    if options.dry_run:
        _print_plan(study)
        return
    folders = ["--data", str(options.data), "--runs", str(options.runs)]
    run_sweep(study, slot_command([options.study, *options.overrides, *folders]), options.slots)
    print(f"{len(study.runs)} runs done in {study.folder}")


def show_status(options: argparse.Namespace) -> None:
    from gen.sweep.status import status_table

    study = _load(options)
    if options.json:
        print(status_table(study).write_json())
        return
    _print_status(study)
    while options.watch and not all(run.done for run in study.runs):
        time.sleep(2)
        print("\033[H\033[2J" if sys.stdout.isatty() else "", end="")
        _print_status(study)


def write_study_report(options: argparse.Namespace) -> None:
    from analysis.plan import plan_of
    from analysis.report.page import write_report
    from analysis.report.study import load_results
    from analysis.report.summary import summary_lines

    study = _load(options)
    results = load_results(plan_of(study), study.folder)
    command = f"clipgen report {' '.join([options.study, *options.overrides])}"
    _write_split_pages(study)
    path = write_report(results, study.folder / "report", command)
    print("\n".join(summary_lines(results)))
    print(f"report: {path}")


def _print_status(study: Study) -> None:
    from gen.sweep.status import status_table

    for row in status_table(study).iter_rows(named=True):
        loss = f"loss {row['loss']:.3f}" if row["loss"] is not None else ""
        print(f"{row['state']:<8} {row['progress']:>6.0%}  {row['run']:<52} {loss}")


def _print_plan(study: Study) -> None:
    """Every run with the samples and the hash of its mixture, and what they sum to."""
    from gen.sweep.status import status_table

    table = status_table(study)
    width = max(map(len, table["run"]))
    base = max(table["base_samples"])
    print(f"{'state':<8} {'done':>5}  {'samples':>9}  {'mixture':<12}  run")
    for row in table.iter_rows(named=True):
        line = f"{row['state']:<8} {row['progress']:>5.0%}  {row['samples']:>9,}"
        print(f"{line}  {row['mixture_sha256'][:12]}  {row['run']:<{width}}".rstrip())
    print(
        f"{len(study.runs)} runs of {len(set(table['mixture_sha256']))} different mixtures, "
        f"{study.config.training.samples_seen:,} samples seen by each"
        + (f"; every mixture holds {base:,} samples of {study.config.base} besides" if base else "")
    )


def _load(options: argparse.Namespace) -> Study:
    from gen.sweep.study import load_study

    return load_study(options.study, options.overrides, data=options.data, runs=options.runs)


def _end_with_standard_input() -> None:
    """End this process when whoever started it is gone, and its end of the pipe with it."""

    def wait() -> None:
        while os.read(0, 1024):  # not sys.stdin: its lock, held at exit, would abort the process
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return int(text)


def _disk_error(error: OSError) -> UserError:
    return UserError(
        f"cannot read or write: {error.strerror}",
        where=str(error.filename or ""),
        fix="make room or choose another place with --data or --runs; finished work is kept",
    )


if __name__ == "__main__":
    sys.exit(main())
