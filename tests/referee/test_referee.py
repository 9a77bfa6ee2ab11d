"""CLIP_benchmark, which knows nothing of us, scores exported models as we do.

`make referee` makes its environment and runs this; STUDY names the study in runs/ whose finished
runs are scored besides.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from scores import PYTHON, ROOT, our_scores, their_scores
from workplace import Workplace

from gen.sweep.study import load_study

pytestmark = pytest.mark.referee

CLIPPO = (
    *("model=clippo-tiny", "name=clippo", "dataset=icons-large", "settings=[natural_only]"),
    *("training.learning_rate=3e-4", "training.warmup=0.1", "training.samples_seen=1280"),
)


@pytest.fixture(scope="module", autouse=True)
def environment() -> None:
    assert PYTHON.is_file(), "`make referee` makes the referee's environment"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    return Workplace(tmp_path_factory.mktemp("referee"))


def check(workplace: Workplace, study: str, run: str, *overrides: str) -> None:
    """Export a finished run, and compare both sides' scores of it."""
    export = workplace.folder / f"export-{run}"
    workplace.clipgen("export", study, "--run", run, "--to", str(export), *overrides)
    marker = json.loads((export / "export.json").read_text())
    folder = workplace.folder / "runs" / marker["study"] / marker["run"]
    ours = our_scores(folder, export)
    theirs = their_scores(export, workplace.folder / f"results-{run}")
    assert ours
    assert ours.keys() == theirs.keys()
    for test_set, scores in ours.items():
        assert theirs[test_set] == pytest.approx(scores, abs=1e-6), test_set


def test_the_referee_scores_a_clip_as_we_do(workplace: Workplace) -> None:
    workplace.clipgen("dataset", "build", "icons-debug", "--workers", "1")
    workplace.clipgen("run", "debug", "--run", "cg_low")
    check(workplace, "debug", "cg_low")


def test_the_referee_scores_a_clippo_as_we_do(workplace: Workplace) -> None:
    larger = ("name=icons-large", "pixels=80")
    workplace.clipgen("dataset", "build", "icons-debug", "--workers", "1", *larger)
    workplace.clipgen("run", "debug", "--run", "natural", *CLIPPO)
    check(workplace, "debug", "natural", *CLIPPO)


def test_the_referee_scores_a_finished_study_as_we_do(tmp_path: Path) -> None:
    name = os.environ.get("STUDY", "demo")
    if not (ROOT / "runs" / name).is_dir():
        pytest.skip(f"runs/{name} is not there")
    study = load_study(name, (), data=ROOT / "data", runs=ROOT / "runs")
    finished = [run for run in study.runs if run.done and run.reads_texts and not run.pretrained]
    if not finished:
        pytest.skip(f"no run of {name} is finished")
    for folder in ("data", "runs"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    for run in finished:
        check(Workplace(tmp_path), name, run.name)
