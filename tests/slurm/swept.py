"""A study that a test sweeps on the cluster, and what its runs' folders tell."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Sequence
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cluster import Cluster, wait_for
from omegaconf import OmegaConf

from gen.cli import main
from gen.sweep.attempts import Attempt, Outcome, read_attempts
from gen.sweep.slurm import Submission, resources_of, submit_study
from gen.sweep.study import Study, load_study, save_study

STUDY: dict[str, Any] = {
    "dataset": "icons-debug",
    "model": "rn-tiny",
    "test_domains": ["sketch"],
    "held_out": {"count": 3, "seed": 0},
    "training": {"samples_seen": 5120, "batch_size": 64, "checkpoint_every": 256, "log_every": 1},
    "resources": {"gpus": 0},
}


@dataclass(frozen=True)
class Swept:
    """A study in a folder of its own.

    Attributes:
        study: as it was planned.
        path: of its file.
        cluster: on which it is swept.
        data: folder of all datasets.
    """

    study: Study
    path: Path
    cluster: Cluster
    data: Path

    def submit(self, **resources: object) -> Submission | None:
        """Submit it, with these resources instead of the study's own."""
        given = replace(resources_of(self.study.config, None), **resources)
        with patch.dict(os.environ, self.cluster.environment), chdir(self.study.folder.parent):
            return submit_study(self.study, data=self.data, resources=given, words=["STUDY"])

    def clipgen(self, verb: str, *words: str) -> tuple[int, str]:
        """Run a command on it; its exit code, and what it printed."""
        folders = ("--data", str(self.data), "--runs", str(self.study.folder.parent))
        printed = io.StringIO()
        with (
            patch.dict(os.environ, self.cluster.environment),
            redirect_stdout(printed),
            redirect_stderr(printed),
        ):
            code = main([verb, str(self.path), *folders, *words])
        return code, printed.getvalue()

    def states(self) -> list[str]:
        """State of every run, as the command `status` tells."""
        _, printed = self.clipgen("status", "--json")
        return [run["state"] for run in json.loads(printed)["runs"]]

    @property
    def folder(self) -> Path:
        """Of the first run."""
        return self.study.runs[0].folder

    @property
    def attempts(self) -> list[Attempt]:
        """At the first run."""
        return read_attempts(self.folder)

    def wait_for_state(self) -> None:
        """Wait until the first run has written a state to go on from."""
        wait_for(lambda: list(self.folder.glob("checkpoints/state-*")), 90, f"a state of {self}")

    def wait_until_trained(self) -> None:
        """Wait until all runs are trained; what follows is the same whatever happened before."""
        names = [run.name for run in self.study.runs]
        wait_for(lambda: all(run.trained for run in self.study.runs), 150, f"weights of {names}")

    def __str__(self) -> str:
        return f"{self.study.name}; {self.logs()}"

    def logs(self) -> str:
        """What the jobs printed."""
        paths = sorted((self.study.folder / "slurm").glob("*.out"))
        return "\n".join(path.read_text(errors="replace") for path in paths)


Plan = Callable[..., Swept]
"""makes a study with a name, some settings, and further keys"""


def planned(
    name: str, folder: Path, cluster: Cluster, data: Path, settings: Sequence[str], **more: object
) -> Swept:
    """A study of some settings, with its mixtures written."""
    content = STUDY | {"name": name, "settings": list(settings)} | more
    path = folder / f"{name}.yaml"
    OmegaConf.save(OmegaConf.create(content), path)
    study = load_study(str(path), [], data=data, runs=folder / "runs")
    save_study(study)
    return Swept(study, path, cluster, data)


def weights(swept: Swept) -> dict[str, bytes]:
    """The trained weights of every run by its name."""
    return {run.name: run.final_weights.read_bytes() for run in swept.study.runs}


def outcomes(attempts: Sequence[Attempt]) -> list[Outcome]:
    return [attempt.outcome for attempt in attempts]
