"""The command line. Every command imports its room when it is called: `--help` is instant."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from gen.commands.compare import add_compare_command
from gen.commands.coverage import add_coverage_command
from gen.commands.datasets import add_dataset_commands
from gen.commands.export import add_export_command
from gen.commands.mixtures import add_split_commands
from gen.commands.predict import add_predict_command
from gen.commands.report import add_report_command
from gen.commands.runs import add_run_commands
from gen.commands.search import add_search_command
from gen.commands.status import add_status_command
from gen.commands.swaps import add_swaps_command
from gen.commands.sweep import add_sweep_command
from splits.errors import TEMPORARY, Stopped, UserError
from splits.files import DISK_ERRORS, FULL_ERRORS

USER_ERROR_CODE = 2
BROKEN_PIPE_CODE = 141
"""as shells have it for whoever died of SIGPIPE"""

EXAMPLES = """examples:
  clipgen dataset build icons-small            make the dataset of the demo
  clipgen dataset show icons-small             look at it: data/icons-small/contact_sheet.png
  clipgen dataset import pacs --from ~/PACS    a dataset of images that are there already
  clipgen split show demo                      what each mixture of the study holds
  clipgen split audit demo                     leaks, near duplicates, balance: runs/demo/audit
  clipgen sweep demo --dry-run                 which runs a study has, and their state
  clipgen sweep demo                           all of it: dataset, mixtures, runs, report
  clipgen sweep demo training.samples_seen=50000 name=short
  clipgen report demo                          runs/demo/report/index.html
  clipgen compare demo --run natural_only --with cg_high_diversity-clipart
  clipgen export demo --run natural --to out   the model for open_clip, sets for CLIP_benchmark
  clipgen predict photos --study demo --run upper_bound_high --labels "dog,church"
  clipgen search photos --study demo --run upper_bound_high --text "photo of a dog"
  clipgen swaps pairs.json --study demo --run upper_bound_high
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code.

    It is 2 for mistakes of the user and for runs that failed, and 75 where the same command may go
    on another time: somebody asked for an end, or the disk is full.
    """
    options = parse(arguments)
    try:
        options.command(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR_CODE
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not (getattr(options, "shows", False) or getattr(options, "dry_run", False)):
            return BROKEN_PIPE_CODE  # and what was to be done is not
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        with suppress(OSError):  # a log on the disk that is full
            print(f"error: {_disk_error(error)}", file=sys.stderr)
        return TEMPORARY if error.errno in FULL_ERRORS else USER_ERROR_CODE
    except Stopped as stopped:
        print(f"{stopped}; the same command goes on from there", file=sys.stderr)
        return TEMPORARY
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
    add_dataset_commands(commands)
    add_split_commands(commands)
    add_run_commands(commands)
    add_sweep_command(commands)
    add_status_command(commands)
    add_report_command(commands)
    add_export_command(commands)
    add_compare_command(commands)
    add_predict_command(commands)
    add_search_command(commands)
    add_swaps_command(commands)
    add_coverage_command(commands)
    return parser


def _disk_error(error: OSError) -> UserError:
    return UserError(
        f"cannot read or write: {error.strerror}",
        where=str(error.filename or ""),
        fix="make room or choose another place with --data or --runs; finished work is kept",
    )


if __name__ == "__main__":
    sys.exit(main())
