"""The studies of configs/studies: each can be planned, and has as many runs as its header says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from planted_datasets import plant

from gen.config import CONFIGS
from gen.sweep.study import load_study

STUDIES = sorted(path.stem for path in (CONFIGS / "studies").glob("*.yaml"))
DATASETS = (
    *("icons-debug", "icons-small", "icons-small-64", "icons-wide", "scenes", "pacs", "domainnet"),
)
BASES = ("imagenet-captions",)
RUNS = re.compile(r"^# Runs: (\d+)", re.MULTILINE)
COMMAND = re.compile(r"^#   clipgen sweep (\S+) (.*\S) +# (\d+) runs$", re.MULTILINE)


def header(study: str) -> str:
    """The comment that begins a study's file."""
    text = (CONFIGS / "studies" / f"{study}.yaml").read_text(encoding="utf-8")
    return text.partition("\nname:")[0]


def reduced_forms() -> list[tuple[str, str, int]]:
    """Every command with overrides that a header names: study, overrides, number of runs."""
    found = [COMMAND.findall(header(study)) for study in STUDIES]
    return [(name, words, int(runs)) for each in found for name, words, runs in each]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name in (*DATASETS, *BASES):
        plant(folder, name)
    return folder


@pytest.mark.parametrize("study", STUDIES)
def test_a_study_has_as_many_runs_as_its_header_says(study, data, tmp_path):
    (said,) = RUNS.findall(header(study))
    planned = load_study(study, [], data=data, runs=tmp_path)
    assert len(planned.runs) == int(said)
    assert planned.name == study


@pytest.mark.parametrize(("study", "overrides", "runs"), reduced_forms())
def test_a_reduced_form_has_as_many_runs_as_its_header_says(study, overrides, runs, data, tmp_path):
    planned = load_study(study, overrides.split(), data=data, runs=tmp_path)
    assert len(planned.runs) == runs
    assert planned.name != study  # another study gets a folder of its own


def test_other_classes_of_the_exposure_study_are_quickdraws_and_the_photographs_alone(
    data, tmp_path
):
    planned = load_study("exposure", [], data=data, runs=tmp_path)
    name = "leave_out_domain-and_other_classes"
    mixtures = [m for m in planned.mixtures.values() if m.setting.name == name]
    assert len(mixtures) == 2  # one for each draw
    for mixture in mixtures:
        shown = {
            domain: {label for label, n in zip(planned.dataset.classes, row, strict=True) if n}
            for domain, row in zip(planned.dataset.domains, mixture.realised, strict=True)
        }
        others = shown.pop("quickdraw")
        assert len(others) == 15
        assert not others & set(mixture.held_out)
        assert [domain for domain, labels in shown.items() if others & labels] == ["real"]


@pytest.mark.parametrize("study", STUDIES)
def test_a_header_tells_the_cost(study):
    assert "# Cost: " in header(study)


def test_headers_name_reduced_forms():
    assert {study for study, _, _ in reduced_forms()} >= {"icons", "diversity", "pacs"}
