"""Every condition of a coverage sweep, in a few processes of one thread each.

A condition that is done has its file and is not done again, so that the sweep may be ended at any
moment and lasts no longer for it. One that cannot be done is told, and does not hinder the others.
Several threads in one process would slow each other down; several processes do not.
"""

from __future__ import annotations

import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from analysis.binding.binding_function import binding_rows
from analysis.binding.controlled.condition import Condition
from analysis.binding.controlled.embedding import examined
from analysis.binding.controlled.results import Result, save, scores_path
from analysis.binding.controlled.scoring import score_rows
from analysis.binding.controlled.training import trained
from gen.device import describe_device, full_precision, kernels
from gen.progress import progress
from splits.errors import UserError
from splits.files import write_text

TIMED_STEPS = 20
FITTED = (0.7,)
"""share of the objects that functions are fitted on; a single one, as there are many models"""
SECONDS_TO_END = 5.0
"""that a process has to end in, once it was told to"""


def left(conditions: Sequence[Condition], folder: Path) -> list[Condition]:
    """Conditions that are not done, each once, in their order."""
    unique = {condition.key: condition for condition in conditions}
    return [one for one in unique.values() if not scores_path(folder, one).is_file()]


def finish_condition(condition: Condition, folder: Path, device: torch.device) -> None:
    """Train, test and score a condition, find its binding function, and write its files.

    Raises:
        UserError: the condition's world cannot be made, or holds no scenes to train with.
    """
    with kernels(deterministic=False) if device.type == "cuda" else nullcontext():
        done = trained(condition, device)
    with full_precision():
        test = examined(done.model)
        kept = test.embedded.rows(test.is_plain.nonzero()[0])
        seeds = (condition.split_seed,)
        functions = binding_rows(kept, "images", fractions=FITTED, seeds=seeds, device=device)
    result = Result(
        condition=condition,
        scores=score_rows(test, seed=condition.split_seed, device=device),
        functions=functions,
        losses=done.losses,
        seconds=done.seconds,
        cpu_seconds=done.cpu_seconds,
        device=describe_device(device),
    )
    save(folder, result, kept)


def seconds_per_step(condition: Condition, device: torch.device) -> float:
    """Wall time of a step of a condition here and now, by a few steps in one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return trained(condition, device, TIMED_STEPS).seconds / TIMED_STEPS
    finally:
        torch.set_num_threads(before)


def run_conditions(
    conditions: Sequence[Condition],
    folder: Path,
    device: torch.device,
    slots: int,
    tell: Callable[[str], None],
) -> list[Condition]:
    """Do the conditions; returns those that could not be done.

    Args:
        conditions: to do.
        folder: of their files. Of one that breaks, `KEY.error.txt` there says how.
        device: on which all train.
        slots: conditions at a time.
        tell: prints a line for whoever watches.
    """
    waiting, broken = deque(conditions), []
    steps = sum(condition.training.steps for condition in conditions)
    workers = [_Worker(folder, device) for _ in range(min(slots, len(conditions)))]
    with progress(steps, "controlled models", "steps") as bar:
        try:
            for worker in workers:
                worker.start(waiting.popleft())
            for worker, condition, error in _ended(workers):
                if error:
                    broken.append(condition)
                    tell(f"{condition.title}: {error}")
                bar.update(condition.training.steps)
                if waiting:
                    worker.start(waiting.popleft())
        finally:
            for worker in workers:
                worker.end()
    return broken


@dataclass
class _Worker:
    """A process that does one condition after another; a new one follows where it was killed."""

    folder: Path
    device: torch.device
    condition: Condition | None = None
    process: SpawnProcess | None = None
    pipe: Connection = field(init=False)

    def start(self, condition: Condition) -> None:
        """Do a condition."""
        if self.process is None:
            context = get_context("spawn")  # a fork of a process with threads may hang
            self.pipe, other = context.Pipe()
            arguments = (other, self.folder, str(self.device))
            self.process = context.Process(target=_work, args=arguments, daemon=True)
            self.process.start()
            other.close()
        self.condition = condition
        self.pipe.send(condition)

    def outcome(self) -> tuple[Condition, str]:
        """The condition that has ended, and what went wrong, if anything did."""
        assert self.condition is not None
        assert self.process is not None
        condition, self.condition = self.condition, None
        try:
            return condition, self.pipe.recv()
        except (EOFError, OSError):  # its end of the pipe is closed: the process is dead
            process, self.process = self.process, None
            process.join(SECONDS_TO_END)
            return condition, f"its process ended with code {process.exitcode} (memory?)"

    def end(self) -> None:
        """End the process, whatever it does."""
        if self.process is not None:
            self.process.terminate()
            self.process.join(SECONDS_TO_END)


def _ended(workers: Sequence[_Worker]) -> Iterator[tuple[_Worker, Condition, str]]:
    """Workers whose condition has ended, as they end, until none works."""
    while busy := {worker.pipe: worker for worker in workers if worker.condition is not None}:
        for pipe in wait(list(busy)):
            worker = busy[pipe]  # type: ignore[index]
            yield worker, *worker.outcome()


def _work(pipe: Connection, folder: Path, device: str) -> None:
    """Do what comes through a pipe, and answer what went wrong, or nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; who started this ends it
    torch.set_num_threads(1)
    with suppress(EOFError):  # who started this is gone
        while True:
            condition = pipe.recv()
            pipe.send(_attempt(condition, folder, torch.device(device)))


def _attempt(condition: Condition, folder: Path, device: torch.device) -> str:
    path = folder / f"{condition.key}.error.txt"
    try:
        finish_condition(condition, folder, device)
    except UserError as error:
        return str(error)
    except Exception as error:  # whatever it is, the other conditions go on
        write_text(path, traceback.format_exc())
        return f"{type(error).__name__}: {error} ({path})"
    path.unlink(missing_ok=True)
    return ""
