"""What the parsers of several commands share: studies, overrides, numbers."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gen.sweep.study import Study

Verbs = argparse._SubParsersAction
"""to which commands are added; argparse does not publish the class"""


def study_command(
    commands: Verbs, name: str, command: Callable, text: str
) -> argparse.ArgumentParser:
    """Add a command on a study: its name or file, overrides, and the folders of everything."""
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("study", metavar="STUDY", help="a study in configs/studies, or a YAML file")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. seeds=[0,1,2]")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of all datasets")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all studies")
    parser.set_defaults(command=command)
    return parser


def load(options: argparse.Namespace) -> Study:
    """The study that the command line names."""
    from gen.sweep.study import load_study

    return load_study(options.study, options.overrides, data=options.data, runs=options.runs)


def save(study: Study) -> None:
    """Write a study's mixtures; tell which ones on disk were not the planned ones."""
    from gen.sweep.study import save_study

    for name in save_study(study):
        print(f"mixture {name} on disk was not the planned one: written again", file=sys.stderr)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def positive(text: str) -> int:
    """A positive whole number of the command line."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return int(text)


def natural(text: str) -> int:
    """A whole number of the command line, 0 among them."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 on")
    return int(text)
