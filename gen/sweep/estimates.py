"""What the rest of a study will cost, before anything is started: time and disk of every run.

The numbers of an arm come from its finished runs; else from runs of the same model, anywhere in the
folder of all studies, that were trained on the same device; else from a few steps, measured here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from gen.runs import FINAL_WEIGHTS, Run, read_record, run_identity
from gen.sweep.pace import (
    Left,
    Pace,
    arm_of,
    finish_times,
    folder_bytes,
    pace_of,
    training_rate,
    work_left,
)
from gen.sweep.states import Standing, State, read_identity
from gen.sweep.status import finished_records, samples_done
from gen.sweep.study import Study
from gen.sweep.work import units
from splits.errors import UserError

if TYPE_CHECKING:
    from gen.training.measured import Measured

STATE_WEIGHTS = 3
"""sizes of the weights that a training state has: they, and two moments of AdamW"""
STATES = 2
"""that stay in a run's folder; while one more is written there are three"""
ROW_BYTES = 30
"""of a prediction, measured on icons"""
TEST_SPEED = 3
"""samples that a forward pass takes in the time in which training takes one; no measurement"""
Measure = Callable[[Run], "Measured"]


@dataclass(frozen=True)
class Estimate:
    """What is left to do of a run, and the bytes that it will still write."""

    left: Left
    bytes: int


@dataclass(frozen=True)
class Costs:
    """What the rest of a study costs.

    Attributes:
        runs: by name; of those that are done nothing is left.
        sources: where an arm's numbers come from, by arm.
        seconds: of all that is left, on the slots; None where a run's time is not known.
        slot_seconds: the same on one slot.
        is_least: whether both may be more, because a stage's time is not known.
        bytes: that will be written, the states of trainings included.
    """

    runs: dict[str, Estimate]
    sources: dict[str, str]
    seconds: float | None
    slot_seconds: float | None
    is_least: bool
    bytes: int


class _Basis(NamedTuple):
    """What an arm's estimates rest on."""

    pace: Pace
    weight_bytes: int
    run_bytes: int | None


def costs_of(
    study: Study,
    standing: Mapping[str, Standing],
    slots: int,
    *,
    device: Callable[[], str] | None,
    processes: int,
    measure: Measure,
) -> Costs:
    """Estimate what the rest of a study costs.

    Args:
        study: planned.
        standing: state of every run.
        slots: runs at a time.
        device: tells on which runs will be trained, as run.json has it; None: on machines of
            which nothing is known here.
        processes: that will train a run together.
        measure: takes some steps of a run's model, on one device.
    """
    bases: dict[str, _Basis] = {}
    for run in study.runs:
        if standing[run.name].state is not State.done and arm_of(run) not in bases:
            bases[arm_of(run)] = (
                _of_the_study(study, arm_of(run), standing)
                or _of_others(study, run, device, processes)
                or _of_steps(study, run, processes, measure)
            )
    runs = {
        run.name: _estimate(study, run, standing[run.name].state, bases.get(arm_of(run)))
        for run in study.runs
    }
    return _sum(study, runs, {arm: basis.pace.source for arm, basis in bases.items()}, slots)


def _of_the_study(study: Study, arm: str, standing: Mapping[str, Standing]) -> _Basis | None:
    """What the arm's own runs tell; None where none of them was trained."""
    records = finished_records(study, standing).get(arm)
    if not records:
        return None
    count = f"{len(records)} trained run{'s' * (len(records) > 1)} of this study"
    done = [
        folder_bytes(run)
        for run in study.runs
        if arm_of(run) == arm and standing[run.name].state is State.done and run.twin is None
    ]
    weights = [run.final_weights for run in study.runs if arm_of(run) == arm]
    sizes = [path.stat().st_size for path in weights if path.is_file()]
    run_bytes = int(median(done)) if done else None
    return _Basis(pace_of(records, count), max(sizes, default=0), run_bytes)


