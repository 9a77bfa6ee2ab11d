"""Runs and studies that have folders and nothing else: a file called DONE makes a run done."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from gen.schema import ResourcesConfig, TrainingConfig


@dataclass(frozen=True)
class FakeRun:
    """What a scheduler sees of a run."""

    folder: Path
    twin: FakeRun | None = None
    pretrained: object = None
    evaluated: bool = False
    analyzed: bool = False
    training: TrainingConfig = field(default_factory=lambda: TrainingConfig(samples_seen=100))

    @property
    def name(self):
        return self.folder.name

    @property
    def failure(self):
        return self.folder / "FAILED"

    @property
    def final_weights(self):
        return self.folder / "checkpoints" / "final.safetensors"

    @property
    def trained(self):
        return self.final_weights.is_file()

    @property
    def has_weights(self):
        return self.trained and (self.folder / "run.json").is_file()

    @property
    def done(self):
        return (self.folder / "DONE").is_file()


def fake_study(folder, *names):
    """A study of new runs."""
    runs = tuple(FakeRun(folder / name) for name in names)
    config = SimpleNamespace(resources=ResourcesConfig(), training=runs[0].training)
    return SimpleNamespace(name=folder.name, folder=folder, config=config, runs=runs)


def put(path, content=""):
    """Write a file, in a folder that need not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")
