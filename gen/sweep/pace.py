"""How fast runs of an arm go, as finished runs tell, and what is left to do of a run."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from gen.runs import Run
from gen.training.schedule import total_samples


@dataclass(frozen=True)
class Pace:
    """How long the stages of a run take; None: nobody knows.

    Attributes:
        samples_per_second: of training, with all that goes on around it.
        evaluate, analyze: seconds of these stages.
        source: where the numbers come from, for people.
    """

    samples_per_second: float | None = None
    evaluate: float | None = None
    analyze: float | None = None
    source: str = ""


class Left(NamedTuple):
    """What is left to do of a run.

    Attributes:
        seconds: of one slot; None where nobody knows.
        is_least: whether it may be more, because a stage's time is not known.
    """

    seconds: float | None
    is_least: bool = False


def arm_of(run: Run) -> str:
    """What a run's pace depends on: its arm; of a pretrained model which one it is."""
    return run.setting if run.pretrained is not None else run.arm


def pace_of(records: Sequence[Mapping[str, Any]], source: str = "") -> Pace:
    """The medians over finished runs.

    Args:
        records: content of the run.json of each.
        source: where they come from, for people.
    """
    return Pace(
        samples_per_second=_median(map(training_rate, records)),
        evaluate=_median(seconds_of(r, "evaluate") for r in records if r.get("evaluated")),
        analyze=_median(seconds_of(r, "analyze") for r in records if r.get("analyzed")),
        source=source,
    )


def training_rate(record: Mapping[str, Any]) -> float | None:
    """Samples per second of a finished training, its start and its states included."""
    logged, samples = record.get("samples_per_second"), record.get("samples_seen")
    if not logged or not samples:
        return None
    seconds = seconds_of(record, "train") or 0.0  # too few where a process was killed
    return float(samples / max(seconds, samples / logged))


def seconds_of(record: Mapping[str, Any], stage: str) -> float | None:
    """Seconds that a stage of a finished run took."""
    return record.get("seconds", {}).get(stage)


def folder_bytes(run: Run) -> int:
    """Size of all files in a run's folder, but what it shares with its twin; 0 without a folder."""
    shared = {(file.st_dev, file.st_ino) for file in _files(run.twin.folder)} if run.twin else set()
    files = {(file.st_dev, file.st_ino): file.st_size for file in _files(run.folder)}
    return sum(size for inode, size in files.items() if inode not in shared)


def _files(folder: Path) -> Iterator[os.stat_result]:
    """Of every file in a folder, whoever deletes some meanwhile."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                yield os.stat(os.path.join(parent, name))


def work_left(run: Run, pace: Pace, seen: int, stage_seconds: Mapping[str, float]) -> Left:
    """What is left to do of a run that is not done.

    Args:
        run: planned.
        pace: of its arm.
        seen: samples that it has trained on.
        stage_seconds: seconds that a process has worked on the stage that it is at, by the stage.
    """
    tested = {"evaluate": (run.evaluated, pace.evaluate), "analyze": (run.analyzed, pace.analyze)}
    seconds, is_least = 0.0, False
    for stage, (is_there, known) in tested.items():
        if not (run.trained and is_there):
            seconds += max(0.0, (known or 0.0) - stage_seconds.get(stage, 0.0))
            is_least |= known is None
    if run.trained or run.twin is not None:
        return Left(seconds, is_least)
    if not pace.samples_per_second:
        return Left(None)
    return Left(seconds + (total_samples(run.training) - seen) / pace.samples_per_second, is_least)


def finish_times(at_work: Sequence[float], waiting: Sequence[float], slots: int) -> list[float]:
    """Seconds until each unit of work is finished, first those at work, then those that wait.

    Whoever gets free takes the next one in the order given.

    Args:
        at_work: seconds left of every unit that somebody works on.
        waiting: seconds of every other unit.
        slots: units at a time, at least as many as are at work.
    """
    free = [*at_work, *[0.0] * (slots - len(at_work))]
    finished = list(at_work)
    for seconds in waiting:
        slot = free.index(min(free))
        free[slot] += seconds
        finished.append(free[slot])
    return finished


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(median(known)) if known else None
