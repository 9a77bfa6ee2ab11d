"""Two studies in one folder of runs, compared by the command that a user types."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest
from workplace import Workplace


@pytest.mark.usefixtures("undrawn")
def test_a_study_that_has_no_file_of_its_own_is_compared_as_it_was_swept(
    finished: Workplace, tmp_path: Path
) -> None:
    workplace, name = Workplace(tmp_path), "twin"
    (tmp_path / "data").symlink_to(finished.folder / "data")
    for copy in ("debug", name):
        shutil.copytree(finished.study, tmp_path / "runs" / copy)
    saved = tmp_path / "runs" / name / "study.yaml"
    saved.write_text(saved.read_text().replace("name: debug", f"name: {name}", 1))
    printed = workplace.clipgen("report", "debug", name)
    assert f"compare-with-{name}.html" in printed
    table = pl.read_csv(tmp_path / "runs" / "debug" / "report" / f"compare-with-{name}.csv")
    assert table.height > 0
    assert (table["difference"].drop_nulls() == 0).all()
    assert table["difference"].null_count() == 0


def test_a_study_that_is_nowhere_is_an_error_that_names_it(finished: Workplace) -> None:
    assert "nosuch" in finished.clipgen("report", "debug", "nosuch", code=2)
