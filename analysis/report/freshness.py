"""Whether a report says what it would say if it were written now."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from analysis.report.schemas import REMEDIES
from analysis.report.states import strangers
from analysis.report.study import controlled_path
from analysis.report.study_plan import StudyPlan
from gen.runs import ATTEMPTS, sha256_of
from splits.files import write_json

NAME = "made_of.json"
PAGES = "splits"
"""folder of the pages of mixtures, which reports link, in the study's folder"""
SMALL_FILES = ("DONE", "FAILED", "run.json", "config.yaml")
"""files of a run's folder whose content counts; of its tables the size does"""


def report_key(plans: Sequence[StudyPlan], folder: Path, *facts: Any) -> str:
    """Hash of what a report is made of.

    Args:
        plans: of the study's arms.
        folder: of the study.
        facts: what else decides the report (JSON-able): the configuration, the state of the code.
    """
    parts = [
        [
            *(plan.name, plan.arm, plan.dataset_sha256, plan.prompts, plan.probes),
            *(plan.analyses, plan.primary),
        ]
        for plan in plans
    ]
    mixtures = {name for plan in plans for run in plan.runs for name in run.mixtures.values()}
    manifests = {
        name: _content(folder / "mixtures" / name / "manifest.json") for name in mixtures if name
    }
    runs = {run.name: list(_traces(folder / run.name)) for plan in plans for run in plan.runs}
    planned = {run.name: [run.results_key, run.twin] for plan in plans for run in plan.runs}
    others = [strangers(plan, folder) for plan in plans]
    study = _content(folder / "study.yaml")
    controlled = [_content(controlled_path(plan, folder)) for plan in plans if plan.coverage]
    return sha256_of([facts, parts, planned, study, manifests, runs, others, controlled])


def _traces(folder: Path) -> Iterator[str]:
    """What of a run's folder a report reads: the content of small files, the size of others."""
    for name in SMALL_FILES:
        yield _content(folder / name)
    for name in REMEDIES:
        path = folder / name
        yield str(path.stat().st_size) if path.is_file() else ""
    yield str((folder / ATTEMPTS).is_file())


def _content(path: Path) -> str:
    """Content of a small file as text; empty where it is not there or cannot be read."""
    try:
        return path.read_bytes().hex()
    except OSError:
        return ""


def is_fresh(folder: Path, key: str) -> bool:
    """Whether the report in `folder` is there as a whole, and was made of what has this key."""
    made = _made_of(folder)
    files = [folder.parent / name for name in made.get("files", ())]
    return made.get("key") == key and all(path.is_file() for path in files)


def begin_report(folder: Path, arms: Sequence[str]) -> None:
    """Before a report is written: what is there counts no more; reports on former arms go."""
    former = [arm for arm in _made_of(folder).get("arms", ()) if arm not in arms]
    write_json(folder / NAME, {"arms": [*arms, *former]})  # known even if this is broken off
    for arm in former:
        shutil.rmtree(folder / arm, ignore_errors=True)


def end_report(folder: Path, key: str, arms: Sequence[str]) -> None:
    """When a report is written: what it was made of, which arms have one of their own, its files.

    Files are those in its folder and the pages of mixtures, but comparisons, which a report on one
    study does not make.
    """
    study = folder.parent
    paths = (path for part in (folder, study / PAGES) for path in part.rglob("*"))
    files = [p for p in paths if p.is_file() and not p.name.startswith((".", "compare-", NAME))]
    names = sorted(path.relative_to(study).as_posix() for path in files)
    write_json(folder / NAME, {"key": key, "arms": list(arms), "files": names})


def _made_of(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # none yet, or torn
        return {}
