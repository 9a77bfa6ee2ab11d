"""clipgen as one side: its command, timed step by step; its step and its loader alone.

    python benchmarks/clipgen_side.py PART MARKS.npy DATA RUNS RUN STUDY [KEY=VALUE ...]

PART is `whole` (`clipgen train STUDY --run RUN`), `step` (the same on the first batch over and
over: no loader) or `loader` (the same without a training step).
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

sys.path[0] = str(Path(__file__).parent.parent)

from benchmarks.timed import Stopwatch

if TYPE_CHECKING:
    from gen.training.batches import Batch, Feed


def main(arguments: Sequence[str]) -> int:
    part, marks, data, runs, run, *study = arguments
    watch = Stopwatch()
    if part == "step":
        _repeat_first_batch()
    if part == "loader":
        _skip_steps(watch)
    else:
        watch.mark_steps()
    from gen.cli import main as command

    code = command(["train", *study, "--run", run, "--data", data, "--runs", runs])
    watch.save(Path(marks))
    return code


def _repeat_first_batch() -> None:
    from gen.training.batches import Feed
    from gen.training.schedule import total_steps

    make_batches = Feed.batches

    def repeated(feed: Feed, first_step: int) -> Generator[Batch]:
        with closing(make_batches(feed, first_step)) as batches:
            batch = next(batches)
        for _ in range(first_step, total_steps(feed.config)):
            yield batch

    Feed.batches = repeated  # type: ignore[method-assign, assignment]


def _skip_steps(watch: Stopwatch) -> None:
    from gen.training import loop

    def no_step(*_: Any) -> torch.Tensor:
        watch.mark()
        return torch.zeros(())

    loop.take_step = no_step  # type: ignore[assignment]
    loop._check_gradients = lambda _: None  # without a step there is none to check


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
