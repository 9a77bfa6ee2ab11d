"""Every family of analyses, on trained runs, by the commands behind `make sharing`."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import polars as pl
import pytest
import torch
from workplace import Workplace

from analysis import circuit_families
from analysis.autoencoders import SaePlan
from analysis.faithfulness import FAITHFULNESS
from analysis.run import analyze_run
from gen.schema import AnalysisKind
from gen.sweep.study import load_study

SCENES_ONLY = AnalysisKind.binding
"""has a test of its own, on scenes"""
EVERYTHING = (
    f"analysis.kinds=[{','.join(kind.name for kind in AnalysisKind if kind is not SCENES_ONLY)}]",
    "analysis.levels=[residual,channel]",
    "settings=[cg_high_diversity]",
)

LESS = {
    "circuit_replication.MOST_CLASSES": 1,
    "families.SaePlan": partial(SaePlan, steps=100),
    "embedding_maps.MOST_POINTS": 144,
}
"""of the same: all of it takes three minutes"""


@pytest.fixture
def trained(finished: Workplace, tmp_path: Path) -> Workplace:
    """The finished debug study in a folder of its own."""
    (tmp_path / "data").symlink_to(finished.folder / "data")
    shutil.copytree(finished.folder / "runs", tmp_path / "runs")
    return Workplace(tmp_path)


@pytest.mark.slow
def test_families_that_are_asked_for_later_are_added_without_training(
    trained: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, less in LESS.items():
        monkeypatch.setattr(f"analysis.{name}", less)
    weights = {path: path.stat().st_mtime_ns for path in trained.study.glob("*/checkpoints/*")}
    trained.clipgen("analyze", "debug", *EVERYTHING)
    places = {"data": trained.folder / "data", "runs": trained.folder / "runs"}
    runs = load_study("debug", list(EVERYTHING), **places).runs
    assert len(runs) == 1
    for run in runs:
        assert run.done
        tables = {name: pl.read_parquet(path) for name, path in run.analyses.items()}
        assert all(table.height for table in tables.values())
        for table in tables.values():  # what cannot be told is null, never NaN
            assert not any(
                table[name].is_nan().any() for name, kind in table.schema.items() if kind.is_float()
            )
        assert set(tables["similarity"]["level"]) == {"residual", "channel"}
        assert tables["published_circuits"]["n"].unique().to_list() == [1]
    assert {path: path.stat().st_mtime_ns for path in weights} == weights
    assert trained.clipgen("analyze", "debug", *EVERYTHING) == ""  # nothing lacks
    trained.clipgen("report", "debug", *EVERYTHING)
    page = (trained.study / "report" / "index.html").read_text(encoding="utf-8")
    for title in (
        "How domains share representations",
        "Class plus domain",
        "Lenses",
        "Maps of images",
        "Published measures beside ours",
        "Jaccard index of kept channels",
    ):
        assert title in page
    assert "sae-images-sketch.svg" in page
    for figure in (trained.study / "report" / "figures").iterdir():
        ElementTree.parse(figure)  # programs that read XML take it


@pytest.mark.slow
def test_an_analysis_that_was_stopped_goes_on_from_its_pieces(
    trained: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["analysis.kinds=[similarity,circuits]", "settings=[cg_high_diversity]"]
    places = {"data": trained.folder / "data", "runs": trained.folder / "runs"}
    study = load_study("debug", asked, **places)
    (run,) = study.runs

    def stopped(*_args: object, **_options: object) -> None:
        assert not torch.backends.cudnn.allow_tf32
        raise RuntimeError("stopped")

    monkeypatch.setattr(circuit_families, "faithfulness", stopped)
    with pytest.raises(RuntimeError, match="stopped"):
        analyze_run(run, study.dataset)
    pieces = run.folder / "analysis" / "pieces"
    assert len(list(pieces.rglob("*.parquet"))) == 3  # sharing of nodes and of edges, quality
    for done in ("circuit_sharing", "attribution_quality"):
        monkeypatch.setattr(circuit_families, done, stopped)
    nothing = pl.DataFrame(schema=FAITHFULNESS)
    monkeypatch.setattr(circuit_families, "faithfulness", lambda *_args: nothing)
    analyze_run(run, study.dataset)
    assert all(path.is_file() for path in run.analyses.values())
    assert not pieces.exists()
