"""A trained run, exported; and the exported model as a pretrained one of another study."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from workplace import Workplace

from gen.datasets.samples import load_dataset
from gen.datasets.shards import read_images

RUN = "cg_low"


@pytest.fixture(scope="module")
def export(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "out"
    finished.clipgen("export", "debug", "--run", RUN, "--to", str(folder))
    return folder


@pytest.fixture(scope="module")
def other(
    finished: Workplace, export: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Workplace, list[str]]:
    """A study with the exported model, which is finished; and how to name it."""
    workplace = Workplace(tmp_path_factory.mktemp("other"))
    (workplace.folder / "data").symlink_to(finished.folder / "data")
    model = f"pretrained={{mine: {{model: 'local-dir:{export / 'model'}'}}}}"
    overrides = [model, "settings=[natural_only]"]
    workplace.clipgen("run", "debug", "--run", "pretrained", *overrides)
    return workplace, overrides


def test_a_set_holds_every_test_image_pixel_for_pixel(finished: Workplace, export: Path) -> None:
    dataset = load_dataset("icons-debug", finished.folder / "data")
    samples = dataset.samples.filter(pl.col("split") == "test", domain="sketch")
    images = read_images(dataset.folder, samples, dataset.pixels)
    folder = export / "sets" / "sketch"
    assert (folder / "classnames.txt").read_text().splitlines() == list(dataset.classes)
    assert (folder / "test" / "nshards.txt").read_text().strip() == "1"
    with tarfile.open(folder / "test" / "0.tar") as tar:
        content = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    rows = list(csv.DictReader(io.StringIO((folder / "test" / "samples.csv").read_text())))
    assert [row["id"] for row in rows] == samples["id"].to_list()
    assert len(content) == 2 * samples.height
    for row, image, label in zip(rows, images, samples["class_id"], strict=True):
        assert int(content[f"{row['key']}.cls"]) == label
        found = np.asarray(Image.open(io.BytesIO(content[f"{row['key']}.png"])))
        assert np.array_equal(found, image)


def test_every_split_of_the_test_domain_is_exported_with_the_headlines_prompts(
    export: Path,
) -> None:
    names = sorted(path.name for path in (export / "sets").iterdir())
    assert names == ["sketch", "sketch.test_unseen_drawing"]
    for name in names:
        path = export / "sets" / name / "zeroshot_classification_templates.txt"
        templates = path.read_text().splitlines()
        assert "image of a {c}" in templates
        assert all(template.count("{c}") == 1 for template in templates)
        assert not any("sketch" in template for template in templates)
    assert json.loads((export / "export.json").read_text())["sets"] == names


def test_an_export_is_replaced_and_nothing_else_is(finished: Workplace, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    command = ("export", "debug", "--run", RUN, "--to", str(folder))
    finished.clipgen(*command)
    (folder / "model" / "rest").touch()
    finished.clipgen(*command)
    assert not (folder / "model" / "rest").exists()
    (folder / "export.json").unlink()
    assert "is no export" in finished.clipgen(*command, code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_exported_model_predicts_what_the_run_did(
    finished: Workplace, other: tuple[Workplace, list[str]]
) -> None:
    (ours,) = finished.study.glob(f"{RUN}*/predictions.parquet")
    (theirs,) = other[0].study.glob("pretrained-mine-*/predictions.parquet")
    columns = ["id", "prompts", "top5", "scores", "confidence"]
    final = pl.read_parquet(ours).filter("final").select(columns)
    assert final.equals(pl.read_parquet(theirs).select(columns))


def test_of_a_pretrained_model_nobody_says_what_it_saw(
    other: tuple[Workplace, list[str]],
) -> None:
    (folder,) = other[0].study.glob("pretrained-mine-*")
    record = json.loads((folder / "run.json").read_text())
    assert record["samples_seen"] is None
    assert record["mixture_sha256"] == ""
    assert record["pretrained"]["model"].startswith("local-dir:")
    assert pl.read_parquet(folder / "predictions.parquet")["samples_seen"].is_null().all()
    assert (folder / "DONE").is_file()
    assert not (folder / "checkpoints").exists()


def test_every_command_knows_a_pretrained_model(other: tuple[Workplace, list[str]]) -> None:
    workplace, overrides = other
    plan = workplace.clipgen("sweep", "debug", "--dry-run", *overrides)
    assert "1 run of 1 different mixture" in plan
    assert "1 pretrained model" in plan
    assert "done" in workplace.clipgen("status", "debug", *overrides)
    told = json.loads(workplace.clipgen("status", "debug", "--json", *overrides))
    assert [row["samples"] is None for row in told["runs"]] == [False, True]
    told = workplace.clipgen("train", "debug", "--run", "pretrained", *overrides, code=2)
    assert "nothing is to be trained" in told
    (folder,) = workplace.study.glob("pretrained-mine-*")
    for stage in ("evaluate", "analyze"):
        workplace.clipgen(stage, "debug", "--run", "pretrained", *overrides)
        assert (folder / "DONE").is_file()
    workplace.clipgen("report", "debug", *overrides)
