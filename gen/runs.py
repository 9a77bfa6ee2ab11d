"""The run folder: what identifies a run, what state it is in, and who works on it.

The folder is the database. A run's name ends in a hash of everything that decides its weights
(model, training, seed, mixture), and of nothing else: not of paths, device or logging.
"""

from __future__ import annotations

import hashlib
import json
import platform
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock, Timeout

from gen.config import resolved
from gen.schema import ModelConfig, TrainingConfig
from splits.errors import UserError
from splits.files import write_json
from splits.mixture import Mixture

SCHEMA_VERSION = 1
FINAL_WEIGHTS = "final.safetensors"
NOT_IDENTITY = (
    *("deterministic", "compile", "sharding", "images", "readers"),
    *("log_every", "checkpoint_every", "milestones", "loggers"),
)
"""keys of the training's configuration that do not decide weights"""
VERSIONED = ("clipgen", "torch", "open_clip_torch", "numpy", "polars", "opencv-python-headless")


class Target(NamedTuple):
    """What a run is tested on: a domain, and a draw of held-out classes."""

    test_domain: str
    draw: int


@dataclass(frozen=True)
class Run:
    """One model to train: (mixture, model, training, seed), and its folder.

    A run serves every target for which its setting gives the same mixture.
    """

    folder: Path
    setting: str
    mixtures: dict[Target, Mixture]
    """all select the same samples"""
    model: ModelConfig
    training: TrainingConfig
    seed: int
    pixels: int
    """height and width at which the model sees an image"""

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def mixture(self) -> Mixture:
        return next(iter(self.mixtures.values()))

    @property
    def test_domains(self) -> list[str]:
        """The test domains that the run serves."""
        return list(dict.fromkeys(target.test_domain for target in self.mixtures))

    @property
    def draws(self) -> dict[int, tuple[str, ...]]:
        """The held-out classes of every draw that the run serves."""
        return {target.draw: mixture.held_out for target, mixture in self.mixtures.items()}

    @property
    def results_key(self) -> str:
        """What the results depend on besides the weights."""
        draws = [[draw, list(held_out)] for draw, held_out in sorted(self.draws.items())]
        return sha256_of({"schema_version": SCHEMA_VERSION, "draws": draws})

    @property
    def similarity(self) -> Path:
        return self.folder / "analysis" / "similarity.parquet"

    @property
    def failure(self) -> Path:
        """Where it is written why work on the run failed; there only if it did."""
        return self.folder / "FAILED"

    @property
    def done(self) -> bool:
        marker = self.folder / "DONE"
        marked = marker.is_file() and marker.read_text() == self.results_key
        trained = self.final_weights.is_file()
        return marked and trained and self.evaluated and self.similarity.is_file()

    @property
    def evaluated(self) -> bool:
        tables = [self.folder / f"{name}.parquet" for name in ("predictions", "evaluation")]
        if self.is_damaged or not all(table.is_file() for table in tables):
            return False
        return bool(read_record(self.folder).get("evaluated") == self.results_key)

    @property
    def is_damaged(self) -> bool:
        """Whether its run.json cannot be read, without which nothing else counts."""
        try:
            read_record(self.folder)
        except UserError:
            return True
        return False

    @property
    def final_weights(self) -> Path:
        return self.folder / "checkpoints" / FINAL_WEIGHTS


def run_name(setting: str, targets: Sequence[Target], seed: int, identity: dict[str, Any]) -> str:
    """Readable name of a run; a hash at its end makes it the run's identity.

    A test domain and a draw (but the first) are named where the run serves no other.
    """
    domains = {target.test_domain for target in targets}
    draws = {target.draw for target in targets}
    parts = [setting, *(domains if len(domains) == 1 else [])]
    parts += [f"d{draw}" for draw in draws if draw and len(draws) == 1]
    return "-".join([*parts, f"s{seed}", sha256_of(identity)[:12]])


def identity(
    model: ModelConfig, training: TrainingConfig, seed: int, pixels: int, mixture: Mixture
) -> dict[str, Any]:
    """Everything that decides a run's weights."""
    trained = {k: v for k, v in resolved(training).items() if k not in NOT_IDENTITY}
    built = resolved(model)
    if Path(model.font).is_file():  # what is drawn, not where it lies
        built["font"] = file_sha256(Path(model.font))
    return {
        "schema_version": SCHEMA_VERSION,
        "model": built,
        "training": trained,
        "seed": seed,
        "pixels": pixels,
        "mixture_sha256": mixture.sha256,
    }


def run_identity(run: Run) -> dict[str, Any]:
    """Everything that decides the weights of a run."""
    return identity(run.model, run.training, run.seed, run.pixels, run.mixture)


def sha256_of(content: Any) -> str:
    """Hash of JSON-able content, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def claim(run: Run) -> Iterator[bool]:
    """Hold a run while working on it; yields False where another process holds it.

    The lock is the operating system's (flock): it goes with its owner, even after `kill -9`.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(run.folder / "lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def read_record(folder: Path) -> dict[str, Any]:
    """Content of a run's run.json; empty where there is none yet."""
    path = folder / "run.json"
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError:
        raise UserError(
            f"{path} is damaged", fix=f"delete {folder}; the next sweep does the run again"
        ) from None


def update_record(folder: Path, **values: Any) -> None:
    """Set keys of a run's run.json."""
    write_json(folder / "run.json", read_record(folder) | values)


@contextmanager
def timed_stage(folder: Path, stage: str) -> Iterator[None]:
    """Add the seconds of a stage to run.json: their sum over all starts that were not killed."""
    start = time.monotonic()
    try:
        yield
    finally:
        seconds = dict(read_record(folder).get("seconds", {}))
        seconds[stage] = round(seconds.get(stage, 0.0) + time.monotonic() - start, 3)
        update_record(folder, seconds=seconds)


def provenance() -> dict[str, Any]:
    """Versions and code state that a run was made with."""
    versions = {name: version(name) for name in VERSIONED}
    return {"versions": versions | {"python": platform.python_version()}, "git": _git_state()}


def _git_state() -> str:
    """Commit of the code, with `+changes` where files differ from it; empty outside a clone."""
    here = Path(__file__).parent
    try:
        commit = _git(here, "rev-parse", "HEAD")
        return commit + ("+changes" if _git(here, "status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