def _of_others(
    study: Study, run: Run, device: Callable[[], str] | None, processes: int
) -> _Basis | None:
    """What trained runs of any study tell that have the same model and as many processes."""
    if run.pretrained is not None:
        return None
    rates, sizes, devices = [], [], []
    for folder, record in _trained_elsewhere(study.folder.parent):
        trained_on = record.get("device", "")
        fits = record.get("processes") == processes
        fits = fits and (device is None or trained_on == device())
        if fits and _is_model_of(run, folder) and (rate := training_rate(record)):
            rates.append(rate)
            sizes.append((folder / "checkpoints" / FINAL_WEIGHTS).stat().st_size)
            devices.append(trained_on)
    if not rates:
        return None
    on = ", ".join(dict.fromkeys(devices))
    told = f"{len(rates)} run{'s' * (len(rates) > 1)} of the same model on {on}"
    return _Basis(_tested_by_guess(study, run, median(rates), told), sizes[0], None)


def _trained_elsewhere(runs: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folder and run.json of every trained run of any study."""
    for path in sorted(runs.glob("*/*/run.json")):
        if (path.parent / "checkpoints" / FINAL_WEIGHTS).is_file():
            with suppress(UserError):  # damaged
                yield path.parent, read_record(path.parent)


def _is_model_of(run: Run, folder: Path) -> bool:
    """Whether a run's config.yaml has the model and the image size of a planned one."""
    config, wanted = read_identity(folder) or {}, run_identity(run)
    return all(config.get(key) == wanted[key] for key in ("model", "pixels"))


def _of_steps(study: Study, run: Run, processes: int, measure: Measure) -> _Basis:
    """What a few steps tell; nothing of a pretrained model."""
    if run.pretrained is not None:
        return _Basis(Pace(source="nothing is known before a first run of it"), 0, None)
    measured = measure(run)
    several = f", times {processes} processes" if processes > 1 else ""
    if measured.samples_per_second is None:
        return _Basis(Pace(source=measured.how), measured.weight_bytes, None)
    rate, told = measured.samples_per_second * processes, f"{measured.how}{several}"
    return _Basis(_tested_by_guess(study, run, rate, told), measured.weight_bytes, None)


def _tested_by_guess(study: Study, run: Run, rate: float, source: str) -> Pace:
    """A pace of which only training is known; a pass over the test images is a guess."""
    one_pass = _test_images(study) / (rate * TEST_SPEED)
    told = f"{source}; evaluation and analyses guessed at {TEST_SPEED} times the rate of training"
    return Pace(rate, one_pass * (1 + run.training.milestones), one_pass, told)


def _test_images(study: Study) -> int:
    return study.dataset.samples.filter(pl.col("split") != "train").height


def _estimate(study: Study, run: Run, state: State, basis: _Basis | None) -> Estimate:
    if basis is None or state is State.done:
        return Estimate(Left(0.0), 0)
    left = work_left(run, basis.pace, samples_done(run), {})
    known = basis.run_bytes if run.twin is None else None
    whole = known or _run_bytes(study, run, basis.weight_bytes)
    return Estimate(left, max(0, whole - folder_bytes(run)))


def _run_bytes(study: Study, run: Run, weight_bytes: int) -> int:
    """Size of a finished run's folder: weights, milestones, states, and mostly predictions.

    The weights of a run that has a twin are that one's.
    """
    kept = 0 if run.twin else 1 + run.training.milestones + STATES * STATE_WEIGHTS
    predictions = len(run.evaluation.prompts) + run.training.milestones
    return kept * weight_bytes + predictions * _test_images(study) * ROW_BYTES


def _sum(study: Study, runs: dict[str, Estimate], sources: dict[str, str], slots: int) -> Costs:
    lefts = [estimate.left for estimate in runs.values()]
    known = all(left.seconds is not None for left in lefts)
    lengths = [
        sum(runs[run.name].left.seconds or 0.0 for run in unit) for unit in units(study.runs)
    ]
    return Costs(
        runs=runs,
        sources=sources,
        seconds=max(finish_times([], lengths, slots), default=0.0) if known else None,
        slot_seconds=sum(lengths) if known else None,
        is_least=any(left.is_least for left in lefts),
        bytes=sum(estimate.bytes for estimate in runs.values()),
    )
