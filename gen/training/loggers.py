"""Where the values of training go: metrics.jsonl always, TensorBoard or one's own class besides."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Protocol

from gen.training.metrics_log import NAME, forget_after
from splits.errors import UserError

METHODS = ("log", "artifact", "close")


class Logger(Protocol):
    """What takes the values of a run; one's own is constructed with the run's folder."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Take the values after `step` steps, by their names."""

    def artifact(self, path: Path) -> None:
        """Take note of a file that training wrote."""

    def close(self) -> None:
        """Write what is not written yet."""


class JsonLines:
    """metrics.jsonl: a line per call of `log`, in the file at once.

    Args:
        folder: of the run.
        resume_step: steps done; lines of later ones, which come again, are dropped.
    """

    def __init__(self, folder: Path, resume_step: int) -> None:
        forget_after(folder, resume_step)
        self._file = (folder / NAME).open("a", encoding="utf-8")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()

    def artifact(self, path: Path) -> None:
        """Nothing: files that training writes lie beside the log."""

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Event files in the run's folder `tensorboard`.

    Args:
        folder: of the run.
        resume_step: steps done; TensorBoard passes over what it has of later ones.
    """

    def __init__(self, folder: Path, resume_step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UserError(
                f"the logger `tensorboard` needs a package that is not installed ({error})",
                where="training.loggers",
                fix='pip install "clipgen[track]"',
            ) from None
        self._folder, self._step = folder, resume_step
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_step + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._step = step
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def artifact(self, path: Path) -> None:
        self._writer.add_text("artifact", str(path.relative_to(self._folder)), self._step)

    def close(self) -> None:
        self._writer.close()


def open_loggers(names: Sequence[str], folder: Path, resume_step: int) -> list[Logger]:
    """The loggers of a run: metrics.jsonl, and those that the configuration names.

    Args:
        names: `tensorboard`, or `MODULE:CLASS`.
        folder: of the run.
        resume_step: steps done before this start, after which the logs go on.

    Raises:
        UserError: a logger is unknown, or what it needs is not installed.
    """
    opened: list[Logger] = [JsonLines(folder, resume_step)]
    try:
        for name in names:
            if name == "tensorboard":
                opened.append(TensorBoard(folder, resume_step))
            else:
                opened.append(_logger_class(name)(folder))
    except BaseException:
        for logger in opened:
            logger.close()
        raise
    return opened


def _logger_class(name: str) -> Callable[[Path], Logger]:
    """The class that `MODULE:CLASS` names."""
    expected = "`tensorboard`, or MODULE:CLASS of a class with log, artifact and close"
    module, _, attribute = name.partition(":")
    if not (module and attribute):
        raise UserError(f"logger `{name}` is unknown", expected=expected, where="training.loggers")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(
            f"logger `{name}` cannot be imported: {error}",
            expected=expected,
            where="training.loggers",
            fix=f"check the name; the folder of `{module}` must be on PYTHONPATH",
        ) from error
    missing = [method for method in METHODS if not callable(getattr(found, method, None))]
    if missing or not isinstance(found, type):
        lacks = f"has no method `{missing[0]}`" if missing else "is not a class"
        raise UserError(f"logger `{name}` {lacks}", expected=expected, where="training.loggers")
    return found
