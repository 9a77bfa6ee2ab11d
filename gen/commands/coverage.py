"""The command `coverage`: small models trained from scratch on scenes, over coverages and seeds."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gen.commands.amounts import counted, duration
from gen.commands.options import Verbs, positive
from splits.errors import UserError

if TYPE_CHECKING:
    import polars as pl
    import torch

    from analysis.binding.controlled.condition import Condition

EXAMPLES = """examples:
  clipgen coverage small --dry-run             how many models, and how long they take here
  clipgen coverage small                       all of it: runs/coverage/small
  clipgen coverage debug --slots 1
  clipgen coverage small grids.pictures.seeds=[0,1,2,3,4] name=five-seeds

Ctrl-C at any time: the same command goes on with the models that are not done.
"""
SHOWN = ("replaced", "swap", "object")
"""scores of the table, of scenes of unseen objects"""


def add_coverage_command(commands: Verbs) -> None:
    """`coverage`."""
    text = "train small models on scenes: at which coverage of objects do they learn to bind?"
    coverage = commands.add_parser(
        "coverage",
        help=text,
        description=text,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    coverage.add_argument(
        "config", metavar="CONFIG", help="a file in configs/coverage, or a YAML file"
    )
    coverage.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="e.g. name=other")
    coverage.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all results")
    coverage.add_argument("--slots", type=positive, help="models at a time (default: one per core)")
    coverage.add_argument("--dry-run", action="store_true", help="count and time, train nothing")
    coverage.set_defaults(command=sweep_coverage)


def sweep_coverage(options: argparse.Namespace) -> None:
    from gen.training.preemption import ending_at_sigterm

    with ending_at_sigterm():
        _sweep(options)


def _sweep(options: argparse.Namespace) -> None:
    from analysis.binding.controlled.condition import conditions
    from analysis.binding.controlled.coverage_sweep import left, run_conditions
    from gen.config import load_config
    from gen.device import pick_device
    from gen.machine import cores

    config = load_config("coverage", options.config, options.overrides)
    grids, device = conditions(config), pick_device()
    folder, slots = options.runs / "coverage" / config.name, options.slots or cores()
    everything = [condition for grid in grids.values() for condition in grid]
    todo = left(everything, folder)
    total = len({condition.key for condition in everything})
    if options.dry_run:
        _tell_plan({name: left(grid, folder) for name, grid in grids.items()}, device, slots)
        print(f"{counted(total, 'model')}, {total - len(todo)} done: {folder}")
        return
    broken = run_conditions(todo, folder, device, slots, _tell) if todo else []
    now = len(todo) - len(broken)
    print(f"{counted(total, 'model')}: {total - len(broken)} done, {now} of them now")
    _write(config.name, grids, folder, len(broken))
    if broken:
        raise UserError(
            f"{counted(len(broken), 'model')} could not be trained; the reasons stand above",
            where=str(folder),
            fix="mend the cause, and give the same command again: it does only what is missing",
        )


def _tell_plan(grids: dict[str, list[Condition]], device: torch.device, slots: int) -> None:
    """How long what is left takes here, by a few steps of every grid."""
    from analysis.binding.controlled.coverage_sweep import seconds_per_step

    total = 0.0
    for name, todo in grids.items():
        if not todo:
            print(f"{name}: done")
            continue
        step = seconds_per_step(todo[-1], device)
        seconds = step * sum(condition.training.steps for condition in todo)
        total += seconds
        print(
            f"{name}: {counted(len(todo), 'model')} of {todo[-1].training.steps:,} steps, "
            f"{1000 * step:.0f} ms a step, one at a time {duration(seconds)}"
        )
    print(f"about {duration(total / slots)} with {slots} at a time on {device}")


def _write(name: str, grids: dict[str, list[Condition]], folder: Path, missing: int) -> None:
    """Write the tables of all that is done and their page, and show the headline."""
    from analysis.binding.controlled.results import function_table, load, score_table, scores_path
    from analysis.report.controlled_models import controlled_models
    from analysis.report.coverage_page import write_coverage_page
    from splits.files import replacing

    done = [
        (grid, load(folder, condition))
        for grid, conditions in grids.items()
        for condition in conditions
        if scores_path(folder, condition).is_file()
    ]
    if not done:
        return
    scores, functions = score_table(done), function_table(done)
    tables = {"scores": scores, "functions": functions}
    tables["models"] = controlled_models(scores, functions)
    for table, rows in tables.items():
        with replacing(folder / f"{table}.parquet") as temporary:
            rows.write_parquet(temporary)
    _show(scores)
    command = f"clipgen coverage {name}"
    print(write_coverage_page(name, scores, functions, folder / "report", missing, command))


def _show(table: pl.DataFrame) -> None:
    """A line per cell of a grid: means over seeds, and the least and the greatest."""
    import polars as pl

    from gen.commands.tables import Column, print_table

    cell = ["grid", "coverage", "swap_share", "leak"]
    unseen = table.filter((pl.col("familiarity") == "unseen") & (pl.col("bank") != "alike"))
    scores = (
        unseen.group_by(*cell, "score")
        .agg(
            mean=pl.col("value").mean(),
            low=pl.col("value").min(),
            high=pl.col("value").max(),
            models=pl.col("value").count(),
        )
        .sort(*cell)
    )
    rows = [
        dict(zip(cell, key, strict=True)) | {row["score"]: row for row in part.to_dicts()}
        for key, part in scores.group_by(*cell, maintain_order=True)
    ]
    columns = [Column[dict]("grid", lambda row: row["grid"], is_text=True)]
    columns += [
        Column[dict]("coverage", lambda row: f"{row['coverage']:g}"),
        Column[dict]("swap share", lambda row: f"{row['swap_share']:g}"),
        Column[dict]("leak", lambda row: "yes" if row["leak"] else ""),
    ]
    columns += [Column[dict](f"{score}, unseen", partial(_told, score)) for score in SHOWN]
    print_table(columns, rows)


def _told(score: str, row: dict) -> str:
    """Mean, range and number of models of a score; empty where no model has one."""
    found = row[score]
    if found["mean"] is None:
        return ""
    return f"{found['mean']:.2f} ({found['low']:.2f}–{found['high']:.2f}, {found['models']})"


def _tell(text: str) -> None:
    from tqdm import tqdm

    tqdm.write(text, file=sys.stderr)
