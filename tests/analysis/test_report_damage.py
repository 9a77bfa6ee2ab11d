"""What is damaged in the small files of a study is named, and stops no table."""

import json
import shutil
from dataclasses import replace

import pytest
from planting import write_study

from analysis.report import tables
from analysis.report.exposure_axes import placed
from analysis.report.study import load_results
from analysis.report.views import exposure_view, mixtures_view, provenance_view
from splits.files import write_text


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("source") / "planted"
    return write_study(folder, settings=("leave_out_domain",))


@pytest.fixture
def study(source, tmp_path):
    shutil.copytree(source.folder, tmp_path / "planted")
    return replace(source, folder=tmp_path / "planted")


def load(study):
    """Its results, of which every table that reads the small files can be made."""
    results = load_results(study.plan, study.folder)
    counts = tables.exposure_counts(results)
    placed(results), tables.cost(results)
    exposure_view(counts, results), mixtures_view(results), provenance_view(results)
    return results


def changed(path, change):
    content = json.loads(path.read_text())
    change(content)
    write_text(path, json.dumps(content))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.pop("sha256"), "lacks sha256"),
        (lambda m: m.update(exposure=[[1.0]]), "for every domain and class in exposure"),
        (lambda m: m["realised"][0].pop(), "for every domain and class in realised"),
        (lambda m: m["available"].pop(), "for every domain and class in available"),
        (lambda m: m.update(realised="many"), "has no usable realised"),
        (lambda m: m.update(rule="a name"), "has no usable rule"),
        (lambda m: m["budget"].update(size="all"), "has no usable budget"),
        (lambda m: m["domains"].__setitem__(4, "other"), "has no domain quickdraw"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_named(study, change, words):
    path = study.folder / "mixtures" / "leave_out_domain.quickdraw" / "manifest.json"
    changed(path, change)
    results = load(study)
    (problem,) = results.problems
    assert problem.startswith("leave_out_domain.quickdraw/manifest.json ")
    assert problem.endswith(words)
    assert set(results.mixtures) == {"leave_out_domain.clipart"}


@pytest.mark.parametrize(
    "values",
    [{"seconds": None}, {"seconds": {"train": "long"}}, {"samples_seen": "7"}, {"versions": [1]}],
)
def test_a_value_of_another_kind_in_a_record_is_named_and_left_out(study, values):
    name = study.plan.runs[0].name
    changed(study.folder / name / "run.json", lambda record: record.update(values))
    results = load(study)
    assert results.problems == (f"{name}/run.json has no usable {next(iter(values))}",)
    assert (results.runs["state"] == "done").all()


def test_a_marker_that_is_no_text_is_that_of_another_study(study):
    name = study.plan.runs[0].name
    (study.folder / name / "DONE").write_bytes(b"\xff\xfe\x00")
    results = load(study)
    assert results.runs.filter(state="stale")["run"].to_list() == [name]
