"""Names of the states from which a training can go on. Knows no torch, so that anyone may ask."""

from __future__ import annotations

from pathlib import Path

PREFIX = "state-"
SUFFIX = ".safetensors"
DIGITS = 12


def state_path(folder: Path, samples_seen: int) -> Path:
    """Where the state after `samples_seen` samples is, in a run's folder of checkpoints."""
    return folder / f"{PREFIX}{samples_seen:0{DIGITS}d}{SUFFIX}"


def states(folder: Path) -> list[Path]:
    """The states that are there, in order."""
    return sorted(folder.glob(f"{PREFIX}*{SUFFIX}"))


def samples_of(path: Path) -> int:
    """Samples seen of a state, as its name tells."""
    return int(path.stem.removeprefix(PREFIX))
