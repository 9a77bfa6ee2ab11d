"""The command `status`."""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from gen.commands.options import Verbs, load, study_command

if TYPE_CHECKING:
    from gen.sweep.study import Study


def add_status_command(commands: Verbs) -> None:
    """`status`."""
    status = study_command(commands, "status", show_status, "where a study stands")
    status.add_argument("--watch", action="store_true", help="again every two seconds")
    status.add_argument("--json", action="store_true", help="as JSON")


def show_status(options: argparse.Namespace) -> None:
    from gen.sweep.status import status_table

    study = load(options)
    if options.json:
        print(status_table(study).write_json())
        return
    _print_status(study)
    while options.watch and not all(run.done for run in study.runs):
        time.sleep(2)
        print("\033[H\033[2J" if sys.stdout.isatty() else "", end="")
        _print_status(study)


def _print_status(study: Study) -> None:
    from gen.sweep.status import status_table

    for row in status_table(study).iter_rows(named=True):
        loss = f"loss {row['loss']:.3f}" if row["loss"] is not None else ""
        print(f"{row['state']:<8} {share(row['progress']):>6}  {row['run']:<52} {loss}")


def share(progress: float | None) -> str:
    """A share in percent; nothing for a model that is not trained here."""
    return "" if progress is None else f"{progress:.0%}"
