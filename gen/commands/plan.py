"""What `sweep --dry-run` tells: every run, what the rest costs, and what is missing."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gen.commands.amounts import counted, duration, size
from gen.commands.status_table import reasons, strangers_in_words
from gen.commands.tables import Column, print_table
from splits.errors import UserError

if TYPE_CHECKING:
    from gen.runs import Run
    from gen.sweep.estimates import Costs, Estimate
    from gen.sweep.study import Study
    from gen.training.measured import Measured


class Slots(NamedTuple):
    """Runs at a time.

    Attributes:
        wanted: by the user; else as many as there is room for.
        fast: of these, how many the processors are for; more share them, and save no time here.
    """

    wanted: int
    fast: int


class PlannedRun(NamedTuple):
    """A run of the plan, its state, and what is left of it."""

    run: Run
    state: str
    estimate: Estimate


def print_plan(
    study: Study,
    slots: int | None = None,
    *,
    here: bool = True,
    measure: Callable[[Run], Measured] | None = None,
) -> None:
    """Every run with its mixture, state and costs, what they sum to, and what is missing.

    Args:
        study: planned.
        slots: runs at a time; None: as many as this machine, or any, has room for.
        here: whether this machine will do the runs; else nothing is known about who does.
        measure: takes some steps of a run's model; None: here and now.
    """
    from gen.sweep.estimates import costs_of
    from gen.sweep.lacks import lacks
    from gen.sweep.states import State, standings

    standing, strangers = standings(study)
    shared = _slots_here(study, slots) if here else Slots(*[slots or len(study.runs)] * 2)
    costs = costs_of(
        study,
        standing,
        shared.fast,
        device=partial(_device, study) if here else None,
        processes=_processes(study, here=here),
        measure=measure or _measured_by(study),
    )
    rows = [PlannedRun(r, standing[r.name].state.value, costs.runs[r.name]) for r in study.runs]
    print_table(COLUMNS, rows)
    left = [run for run in study.runs if standing[run.name].state is not State.done]
    told = [(s.state.value, s.reason, name) for name, s in standing.items()]
    lines = [*reasons(told), *_sums(study), *_costs_in_words(costs, len(left), shared, study)]
    lines += [f"missing: {what}" for what in lacks(study, left, here=here)]
    print("\n".join([*lines, *_short_disk(costs, study), *strangers_in_words(strangers)]))


def _slots_here(study: Study, wanted: int | None) -> Slots:
    """The slots that a sweep on this machine would have."""
    from gen.sweep.slots import slots_here

    try:
        fitting = len(slots_here(study.config.resources))
    except UserError:  # a run is to have more GPUs than there are, which is told as missing
        fitting = 1
    return Slots(wanted or fitting, min(wanted or fitting, fitting))


def _processes(study: Study, *, here: bool) -> int:
    """That share a run: one per GPU."""
    from gen.machine import visible_gpus

    wanted = study.config.resources
    if here:
        return max(1, wanted.gpus) if visible_gpus() else 1
    return max(1, wanted.gpus) * wanted.nodes


def _device(study: Study) -> str:
    """The device on which this machine would train."""
    from gen.device import describe_device, device_for

    return describe_device(device_for(study.config.resources.gpus))


def _measured_by(study: Study) -> Callable[[Run], Measured]:
    def measure(run: Run) -> Measured:
        from gen.device import device_for
        from gen.training.measured import measure_here

        print(f"measuring a few steps of {run.arm or run.name} …", file=sys.stderr)
        resources = study.config.resources
        device = device_for(resources.gpus)
        return measure_here(run, study.dataset, threads=resources.cpus, device=device)

    return measure


def _samples(row: PlannedRun) -> str:
    return "" if row.run.pretrained else f"{row.run.mixture.size:,}"


def _mixture(row: PlannedRun) -> str:
    return "pretrained" if row.run.pretrained else row.run.mixture.sha256[:12]


def _time(row: PlannedRun) -> str:
    seconds, is_least = row.estimate.left
    if seconds is None or (is_least and not seconds):
        return "?"
    return f"{'> ' * is_least}{duration(seconds)}" if seconds else ""


def _disk(row: PlannedRun) -> str:
    return size(row.estimate.bytes) if row.estimate.bytes else ""


def _name(row: PlannedRun) -> str:
    twin = row.run.twin
    return row.run.name + (f"  same weights as {twin.name}" if twin else "")


COLUMNS: list[Column[PlannedRun]] = [
    Column("state", lambda row: row.state, is_text=True),
    Column("samples", _samples, 2),
    Column("mixture", _mixture, 4, is_text=True),
    Column("time", _time, 1),
    Column("disk", _disk, 3),
    Column("run", _name, is_text=True),
]


def _sums(study: Study) -> list[str]:
    """How many runs of how many mixtures, and how much each of them sees."""
    trained = [run for run in study.runs if run.pretrained is None]
    twins = sum(run.twin is not None for run in trained)
    budgets = {run.arm: run.training.samples_seen for run in trained}
    seen = sorted(set(budgets.values()))
    base = study.base.manifest["samples"] if study.base else 0
    pretrained = len(study.runs) - len(trained)
    mixtures = len({run.mixture.sha256 for run in trained})
    line = f"{counted(len(trained), 'run')} of {counted(mixtures, 'different mixture')}"
    if twins:
        line += f", {twins} of which take over the weights of others"
    if len(seen) == 1:
        line += f", {seen[0]:,} samples seen by each"
    if base:
        line += f"; every mixture holds {base:,} samples of {study.config.base} besides"
    if pretrained:
        line += f"; {counted(pretrained, 'pretrained model')}"
    arms = {f"{arm}: {samples:,} samples seen by each run" for arm, samples in budgets.items()}
    return [line, *(sorted(arms) if len(seen) > 1 else [])]


def _costs_in_words(costs: Costs, count: int, slots: Slots, study: Study) -> list[str]:
    """What is left, and where the numbers come from."""
    if not count:
        return ["nothing is left to do"]
    least = "at least " if costs.is_least else ""
    time = "nobody knows how long they take"
    if costs.seconds is not None and costs.slot_seconds is not None:
        on = f"{slots.fast} slots ({duration(costs.slot_seconds)} of one)"
        time = f"{least}{duration(costs.seconds)} on {on if slots.fast > 1 else 'one slot'}"
        if slots.wanted > slots.fast:
            time += f", as which {slots.wanted} that share this machine are counted"
    disk = f"{size(costs.bytes)} of disk, of which {size(_free_bytes(study.folder))} are free"
    return [
        f"left: {counted(count, 'run')}, {time}; {disk}",
        *(f"estimates{' of ' * bool(arm)}{arm}: {how}" for arm, how in costs.sources.items()),
    ]


def _short_disk(costs: Costs, study: Study) -> list[str]:
    free = _free_bytes(study.folder)
    if costs.bytes <= free:
        return []
    return [f"missing: room on the disk: {size(costs.bytes)} are needed, {size(free)} are free"]


def _free_bytes(folder: Path) -> int:
    """Of the disk on which a folder is, or will be."""
    there = next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
    return shutil.disk_usage(there).free
