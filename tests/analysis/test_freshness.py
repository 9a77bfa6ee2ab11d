"""A report is made again when, and only when, something that it is made of has changed."""

import shutil
import sys
from dataclasses import replace

import pytest

from analysis.report.freshness import begin_report, end_report, is_fresh, report_key
from gen.runs import ATTEMPTS
from splits.files import write_text


def key_of(study, *facts):
    return report_key([study.plan], study.folder, *facts)


def test_a_key_is_that_of_what_is_there(planted_study):
    before = key_of(planted_study, "code")
    (planted_study.folder / planted_study.plan.runs[0].name / "log.txt").write_text("a line")
    assert key_of(planted_study, "code") == before
    assert key_of(planted_study, "other code") != before


@pytest.mark.parametrize(
    "changed", ["DONE", "FAILED", "run.json", "config.yaml", "predictions.parquet", "metrics.jsonl"]
)
def test_a_changed_file_of_a_run_changes_the_key(planted_study, changed):
    before = key_of(planted_study)
    with (planted_study.folder / planted_study.plan.runs[3].name / changed).open("ab") as file:
        file.write(b" ")
    assert key_of(planted_study) != before


def test_a_manifest_a_study_file_a_stranger_and_another_plan_change_the_key(planted_study):
    keys = {key_of(planted_study)}
    manifest = next(planted_study.folder.glob("mixtures/*/manifest.json"))
    manifest.write_text(manifest.read_text() + " ")
    keys.add(key_of(planted_study))
    (planted_study.folder / "study.yaml").write_text("study: {}")
    keys.add(key_of(planted_study))
    write_text(planted_study.folder / planted_study.plan.runs[0].name / ATTEMPTS, "{}\n")
    keys.add(key_of(planted_study))
    (planted_study.folder / "stranger").mkdir()
    (planted_study.folder / "stranger" / "run.json").write_text("{}")
    keys.add(key_of(planted_study))
    first, *others = planted_study.plan.runs
    twin = replace(first, twin="another")
    changed = replace(planted_study.plan, runs=(twin, *others))
    keys.add(key_of(replace(planted_study, plan=changed)))
    assert len(keys) == 6


def written(folder, key, arms=()):
    begin_report(folder, arms)
    for name in ("", *arms):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "index.html").touch()
    end_report(folder, key, arms)


def test_a_report_is_fresh_while_its_pages_are_there_and_its_key_is_the_same(tmp_path):
    assert not is_fresh(tmp_path, "k")
    written(tmp_path, "k", ["a", "b"])
    assert is_fresh(tmp_path, "k")
    assert not is_fresh(tmp_path, "other")
    (tmp_path / "b" / "index.html").unlink()
    assert not is_fresh(tmp_path, "k")


def test_a_report_that_was_begun_and_not_ended_is_not_fresh(tmp_path):
    written(tmp_path, "k")
    begin_report(tmp_path, [])
    assert not is_fresh(tmp_path, "k")


@pytest.mark.parametrize(
    "name", ["report/tables/headline.csv", "report/a/figures/curve.svg", "splits/index.html"]
)
def test_a_report_that_lost_a_file_is_not_fresh(tmp_path, name):
    report = tmp_path / "report"
    begin_report(report, ["a"])
    write_text(tmp_path / name, "text")
    write_text(report / "compare-with-other.csv", "of another command")
    end_report(report, "k", ["a"])
    (report / "compare-with-other.csv").unlink()
    assert is_fresh(report, "k")
    (tmp_path / name).unlink()
    assert not is_fresh(report, "k")


def test_reports_on_arms_that_are_gone_are_deleted_and_nothing_else(tmp_path):
    written(tmp_path, "k", ["a", "b"])
    (tmp_path / "mine").mkdir()
    written(tmp_path, "k", ["b"])
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["b", "mine"]
    written(tmp_path, "k")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["mine"]


def test_reports_on_former_arms_are_known_after_a_kill(tmp_path, monkeypatch):
    written(tmp_path, "k", ["a", "b"])
    with monkeypatch.context() as killed:
        killed.setattr(shutil, "rmtree", lambda *_, **__: sys.exit("killed"))
        with pytest.raises(SystemExit):
            begin_report(tmp_path, ["b", "c"])
    (tmp_path / "c").mkdir()
    written(tmp_path, "k", ["b"])
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["b"]
