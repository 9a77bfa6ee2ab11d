"""Concept binding from the command to the report: of a study's model, and of controlled models."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from workplace import Workplace

MODEL = """embed_dim: 16
vision: {kind: vit, layers: [1], width: 32, head_width: 16, patch_size: 8}
text: {layers: 1, width: 32, heads: 2}
"""
STUDY = """name: bound
dataset: scenes-few
model: small.yaml
test_domains: [unseen]
settings: [natural_only]
held_out: {count: 5, seed: 0}
training: {samples_seen: 320, batch_size: 64, objective: multi_positive, flip: false}
evaluation: {retrieval: false, prompts: [domain_free]}
analysis: {kinds: [similarity, binding]}
"""


@pytest.mark.slow
def test_a_study_on_scenes_has_tables_of_binding_and_a_section_on_it(tmp_path: Path) -> None:
    workplace = Workplace(tmp_path)
    (tmp_path / "small.yaml").write_text(MODEL)
    (tmp_path / "study.yaml").write_text(STUDY)
    small = ("train=[24,72]", "test=[44,24]", "name=scenes-few", "--workers", "1")
    workplace.clipgen("dataset", "build", "scenes-debug", *small)
    told = workplace.clipgen("sweep", "study.yaml", "--slots", "1")
    assert "1 run: done" in told
    (done,) = (tmp_path / "runs" / "bound").glob("natural_only-*/DONE")
    asked, functions = (
        pl.read_parquet(done.parent / "analysis" / f"{name}.parquet")
        for name in ("binding", "binding_function")
    )
    for table in (asked, functions):
        assert set(table["objects"]) == {2}
        assert set(table["part"].drop_nulls()) == {"train", "unseen", "mixed"}
        assert table.filter(pl.col("value").is_null() != pl.col("reason").is_not_null()).is_empty()
    assert asked["aspect"].n_unique() == 7
    assert functions["class"].n_unique() == 4
    report = tmp_path / "runs" / "bound" / "report"
    page = (report / "index.html").read_text(encoding="utf-8")
    for title in ("Concept binding", "Binding across modalities, within images, and by a simple"):
        assert title in page
    assert pl.read_csv(report / "tables" / "binding_models.csv").height == 1
    _a_model_of_unknown_training_stands_beside_it(workplace, tmp_path)


def _a_model_of_unknown_training_stands_beside_it(workplace: Workplace, folder: Path) -> None:
    """The run as an exported model of open_clip, and the models of a sweep that was not run."""
    workplace.clipgen("export", "study.yaml", "--run", "natural_only", "--to", "exported")
    model = f"pretrained={{own: {{model: 'local-dir:{folder / 'exported' / 'model'}'}}}}"
    told = workplace.clipgen("sweep", "study.yaml", model, "coverage=none", "--slots", "1")
    assert "2 runs: done" in told
    report = folder / "runs" / "bound" / "report"
    points = pl.read_csv(report / "tables" / "binding_models.csv")
    assert points["part"].to_list() == ["unseen", "all"]
    assert points["swap"].null_count() == 0
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "No controlled models beside them: run clipgen coverage none." in page


@pytest.mark.slow
def test_controlled_models_are_trained_once_and_have_a_page(tmp_path: Path) -> None:
    workplace = Workplace(tmp_path)
    told = workplace.clipgen("coverage", "debug", "--slots", "1")
    assert "3 models: 3 done, 3 of them now" in told
    folder = tmp_path / "runs" / "coverage" / "debug"
    assert folder.relative_to(tmp_path).joinpath("report", "index.html").as_posix() in told
    results = {
        path: path.stat().st_mtime_ns for path in (*folder.glob("*.json"), *folder.glob("*.npz"))
    }
    assert len(results) == 6
    for name in ("scores", "functions"):
        assert pl.read_parquet(folder / f"{name}.parquet")["key"].n_unique() == 3
    (folder / "report" / "index.html").unlink()
    assert "3 done, 0 of them now" in workplace.clipgen("coverage", "debug", "--slots", "1")
    assert {path: path.stat().st_mtime_ns for path in results} == results
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    for title in ("at which coverage do small models learn to bind?", "By what function"):
        assert title in page
    assert "3 models expected: 3 done." in page
