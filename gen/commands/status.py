"""The command `status`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from gen.commands.options import Verbs, load, study_command
from gen.commands.status_table import plain_status, screen
from gen.commands.tables import console
from splits.errors import UserError

if TYPE_CHECKING:
    from gen.sweep.status import StudyStatus
    from gen.sweep.study import Study

SECONDS = 2.0
"""between two looks at a study"""


def add_status_command(commands: Verbs) -> None:
    """`status`."""
    status = study_command(commands, "status", show_status, "where a study stands")
    watch = "again every two seconds, until every run is done"
    status.add_argument("--watch", action="store_true", help=watch)
    status.add_argument("--json", action="store_true", help="as JSON")
    status.set_defaults(shows=True)


def show_status(options: argparse.Namespace) -> None:
    from gen.sweep.slurm_cluster import forget_ended_jobs
    from gen.sweep.status import study_status

    study = load(options)
    with suppress(UserError, OSError):  # no Slurm here, or no right to write
        forget_ended_jobs(study.folder)
    show = _print_json if options.json else _print_table
    if not options.watch:
        show(study_status(study))
        return
    with suppress(KeyboardInterrupt):  # how one leaves it
        if options.json or not sys.stdout.isatty():
            _watch(study, show)
        else:
            _watch_live(study)


def _watch(study: Study, show: Callable[[StudyStatus], None]) -> None:
    from gen.sweep.status import study_status

    while True:
        now = study_status(study)
        show(now)
        if now.is_over:
            return
        time.sleep(SECONDS)


def _watch_live(study: Study) -> None:
    """In one place of the terminal, as many runs as have room; all of them at the end."""
    from rich.live import Live

    from gen.sweep.status import study_status

    terminal = console()
    with Live(console=terminal, auto_refresh=False, transient=True) as live:
        _watch(study, lambda now: live.update(screen(now, terminal.size), refresh=True))
    _print_table(study_status(study))


def _print_json(now: StudyStatus) -> None:
    print(json.dumps(now.content(), ensure_ascii=False), flush=True)


def _print_table(now: StudyStatus) -> None:
    if sys.stdout.isatty():
        terminal = console()
        terminal.print(screen(now, terminal.size, every_run=True))
    else:
        print(plain_status(now), flush=True)
