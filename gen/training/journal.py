"""What a training says while it runs: a line of numbers now and then, checked, logged and shown."""

from __future__ import annotations

import math
import time
import warnings
from pathlib import Path

import torch

from gen.training.batches import Batch, Feed
from gen.training.distributed import gather_rows
from gen.training.failures import check_finite
from gen.training.flops import Utilisation
from gen.training.live import LiveLine
from gen.training.loggers import Logger, open_loggers
from gen.training.objective import PROGRESS, guess_loss, loss_floor, stuck
from gen.training.schedule import learning_rate, total_samples, warmup_steps

SECONDS_BETWEEN_ASKING = 2.0
"""between the moments at which several processes agree on whether one was asked to end"""


class Journal:
    """The log of a training from some step on; one process writes it, all take part.

    Losses stay on the device until a line is due, so that no step waits for another to end.

    Attributes:
        steps_between_asking: steps after which the processes of a run ask each other whether one
            of them was asked to end; the same number in all, which changes with the pace.

    Args:
        feed: of the run.
        folder: of the run.
        first_step: steps done before this start.
        utilisation: of the device.
    """

    def __init__(self, feed: Feed, folder: Path, first_step: int, utilisation: Utilisation) -> None:
        self._feed, self._folder, self._utilisation = feed, folder, utilisation
        self._checked = self._lined = first_step
        self._unread: list[torch.Tensor] = []
        self._loss = math.nan
        self._after_warmup: dict[int, float] = {}
        self._may_be_stuck = True
        self._loggers: list[Logger] = []
        self._live: LiveLine | None = None
        if feed.ranks.is_first:
            self._loggers = open_loggers(feed.config.loggers, folder, first_step)
            done = first_step * feed.config.batch_size
            self._live = LiveLine(total_samples(feed.config), done)
        self._clock = time.monotonic()
        self.steps_between_asking = 1

    def add(self, loss: torch.Tensor) -> None:
        """Take this process's loss of the next step."""
        self._unread.append(loss)

    def check(self) -> None:
        """Read the losses that nobody has read yet; every process calls this at the same step.

        Raises:
            UserError: one of them is not a number.
        """
        if not self._unread:
            return
        losses = gather_rows(torch.stack(self._unread)[None]).mean(0).tolist()
        check_finite(
            losses,
            self._checked,
            batch_size=self._feed.config.batch_size,
            batch_ids=self._feed.ids,
            folder=self._folder,
        )
        self._checked += len(losses)
        self._unread.clear()
        self._loss = losses[-1]

    def line(self, done: int, batch: Batch, logit_scale: torch.Tensor | None) -> None:
        """Log and show how things are after `done` steps, `batch` being the last."""
        config = self._feed.config
        self.check()
        captions = gather_rows(batch.captions).cpu().numpy()
        anchors = gather_rows(batch.anchors).cpu().numpy()
        values: dict[str, float] = {
            "samples_seen": done * config.batch_size,
            "loss": round(self._loss, 5),
        }
        if logit_scale is not None:
            values["loss_floor"] = round(loss_floor(config.objective, captions, anchors), 5)
            values["logit_scale"] = round(logit_scale.exp().item(), 4)
        values["lr"] = learning_rate(done - 1, config)
        values |= self._speed(done)
        for logger in self._loggers:
            logger.log(done, values)
        if self._live is not None:
            self._live.show(values)
            if logit_scale is not None:
                self._warn_if_stuck(done, guess_loss(config.objective, captions, anchors))

    def _speed(self, done: int) -> dict[str, float]:
        """Samples per second since the line before, and the share of the device's peak."""
        seconds, self._clock = time.monotonic() - self._clock, time.monotonic()
        steps, self._lined = done - self._lined, done
        rate = steps * self._feed.config.batch_size / seconds
        if self._feed.ranks.size > 1:  # all processes must have the same number
            longest = gather_rows(self._own(seconds / steps)).max().item()
            self.steps_between_asking = max(1, int(SECONDS_BETWEEN_ASKING / longest))
        utilisation = self._utilisation(rate / self._feed.ranks.size)
        share = {} if utilisation is None else {"mfu": round(utilisation, 4)}
        return {"samples_per_second": round(rate, 1), **share}

    def _own(self, number: float) -> torch.Tensor:
        return torch.tensor([number], device=self._feed.ranks.device)

    def _warn_if_stuck(self, done: int, guess: float) -> None:
        """Warn, once, of a loss that has not left the value of a guess."""
        if self._may_be_stuck and done > warmup_steps(self._feed.config):
            self._after_warmup[done] = self._loss
            self._may_be_stuck = self._loss >= (1 - PROGRESS) * guess
            if stuck(list(self._after_warmup), list(self._after_warmup.values()), guess):
                warnings.warn(
                    f"after {done} steps the loss of {self._folder.name} is {self._loss:.3f}, "
                    f"and that of a model that tells nothing apart {guess:.3f}; a smaller "
                    "training.learning_rate or a longer training.warmup may help",
                    stacklevel=2,
                )
                self._may_be_stuck = False

    def artifact(self, path: Path) -> None:
        """Tell the loggers of a file."""
        for logger in self._loggers:
            logger.artifact(path)

    def close(self) -> None:
        """End the log; what is unread stays so."""
        for logger in self._loggers:
            logger.close()
        if self._live is not None:
            self._live.close()
