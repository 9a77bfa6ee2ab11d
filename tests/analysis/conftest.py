"""Planted studies, and the report on one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from planting import DRAWS, EMPTY_SVG, EVERYTHING, PlantedStudy, load, write_study

from analysis.report.study import StudyResults

SLOW_FIGURES = (
    *("sharing.layer_figure", "sharing.kinds_figure", "sharing.heat_figure"),
    *("sharing_families.kinds_figure", "sharing_families.heat_figure"),
    *("sharing_maps.map_figure", "sharing_maps.heat_figure", "sharing_published.kinds_figure"),
    *("modality_section.layer_figure", "modality_section.kinds_figure"),
    *("binding_section.behaviour_figure", "binding_section.function_figure"),
    *("circuit_sections.layer_figure", "circuit_sections.kinds_figure"),
    *("circuit_sections.heat_figure", "faithfulness_section.heat_figure"),
    *("faithfulness_section.curve_figure", "faithfulness_section.parts_figure"),
    *("cause_sections.kinds_figure", "cause_sections.dot_figure"),
)
"""with hundreds of artists each"""


@pytest.fixture(scope="session")
def planted_source(tmp_path_factory: pytest.TempPathFactory) -> PlantedStudy:
    """A finished study: six settings, two test domains, one draw, one seed; to be read only."""
    return write_study(tmp_path_factory.mktemp("source") / "planted")


@pytest.fixture(scope="session")
def results(planted_source: PlantedStudy) -> StudyResults:
    """What is read of it."""
    return load(planted_source)


@pytest.fixture
def planted_study(planted_source: PlantedStudy, tmp_path: Path) -> PlantedStudy:
    """A copy of it, to be changed."""
    return _copied(planted_source, tmp_path / "planted")


@pytest.fixture(scope="session")
def replicated_source(tmp_path_factory: pytest.TempPathFactory) -> PlantedStudy:
    """The same with three draws of held-out classes and two seeds; to be read only."""
    return write_study(tmp_path_factory.mktemp("replicated") / "planted", DRAWS, (0, 1))


@pytest.fixture
def replicated_study(replicated_source: PlantedStudy, tmp_path: Path) -> PlantedStudy:
    """A copy of it, to be changed."""
    return _copied(replicated_source, tmp_path / "replicated")


@pytest.fixture(scope="session")
def rich_source(tmp_path_factory: pytest.TempPathFactory) -> PlantedStudy:
    """All that a study may ask for: prompt sets, milestones, probes, a pretrained model."""
    return write_study(tmp_path_factory.mktemp("rich") / "planted", **EVERYTHING)


@pytest.fixture(scope="session")
def rich(rich_source: PlantedStudy) -> StudyResults:
    """What is read of it."""
    return load(rich_source)


@pytest.fixture
def rich_study(rich_source: PlantedStudy, tmp_path: Path) -> PlantedStudy:
    """A copy of it, to be changed."""
    return _copied(rich_source, tmp_path / "rich")


@pytest.fixture
def drawn_figures() -> None:
    """For tests that look into the figures of the reports which they write."""


@pytest.fixture(autouse=True)
def _figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is most of a report's time: without `drawn_figures` its figures are empty."""
    if "drawn_figures" not in request.fixturenames:
        monkeypatch.setattr("analysis.report.page.svg_text", lambda _figure, _name: EMPTY_SVG)
        for name in SLOW_FIGURES:
            monkeypatch.setattr(f"analysis.report.{name}", lambda *_, **__: Figure())


def _copied(study: PlantedStudy, folder: Path) -> PlantedStudy:
    shutil.copytree(study.folder, folder)  # keeps the times of the files
    return replace(study, folder=folder)
