"""The command `sweep`."""

from __future__ import annotations

import argparse

from gen.commands.options import Verbs, cores, load, positive, save, study_command


def add_sweep_command(commands: Verbs) -> None:
    """`sweep`."""
    sweep = study_command(commands, "sweep", sweep_study, "finish every run of a study")
    sweep.add_argument("--slots", type=positive, default=cores(), help="processes at a time")
    sweep.add_argument("--dry-run", action="store_true", help="list the runs, start none")


def sweep_study(options: argparse.Namespace) -> None:
    from gen.commands.plan import print_plan
    from gen.sweep.local import run_sweep, slot_command

    study = load(options)
    if options.dry_run:
        print_plan(study)
        return
    save(study)
    folders = ["--data", str(options.data), "--runs", str(options.runs)]
    run_sweep(study, slot_command([options.study, *options.overrides, *folders]), options.slots)
    print(f"{len(study.runs)} runs done in {study.folder}")
