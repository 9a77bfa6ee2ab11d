"""A trained run on image files: it predicts what its evaluation says, and finds them again."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from workplace import Workplace

from gen.datasets.samples import load_dataset
from gen.datasets.shards import read_images

RUN = "cg_high"
MODEL = ("--study", "debug", "--run", RUN)
LABELS = ("--labels", "bicycle,church,t-shirt")


@pytest.fixture(scope="module")
def photos(finished: Workplace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The test images of sketch as PNGs in folders of their classes, and a file that is none."""
    folder = tmp_path_factory.mktemp("my photos")
    dataset = load_dataset("icons-debug", finished.folder / "data")
    samples = dataset.samples.filter(pl.col("split") == "test", domain="sketch")
    images = read_images(dataset.folder, samples, dataset.pixels)
    for name, kind, image in zip(samples["id"], samples["class_name"], images, strict=True):
        (folder / kind).mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / kind / f"{name}.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))


def test_a_run_predicts_of_files_what_it_predicted_of_the_dataset(
    finished: Workplace, photos: Path, tmp_path: Path
) -> None:
    dataset = load_dataset("icons-debug", finished.folder / "data")
    labels, out = tmp_path / "labels.txt", tmp_path / "p.csv"
    labels.write_text("\n".join(dataset.classes))
    told = finished.clipgen(
        *("predict", str(photos), *MODEL, "--labels-file", str(labels), "--csv", str(out)),
        *("--top", "1"),
    )
    (table,) = finished.study.glob(f"{RUN}*/predictions.parquet")
    known = pl.read_parquet(table).filter("final", prompts="domain_free")
    predicted = {row["id"]: row for row in known.iter_rows(named=True)}
    rows = rows_of(out)
    assert len(rows) == len(list(photos.rglob("*.png")))
    for row in rows:
        theirs = predicted[Path(row["path"]).stem]
        assert row["label"] == dataset.classes[theirs["top5"][0]]
        assert np.isclose(float(row["probability"]), theirs["confidence"], rtol=1e-3)
    assert rows_of(tmp_path / "p.skipped.csv") == [
        {"path": str(photos / "notes.txt"), "reason": "not an image of a known format"}
    ]
    assert f"1 of {len(rows) + 1} files could not be read" in told
    assert f"over these {len(dataset.classes)} labels only" in told


def test_a_table_is_shown_where_no_file_is_asked_for(finished: Workplace, photos: Path) -> None:
    told = finished.clipgen("predict", str(photos / "church"), *MODEL, *LABELS)
    lines = told.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("file"))
    assert lines[start].split() == ["file", "label", "probability", "then"]
    assert str(photos / "church") in lines[start + 1]
    assert "chance: 33.3%" in told


def test_a_second_search_embeds_what_is_new_only(
    finished: Workplace, photos: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(photos, folder)
    count = len(list(folder.rglob("*.png")))
    query = next((folder / "eye").glob("*.png"))
    outs = [tmp_path / name for name in ("s.csv", "g.png", "p.html")]
    command = ("search", str(folder), *MODEL, "--image", str(query), "--top", "3")
    options = ("--csv", str(outs[0]), "--grid", str(outs[1]), "--html", str(outs[2]))
    told = finished.clipgen(*command, *options)
    assert f"{count} images (0 known, {count} new)" in told
    rows = rows_of(outs[0])
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert rows[0]["path"] == str(query)
    assert np.isclose(float(rows[0]["similarity"]), 1, atol=1e-5)
    assert Image.open(outs[1]).format == "PNG"
    assert outs[2].read_text().count("data:image/jpeg") == 3
    shutil.copy(query, folder / "again.png")
    assert f"{count + 1} images ({count} known, 1 new)" in finished.clipgen(*command)
    (facts,) = folder.glob(".clipgen-index/debug-cg_high_diversity-*/index.json")
    (record,) = finished.study.glob(f"{RUN}*/run.json")
    checkpoint = json.loads(record.read_text())["checkpoint"]
    assert json.loads(facts.read_text())["weights_sha256"] == checkpoint


def test_an_exported_model_finds_what_its_run_does(
    finished: Workplace, photos: Path, tmp_path: Path
) -> None:
    finished.clipgen("export", "debug", "--run", RUN, "--to", str(tmp_path / "out"))
    exported = ("--model", f"local-dir:{tmp_path / 'out' / 'model'}")
    found = []
    for number, model in enumerate((MODEL, exported)):
        out = tmp_path / f"{number}.csv"
        finished.clipgen(
            *("search", str(photos), *model, "--text", "image of a church", "--csv", str(out)),
            *("--index", str(tmp_path / "indices")),
        )
        found.append(out.read_text())
    assert found[0] == found[1]
    assert len(list((tmp_path / "indices").iterdir())) == 2


MISTAKES = {
    "no model": (["predict", "photos", *LABELS], ["nothing tells which model", "--study STUDY"]),
    "two models": (
        ["predict", "photos", *MODEL, "--model", "RN50", *LABELS],
        ["--study, --run, --model tells"],
    ),
    "a word that is unknown": (
        ["predict", "photos", *MODEL, "--labels", "churches,zebra"],
        ["no tokens for `churches` (near: church", "`zebra`"],
    ),
    "one label": (["predict", "photos", *MODEL, "--labels", "church"], ["1 label", "two or more"]),
    "no labels": (["predict", "photos", *MODEL], ["no labels"]),
    "a prompt without a place": (
        ["predict", "photos", *MODEL, *LABELS, "--prompt", "photo"],
        ["0 places for the label"],
    ),
    "no such file": (["predict", "fotos", *MODEL, *LABELS], ["there is no file or folder fotos"]),
    "no such folder": (
        ["search", "fotos", *MODEL, "--text", "church"],
        ["there is no folder fotos"],
    ),
    "no image": (["search", "empty", *MODEL, "--text", "church"], ["no image that could be read"]),
    "a query that is no image": (
        ["search", "photos", *MODEL, "--image", "photos/notes.txt"],
        ["not an image of a known format", "photos/notes.txt"],
    ),
    "an untrained run": (
        ["search", "photos", "--study", "debug", "seeds=[7]", "--run", RUN, "--text", "church"],
        ["is not trained", "clipgen train debug"],
    ),
    "no labels' file": (
        ["predict", "photos", *MODEL, "--labels-file", "labels.txt"],
        ["labels cannot be read", "labels.txt"],
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_explained(name: str, finished: Workplace, photos: Path) -> None:
    (finished.folder / "empty").mkdir(exist_ok=True)
    if not (finished.folder / "photos").exists():
        (finished.folder / "photos").symlink_to(photos)
    arguments, parts = MISTAKES[name]
    told = finished.clipgen(*arguments, code=2)
    assert "Traceback" not in told
    for part in parts:
        assert part in told
