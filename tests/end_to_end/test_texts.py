"""How words are read, asked for from the command line: by two towers, later, and by one."""

from __future__ import annotations

import shutil
from pathlib import Path

import polars as pl
import pytest
from workplace import Workplace

ASKED = ("evaluation.text_robustness=true", "evaluation.text_probes=true")


def check_tables(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Both tables of a run: rows, and no number that is none."""
    assert (folder / "DONE").is_file()
    paths = folder / "text_robustness.parquet", folder / "analysis" / "text_probes.parquet"
    scores, probes = map(pl.read_parquet, paths)
    for table in (scores, probes):
        assert table.height
        numbers = table.select(pl.selectors.float())
        assert not any(column.is_nan().any() for column in numbers)
        assert (table.filter(pl.col("value").is_null())["note"] != "").all()
    return scores, probes


@pytest.mark.slow
def test_what_is_asked_of_texts_later_is_added_without_training(
    finished: Workplace, tmp_path: Path
) -> None:
    (tmp_path / "data").symlink_to(finished.folder / "data")
    shutil.copytree(finished.folder / "runs", tmp_path / "runs")
    workplace = Workplace(tmp_path)
    weights = {path: path.stat().st_mtime_ns for path in workplace.study.glob("*/checkpoints/*")}
    command = ("debug", "settings=[cg_high_diversity]", *ASKED)
    workplace.clipgen("run", *command)
    assert {path: path.stat().st_mtime_ns for path in weights} == weights
    (folder,) = {path.parent for path in workplace.study.glob("*/text_robustness.parquet")}
    scores, probes = check_tables(folder)
    assert scores.filter(disturbance="typos")["unreadable"].max() > 0  # tokens of its captions only
    assert probes["site"].unique(maintain_order=True).to_list()[-1] == "embedding"
    workplace.clipgen("report", *command)
    page = (workplace.study / "report" / "index.html").read_text(encoding="utf-8")
    for title in ("Disturbed prompts", "Linear probes on sentences"):
        assert title in page
    workplace.clipgen("evaluate", "debug", "settings=[cg_high_diversity]", "--run", folder.name)
    assert not (folder / "text_robustness.parquet").exists()  # of another configuration


@pytest.mark.slow
def test_one_tower_reads_typos_other_fonts_and_sentences_at_all_its_sites(tmp_path: Path) -> None:
    workplace = Workplace(tmp_path)
    workplace.clipgen("dataset", "build", "icons-debug", "pixels=96", "train=4", "--workers", "1")
    workplace.clipgen(
        *("run", "debug", "settings=[natural_only]", "model=clippo-tiny", "name=one", *ASKED),
        *("training.samples_seen=640", "training.learning_rate=3e-4", "training.warmup=0.2"),
        "evaluation.probes=true",
    )
    (folder,) = (tmp_path / "runs" / "one").glob("natural_only-*")
    scores, probes = check_tables(folder)
    assert scores.filter(pl.col("disturbance").str.starts_with("font"))["unreadable"].max() < 1
    assert set(scores.filter(disturbance="typos", strength=1)["unreadable"]) == {0.0}
    sites = ["stem", *(f"block{number}" for number in range(1, 5)), "pooled", "embedding"]
    assert probes["site"].unique(maintain_order=True).to_list() == sites
    of_images = pl.read_parquet(folder / "analysis" / "probes.parquet")
    assert of_images.sort("depth")["site"].unique(maintain_order=True).to_list() == sites
