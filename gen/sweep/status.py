"""Where a study stands: the state of every run, how far and fast it is, when all is done."""

from __future__ import annotations

import calendar
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from gen.runs import Run
from gen.sweep.pace import Left, Pace, arm_of, finish_times, pace_of, work_left
from gen.sweep.states import Standing, State, standings
from gen.sweep.study import Study
from gen.sweep.work import units
from gen.training.metrics_log import newest_metrics
from gen.training.schedule import total_samples

OPEN = (State.running, State.interrupted, State.stale, State.queued, State.new)
"""states of runs that a sweep finishes; a failed one waits for somebody to mend it"""


@dataclass(frozen=True)
class RunStatus:
    """Where one run stands; None stands for what is not known, or does not apply.

    Attributes:
        by: who works on it, or is going to.
        same_weights_as: the run whose weights it takes over.
        samples, base_samples, mixture_sha256: of its mixture.
        samples_seen, samples_total: of its training.
        progress: share of its training that is done.
        samples_per_second: of the lines logged last; of a run that is not at work of all of it.
        loss, loss_floor: logged last; the floor is the lowest that any model can reach.
        stage: at which somebody works.
        heartbeat_seconds: age of the last sign of life of who works on it.
        attempts: starts of work on it.
        seconds_left: of one slot; at least, where `is_least`.
        eta_seconds: until it is finished, by the slots that are at work now.
    """

    run: str
    setting: str
    arm: str
    seed: int
    state: str
    reason: str | None
    by: str | None
    same_weights_as: str | None
    samples: int | None
    base_samples: int | None
    mixture_sha256: str | None
    samples_seen: int | None
    samples_total: int | None
    progress: float | None
    samples_per_second: float | None
    loss: float | None
    loss_floor: float | None
    stage: str | None
    heartbeat_seconds: float | None
    attempts: int
    seconds_left: float | None
    is_least: bool
    eta_seconds: float | None


@dataclass(frozen=True)
class StudyStatus:
    """Where a study stands.

    Attributes:
        counts: runs in every state.
        slots: units of work that somebody works on now.
        samples_per_second: of all runs that are training.
        eta_seconds: until all but failed runs are done, by the slots that are at work now; None
            where none is, or a run's time is not known.
        slot_seconds_left: of all but failed runs, on one slot; None where one is not known.
        is_least: whether both may be more, because a stage's time is not known.
        strangers: folders of runs that the study does not plan (any more).
    """

    study: str
    runs: tuple[RunStatus, ...]
    counts: dict[str, int]
    slots: int
    samples_per_second: float
    eta_seconds: float | None
    slot_seconds_left: float | None
    is_least: bool
    strangers: tuple[str, ...]

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to wait for: every run is done."""
        return self.counts[State.done.value] == len(self.runs)

    def content(self) -> dict[str, Any]:
        """All of it, JSON-able."""
        return asdict(self)


def samples_done(run: Run) -> int:
    """Samples that a run's weights have seen, as far as its log tells; none if pretrained."""
    if run.pretrained is not None:
        return 0
    if run.trained:
        return total_samples(run.training)
    if run.twin is not None:
        return samples_done(run.twin)
    rows = newest_metrics(run.folder)
    return int(rows[-1]["samples_seen"]) if rows else 0


def study_status(study: Study) -> StudyStatus:
    """Read every run's folder; opens no table."""
    standing, strangers = standings(study)
    paces = _paces(study, standing)
    left = {
        run.name: _left(run, standing[run.name], paces.get(arm_of(run), Pace()))
        for run in study.runs
    }
    open_units = [
        [run.name for run in unit if standing[run.name].state in OPEN] for unit in units(study.runs)
    ]
    slots = sum(_at_work(unit, standing) for unit in open_units)
    etas = _etas(open_units, left, standing, slots)
    runs = tuple(_row(run, standing[run.name], left, etas) for run in study.runs)
    open_runs = [left[run.run] for run in runs if State(run.state) in OPEN]
    seconds = [each.seconds for each in open_runs if each.seconds is not None]
    known = len(seconds) == len(open_runs)
    counts = Counter(run.state for run in runs)
    rates = [row.samples_per_second or 0.0 for row in runs if _is_training(row)]
    return StudyStatus(
        study=study.name,
        runs=runs,
        counts={state.value: counts[state.value] for state in State},
        slots=slots,
        samples_per_second=round(sum(rates), 1),
        eta_seconds=max(etas.values(), default=0.0) if known and (slots or not seconds) else None,
        slot_seconds_left=sum(seconds) if known else None,
        is_least=any(each.is_least for each in open_runs),
        strangers=strangers,
    )


