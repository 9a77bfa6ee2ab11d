"""Images and words of a model with one tower, from the command to the report."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from workplace import Workplace


@pytest.mark.slow
def test_images_and_words_of_one_tower_are_in_its_tables(tmp_path: Path) -> None:
    workplace = Workplace(tmp_path)
    workplace.clipgen("dataset", "build", "icons-debug", "pixels=80", "train=4", "--workers", "1")
    workplace.clipgen(
        *("run", "debug", "settings=[natural_only]", "model=clippo-tiny", "name=one"),
        *("analysis.kinds=[similarity,modalities]", "training.samples_seen=640"),
        *("training.learning_rate=3e-4", "training.warmup=0.2"),
    )
    folder = next((tmp_path / "runs" / "one").glob("natural_only-*"))
    sharing, gaps = (
        pl.read_parquet(folder / "analysis" / f"modality_{name}.parquet")
        for name in ("sharing", "gaps")
    )
    assert set(sharing["domain_b"]) == {"text"}
    assert set(sharing["level"]) == {"residual", "head", "neuron", "nodes"}
    sites = sharing.filter(level="residual").sort("depth")["site"].unique(maintain_order=True)
    assert sites.to_list() == ["stem", *(f"block{n}" for n in range(1, 5)), "pooled", "embedding"]
    without = sharing.filter(pl.col("value").is_null())
    assert (without["note"] != "").all()
    apart = gaps.filter(domain_b="text", quantity="distance_relative")
    assert apart["value"].null_count() == 0
    assert (folder / "DONE").is_file()
