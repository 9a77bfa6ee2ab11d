"""When a training process finished each of its optimizer steps, and at what cost in CPU time.

PyTorch calls a hook after every step of every optimizer; so one stopwatch fits all training loops,
and none has to be changed for it.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TICKS = os.sysconf("SC_CLK_TCK")


class Stopwatch:
    """Marks of this process: seconds since its start, and CPU seconds of it and its workers."""

    def __init__(self) -> None:
        self.start = float(_stat("self")[19]) / TICKS  # field 22: start, in ticks since boot
        self.marks: list[tuple[float, float]] = []

    def mark(self, *_: Any) -> None:
        """Note now; takes what an optimizer's hook gets."""
        cpu = time.process_time() + sum(map(_cpu_seconds, multiprocessing.active_children()))
        self.marks.append((time.clock_gettime(time.CLOCK_BOOTTIME) - self.start, cpu))

    def mark_steps(self) -> None:
        """Mark every optimizer step from now on."""
        from torch.optim.optimizer import register_optimizer_step_post_hook

        register_optimizer_step_post_hook(self.mark)

    def save(self, path: Path) -> None:
        np.save(path, np.array(self.marks, dtype=np.float64).reshape(-1, 2))


@dataclass(frozen=True)
class Rate:
    """What the marks of a process come to.

    Attributes:
        pairs_per_second: wall clock, over the steps that count.
        cpu_per_1000: CPU seconds of a thousand pairs, over the same steps.
        first_step: seconds from the start of the process to the end of its first step.
    """

    pairs_per_second: float
    cpu_per_1000: float
    first_step: float


def rate(path: Path, batch_size: int, skip: int) -> Rate:
    """Read the marks at `path`; the first `skip` steps (at least one) do not count."""
    marks = np.load(path)
    if len(marks) < skip + 1 or skip < 1:
        raise ValueError(f"{len(marks)} steps marked, of which {skip} do not count")
    seconds, cpu = marks[-1] - marks[skip - 1]
    pairs = (len(marks) - skip) * batch_size
    return Rate(float(pairs / seconds), float(1000 * cpu / pairs), float(marks[0, 0]))


def _cpu_seconds(process: Any) -> float:
    try:
        fields = _stat(str(process.pid))
    except FileNotFoundError:  # it has just ended
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


def _stat(process: str) -> list[str]:
    """Fields of /proc/PID/stat from the third one on; the second, a name, may hold spaces."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