def _is_training(row: RunStatus) -> bool:
    return row.state == State.running.value and row.stage in ("train", None)


def _paces(study: Study, standing: Mapping[str, Standing]) -> dict[str, Pace]:
    """The pace of every arm: of its runs that have results, else of those at work."""
    rates = defaultdict(list)
    for run in study.runs:
        if standing[run.name].state is State.running and (rate := recent_rate(run.folder)):
            rates[arm_of(run)].append(rate)
    at_work = {arm: Pace(samples_per_second=median(values)) for arm, values in rates.items()}
    finished = finished_records(study, standing)
    return at_work | {arm: pace_of(records) for arm, records in finished.items()}


def finished_records(
    study: Study, standing: Mapping[str, Standing]
) -> dict[str, list[dict[str, Any]]]:
    """The run.json of runs that have results, stale ones too, by their arms."""
    found = defaultdict(list)
    for run in study.runs:
        record = standing[run.name].traces.record
        if record.get("analyzed") or record.get("samples_per_second"):
            found[arm_of(run)].append(record)
    return found


def recent_rate(folder: Path) -> float | None:
    """Samples per second of a training, over the lines that it logged last."""
    rates = [row["samples_per_second"] for row in newest_metrics(folder)]
    return float(median(rates)) if rates else None


def _left(run: Run, standing: Standing, pace: Pace) -> Left:
    if standing.state is State.done:
        return Left(0.0)
    beat, at_stage = standing.traces.heartbeat, {}
    if standing.state is State.running:
        rate = recent_rate(run.folder) or pace.samples_per_second
        pace = Pace(rate, pace.evaluate, pace.analyze)
        at_stage = {beat.stage: _seconds_since(beat.since)} if beat else {}
    return work_left(run, pace, samples_done(run), at_stage)


def _seconds_since(moment: str) -> float:
    """Seconds since a moment as `utc_now` writes it."""
    return time.time() - calendar.timegm(time.strptime(moment, "%Y-%m-%dT%H:%M:%SZ"))


def _at_work(unit: list[str], standing: Mapping[str, Standing]) -> bool:
    return any(standing[name].state is State.running for name in unit)


def _etas(
    open_units: list[list[str]],
    left: Mapping[str, Left],
    standing: Mapping[str, Standing],
    slots: int,
) -> dict[str, float]:
    """Seconds until every open run is finished, where that is known.

    A unit counts as a whole: all of its runs are finished with its last. What waits behind a run
    of unknown length is of unknown end.
    """
    if not slots:
        return {}
    at_work = [unit for unit in open_units if _at_work(unit, standing)]
    waiting = [unit for unit in open_units if unit and unit not in at_work]
    if any(left[name].seconds is None for unit in [*at_work, *waiting] for name in unit):
        waiting = []
    at_work = [unit for unit in at_work if all(left[name].seconds is not None for name in unit)]
    lengths = [
        [sum(left[n].seconds or 0.0 for n in u) for u in part] for part in (at_work, waiting)
    ]
    ends = finish_times(lengths[0], lengths[1], slots)
    return {
        name: end for unit, end in zip([*at_work, *waiting], ends, strict=True) for name in unit
    }


def _row(
    run: Run, standing: Standing, left: Mapping[str, Left], etas: Mapping[str, float]
) -> RunStatus:
    traces, rows = standing.traces, newest_metrics(run.folder)
    last = rows[-1] if rows else {}
    beat = traces.heartbeat if standing.state is State.running else None
    trained_here = run.pretrained is None
    mixture = run.mixture if trained_here else None
    seen = samples_done(run) if trained_here else None
    total = total_samples(run.training) if trained_here else None
    rate = recent_rate(run.folder) if standing.state is State.running else None
    return RunStatus(
        run=run.name,
        setting=run.setting,
        arm=run.arm,
        seed=run.seed,
        state=standing.state.value,
        reason=standing.reason or None,
        by=standing.by or None,
        same_weights_as=run.twin.name if run.twin else None,
        samples=mixture.size if mixture else None,
        base_samples=(mixture.base.samples if mixture.base else 0) if mixture else None,
        mixture_sha256=mixture.sha256 if mixture else None,
        samples_seen=seen,
        samples_total=total,
        progress=seen / total if seen is not None and total else None,
        samples_per_second=rate or traces.record.get("samples_per_second"),
        loss=last.get("loss"),
        loss_floor=last.get("loss_floor"),
        stage=beat.stage if beat else None,
        heartbeat_seconds=round(max(0.0, beat.age), 1) if beat else None,
        attempts=len(traces.attempts),
        seconds_left=_rounded(left[run.name].seconds),
        is_least=left[run.name].is_least,
        eta_seconds=_rounded(etas.get(run.name)),
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
