"""Runs of a study that coincide are trained once: a later one takes over what the first one has."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from gen.runs import Run, describe_run, file_sha256, read_record, update_record, void_results
from gen.training.checkpoint import milestones
from gen.training.metrics_log import NAME as METRICS
from splits.errors import UserError
from splits.files import replacing

OWN = (
    *("run", "arm", "setting", "test_domains", "draws", "seed", "mixture_sha256"),
    *("started", "resumed", "seconds", "evaluated", "analyzed", "same_weights_as"),
)
"""keys of run.json that say nothing of the training, or nothing that a taker-over shares"""


def untrained(run: Run, twin: Run) -> UserError:
    """Build (not raise) the error for a twin whose weights are not there yet."""
    return UserError(
        f"run {run.name} takes over the weights of {twin.name}, which is not trained",
        where=str(twin.folder),
        fix=f"train {twin.name} first: both are the same training",
    )


def take_over(run: Run, twin: Run) -> None:
    """Give a run the weights, milestones and logs of its twin; what it had before counts no more.

    Killed at any moment, it is as if nothing had been taken over, and the same call does it again.

    Args:
        run: that takes over.
        twin: that has weights.

    Raises:
        UserError: the twin is trained anew at this moment.
    """
    void_results(run, "evaluated", "analyzed", "checkpoint")
    run.final_weights.unlink(missing_ok=True)  # while it is absent, the run is not trained
    theirs = read_record(twin.folder)
    for _, milestone in milestones(run.final_weights.parent):
        milestone.unlink()
    for path in _logs(twin):  # copied: one run's log is never another's
        with replacing(run.folder / path.name) as temporary:
            shutil.copyfile(path, temporary)
    for _, milestone in milestones(twin.final_weights.parent):
        _link(milestone, run.final_weights.with_name(milestone.name))
    _link(twin.final_weights, run.final_weights)
    if file_sha256(run.final_weights) != theirs["checkpoint"]:
        raise UserError(
            f"the weights of {twin.name} are not those of its run.json",
            expected="a run that nobody trains anew at this moment",
            where=str(twin.folder),
            fix="start the command again",
        )
    describe_run(run)
    training = {key: value for key, value in theirs.items() if key not in OWN}
    update_record(run.folder, **training, same_weights_as=twin.name)


def _logs(run: Run) -> Iterator[Path]:
    """What a training wrote beside its weights."""
    yield from run.folder.glob(METRICS)
    yield from run.folder.glob("rejected*.json")


def _link(source: Path, path: Path) -> None:
    """Give a file that is never changed a second name; copy it where the disk knows no links."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, path)
    except OSError:
        with replacing(path) as temporary:
            shutil.copyfile(source, temporary)
