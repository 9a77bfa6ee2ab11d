"""Planted studies, and the report on one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from planting import COMMAND, DRAWS, PlantedStudy, write_study

from analysis.report.page import write_report
from analysis.report.study import load_results


@pytest.fixture
def planted_study(tmp_path: Path) -> PlantedStudy:
    """A finished study: six settings, two test domains, one seed; natural_only is shared."""
    return write_study(tmp_path / "planted")


@pytest.fixture(scope="session")
def planted_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the report on that study; to be read only."""
    folder = tmp_path_factory.mktemp("report")
    study = write_study(folder / "planted")
    write_report(load_results(study.plan, study.folder), folder / "report", COMMAND)
    return folder / "report"


@pytest.fixture(scope="session")
def replicated_source(tmp_path_factory: pytest.TempPathFactory) -> PlantedStudy:
    """The same with three draws of held-out classes and two seeds; to be read only."""
    return write_study(tmp_path_factory.mktemp("replicated") / "planted", DRAWS, (0, 1))


@pytest.fixture
def replicated_study(replicated_source: PlantedStudy, tmp_path: Path) -> PlantedStudy:
    """A copy of it, to be changed."""
    folder = tmp_path / "replicated"
    shutil.copytree(replicated_source.folder, folder)
    return replace(replicated_source, folder=folder)
