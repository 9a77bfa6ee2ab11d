"""The state of every run of a study, read from its folder alone: nothing else keeps accounts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from gen.locks import lock_is_held
from gen.runs import Run, cell_of, read_record, recorded, run_identity
from gen.sweep.attempts import Attempt, read_attempts
from gen.sweep.changes import changed_keys, told
from gen.sweep.heartbeat import Heartbeat, read_heartbeat
from gen.sweep.queue import queued
from gen.sweep.study import Study
from splits.errors import UserError
from splits.files import first_line, text_of

YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""a study may have hundreds of runs: the one in C is ten times as fast"""


class State(Enum):
    """Where a run stands."""

    running = "running"
    """a process works on it, here or on another machine"""
    failed = "failed"
    """by an error that has to be mended, or to be forgiven by the next sweep"""
    interrupted = "interrupted"
    """begun, and nobody works on it; the next sweep goes on"""
    stale = "stale"
    """there are results, of another configuration, mixture, dataset, way to test, or weights"""
    queued = "queued"
    """a sweep that lives, or Slurm, is going to do it"""
    new = "new"
    done = "done"


@dataclass(frozen=True)
class Traces:
    """What work on a run left in its folder, read once.

    Attributes:
        record: content of run.json; empty where there is none, or a damaged one.
        damage: what is wrong with run.json, and what to do about it; empty where nothing is.
    """

    record: dict[str, Any]
    damage: str
    attempts: list[Attempt]
    heartbeat: Heartbeat | None

    @property
    def begun(self) -> bool:
        return bool(self.record or self.attempts)


@dataclass(frozen=True)
class Standing:
    """A run's state.

    Attributes:
        reason: why it failed or is stale, or what stopped it; empty where there is nothing to say.
        by: who works on it, or is going to.
    """

    state: State
    traces: Traces
    reason: str = ""
    by: str = ""


def read_identity(folder: Path) -> dict[str, Any] | None:
    """A run's resolved identity, as its config.yaml has it; None where that is not readable."""
    try:
        content = yaml.load((folder / "config.yaml").read_bytes(), Loader=YAML_LOADER)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    return content if isinstance(content, dict) else None


def read_traces(folder: Path) -> Traces:
    """What the small files of a run's folder say."""
    record, damage = {}, ""
    try:
        record = read_record(folder)
    except UserError as error:
        damage = "; ".join(part for part in (error.found, error.fix) if part)
    return Traces(record, damage, read_attempts(folder), read_heartbeat(folder))


def standings(study: Study) -> tuple[dict[str, Standing], tuple[str, ...]]:
    """State of every run, by its name, and the folders of runs that the study does not plan.

    A folder that makes a planned run stale is not among the latter.
    """
    unplanned = _unplanned(study)
    waiting = queued(study.folder)
    found = {}
    for run in study.runs:
        earlier = _nearest(run, unplanned.get(cell_of(run.name), ()))
        found[run.name] = _standing(run, waiting.get(run.name, ""), earlier)
        if found[run.name].state is State.stale and earlier is not None:
            earlier.is_told = True
    strangers = (old.folder.name for some in unplanned.values() for old in some if not old.is_told)
    return found, tuple(sorted(strangers))


def _standing(run: Run, queued_by: str, earlier: _Earlier | None) -> Standing:
    traces = read_traces(run.folder)
    beat = traces.heartbeat
    if run.done:
        return Standing(State.done, traces)
    if lock_is_held(run.folder / "lock") or (beat is not None and beat.is_elsewhere):
        return Standing(State.running, traces, by=_worker(beat))
    if traces.damage:
        return Standing(State.failed, traces, traces.damage)
    if run.failure.is_file():
        return Standing(State.failed, traces, first_line(run.failure) or "nobody wrote why")
    reason = _outdated(run, traces.record)
    if reason is None and not traces.begun and earlier is not None:
        reason = earlier.difference(run)
    if queued_by:
        return Standing(State.queued, traces, reason or "", queued_by)
    if reason is not None:
        return Standing(State.stale, traces, reason)
    if traces.begun:
        return Standing(State.interrupted, traces, _last_error(traces) or _lacking(run))
    return Standing(State.new, traces)


def _worker(beat: Heartbeat | None) -> str:
    if beat is None:
        return ""
    return f"{beat.host}, " + (f"Slurm job {beat.job}" if beat.job else f"process {beat.pid}")


def _last_error(traces: Traces) -> str:
    return traces.attempts[-1].error if traces.attempts else ""


def _lacking(run: Run) -> str:
    """Of a run that says of itself that it is done: what is gone."""
    marker = run.folder / "DONE"
    if not marker.is_file():
        return ""
    return "its tables are not all there" if run.trained else "its weights are gone"


def _outdated(run: Run, record: Mapping[str, Any]) -> str | None:
    """Why a run's results do not count, though they are there; None where they do, or are not.

    A run that is trained here has another folder where its dataset is another one; a pretrained
    model's results depend on the dataset, and on what is held out.
    """
    ours = record.get("checkpoint", "")
    if ours and run.twin is not None and recorded(run.twin.folder, "checkpoint") not in ("", ours):
        return f"{run.twin.name}, whose weights it has, was trained anew"
    evaluated, analyzed = record.get("evaluated", ""), record.get("analyzed", "")
    evaluated_else = bool(evaluated) and evaluated != run.evaluation_key
    analyzed_else = bool(analyzed) and analyzed != run.analyses_key
    if evaluated_else and analyzed_else and run.pretrained is not None:
        return "evaluated on another dataset, for other held-out classes or with other prompts"
    if evaluated_else:
        return "evaluated for other held-out classes, or with other prompts or without retrieval"
    if analyzed_else:
        return "analysed for another dataset, other held-out classes, analyses or probes"
    if text_of(run.folder / "DONE") not in (None, run.results_key):
        return "evaluated or analysed for another configuration"
    return None


@dataclass
class _Earlier:
    """The folder of a run that is not planned any more.

    Attributes:
        is_told: whether it is the reason why a planned run is stale.
    """

    folder: Path
    is_told: bool = False

    @cached_property
    def started(self) -> str:
        return str(read_traces(self.folder).record.get("started", ""))

    @cached_property
    def config(self) -> dict[str, Any] | None:
        """Its resolved identity; None where that is not readable."""
        return read_identity(self.folder)

    def changes(self, run: Run) -> dict[str, tuple[Any, Any]]:
        """The keys in which a planned run differs from it."""
        return changed_keys(self.config or {}, run_identity(run))

    def difference(self, run: Run) -> str:
        if self.config is None:
            return f"{self.folder.name} is of another configuration, and does not tell which"
        return told(self.changes(run)) or f"trained before as {self.folder.name}"


def _unplanned(study: Study) -> dict[str, list[_Earlier]]:
    """Folders of begun runs that the study does not plan, by what they are about."""
    planned = {run.name for run in study.runs}
    found = defaultdict(list)
    for path in sorted(study.folder.glob("*/run.json")):
        if path.parent.name not in planned:
            found[cell_of(path.parent.name)].append(_Earlier(path.parent))
    return found


def _nearest(run: Run, earlier: Sequence[_Earlier]) -> _Earlier | None:
    """The earlier run that differs least; the last begun of equals."""
    if len(earlier) < 2:
        return earlier[0] if earlier else None
    newest_first = sorted(earlier, key=lambda old: old.started, reverse=True)
    return min(newest_first, key=lambda old: len(old.changes(run)))
