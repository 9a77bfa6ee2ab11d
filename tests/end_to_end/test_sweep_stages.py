"""One command from a study's file to its report: what it refuses first, skips, and does at last."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import polars as pl
import pytest
from workplace import Workplace

from splits.errors import UserError

ARMS = """name: arms
dataset: icons-debug
model: rn-tiny
test_domains: [sketch]
settings: [natural_only, cg_low_diversity]
held_out: {count: 3}
training: {samples_seen: 128, batch_size: 64, log_every: 1}
grid: {training.objective: [infonce, sigmoid]}
exclude: [{training.objective: sigmoid, setting: cg_low_diversity}]
evaluation: {retrieval: false, prompts: [domain_free]}
"""


@pytest.fixture
def workplace(finished: Workplace, tmp_path: Path) -> Workplace:
    """A folder with the dataset and no runs."""
    (tmp_path / "data").symlink_to(finished.folder / "data")
    return Workplace(tmp_path)


@pytest.mark.parametrize("mistake", ["training.crop_area=2", "model=rn-tiyn", "sedes=[1]"])
def test_a_mistake_in_a_study_is_told_before_any_work(tmp_path: Path, mistake: str) -> None:
    workplace = Workplace(tmp_path)
    assert "error:" in workplace.clipgen("sweep", "debug", mistake, code=2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("undrawn")
def test_the_report_is_written_also_where_runs_failed(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise UserError("4 of 4 runs failed")

    monkeypatch.setattr("gen.sweep.local.run_sweep", fail)
    told = workplace.clipgen("sweep", "debug", code=2)
    assert told.index("4 mixtures: 4 written") < told.index("report: runs/debug/report/index.html")
    assert told.rstrip().endswith("error: 4 of 4 runs failed")
    page = (workplace.study / "report" / "index.html").read_text(encoding="utf-8")
    assert "4 runs expected: 0 done, 4 new, 0 failed." in page


@pytest.mark.usefixtures("undrawn")
def test_a_report_is_made_again_where_a_run_has_changed(
    finished: Workplace, workplace: Workplace
) -> None:
    shutil.copytree(finished.study, workplace.study)
    record = next(workplace.study.glob("natural_only*/run.json"))
    record.write_text(json.dumps(json.loads(record.read_text()) | {"device": "a toaster"}))
    told = workplace.clipgen("sweep", "debug")
    assert "4 runs: done; nothing to do" in told
    assert "4 runs expected: 4 done" in told
    assert "a toaster" in (workplace.study / "report" / "index.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("undrawn")
def test_a_study_with_two_arms_has_a_report_on_each_and_one_over_them(
    workplace: Workplace,
) -> None:
    (workplace.folder / "arms.yaml").write_text(ARMS)
    workplace.clipgen("run", "arms.yaml")
    told = workplace.clipgen("sweep", "arms.yaml")
    assert "3 runs: done; nothing to do" in told
    assert "Of 1 comparisons with infonce, sigmoid is" in told
    report = workplace.folder / "runs" / "arms" / "report"
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "3 runs expected: 3 done, 0 new, 0 failed." in page
    assert "not planned" in page
    for arm, count in (("infonce", 2), ("sigmoid", 1)):
        of_arm = (report / arm / "index.html").read_text(encoding="utf-8")
        assert f"{count} run{'s' * (count > 1)} expected: {count} done, 0 new, 0 failed." in of_arm
        assert "not part of this study" not in of_arm
    assert "nothing that it is made of has changed" in workplace.clipgen("sweep", "arms.yaml")
    _compare(workplace, report)


def _compare(workplace: Workplace, report: Path) -> None:
    """Arms of the same name are compared, others are named, and one must be there."""
    runs = workplace.folder / "runs"
    shutil.copytree(runs / "arms", runs / "other")
    saved = runs / "other" / "study.yaml"
    saved.write_text(
        saved.read_text()
        .replace("name: arms", "name: other", 1)
        .replace("- infonce\n", "", 1)
        .replace("include: []", "include: [{training.objective: multi_positive}]", 1)
    )
    told = workplace.clipgen("report", "arms.yaml", "other")
    assert "comparison: runs/arms/report/sigmoid/compare-with-other.html" in told
    left_out = [
        "Not compared: arms of arms only, infonce.",
        "Not compared: arms of other only, multi_positive.",
    ]
    assert told.splitlines()[-2:] == left_out
    table = pl.read_csv(report / "sigmoid" / "compare-with-other.csv")
    assert (table["difference"] == 0).all()
    page = (report / "sigmoid" / "compare-with-other.html").read_text(encoding="utf-8")
    assert "Two studies: arms (sigmoid) and other (sigmoid)" in page
    assert all(line in page for line in left_out)
    told = workplace.clipgen("report", "arms.yaml", "debug", code=2)
    assert "studies arms and debug have no arm in common" in told
