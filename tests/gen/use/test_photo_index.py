"""An index follows its folder: what stays is not embedded again, and no other model reads it."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from planted_photos import BLUE, CPU, GREEN, RED, WHITE, colour_model, photo

from gen.use import index as indexing
from gen.use.index import FACTS, FOLDER, TABLE, current_index, index_place
from splits.errors import UserError


@pytest.fixture
def folder(tmp_path):
    photo(tmp_path / "photos" / "red.png", RED)
    photo(tmp_path / "photos" / "more" / "green.png", GREEN)
    return tmp_path / "photos"


def updated(folder, model=None, named=None):
    """The index; and how many files were known, new, changed and gone, and images embedded."""
    model = model or colour_model()
    index, changes = current_index(model, folder, named, CPU)
    counts = (changes.kept, changes.new, changes.changed, changes.gone)
    return index, counts, model.learner.model.seen


def colour_of(index, name):
    """The embedding of a file."""
    row = index.stamps["path"].to_list().index(name)
    return (index.vectors[row] * np.sqrt(3)).round(3).tolist()


def test_files_are_embedded_once(folder):
    first, counts, seen = updated(folder)
    assert (counts, seen) == ((0, 2, 0, 0), 2)
    assert first.stamps["path"].to_list() == ["more/green.png", "red.png"]
    assert colour_of(first, "red.png") == [1, -1, -1]
    second, counts, seen = updated(folder)
    assert (counts, seen) == ((2, 0, 0, 0), 0)
    assert second.stamps.equals(first.stamps)
    assert np.array_equal(second.vectors, first.vectors)


def test_what_is_new_changed_or_gone_is_noticed(folder):
    updated(folder)
    photo(folder / "blue.png", BLUE)
    photo(folder / "red.png", WHITE, size=(20, 20))
    (folder / "more" / "green.png").unlink()
    index, counts, seen = updated(folder)
    assert (counts, seen) == ((0, 1, 1, 1), 2)
    assert index.stamps["path"].to_list() == ["blue.png", "red.png"]
    assert colour_of(index, "red.png") == [1, 1, 1]
    assert updated(folder)[1:] == ((2, 0, 0, 0), 0)


def test_embeddings_stay_with_their_files(folder):
    updated(folder)
    photo(folder / "a.png", BLUE)
    index, _, _ = updated(folder)
    assert index.stamps["path"].to_list() == ["a.png", "more/green.png", "red.png"]
    for name, colour in (
        ("a.png", [-1, -1, 1]),
        ("more/green.png", [-1, 1, -1]),
        ("red.png", [1, -1, -1]),
    ):
        assert colour_of(index, name) == colour


def test_a_new_time_of_change_is_a_change(folder):
    updated(folder)
    os.utime(folder / "red.png", ns=(1, 1))
    assert updated(folder)[1:] == ((1, 0, 1, 0), 1)


def test_a_file_that_was_broken_since_is_dropped_and_told(folder):
    updated(folder)
    (folder / "red.png").write_bytes(b"\x89PNG")
    index, changes = current_index(colour_model(), folder, None, CPU)
    assert index.stamps["path"].to_list() == ["more/green.png"]
    assert (changes.gone, changes.total) == (1, 2)
    assert [skipped.path for skipped in changes.skipped] == [folder / "red.png"]


def test_a_broken_file_alone_makes_no_writing(folder):
    (folder / "broken.png").write_bytes(b"\x89PNG")
    index, _, _ = updated(folder)
    before = (index.place / TABLE).stat().st_mtime_ns
    _, changes = current_index(colour_model(), folder, None, CPU)
    assert len(changes.skipped) == 1
    assert (index.place / TABLE).stat().st_mtime_ns == before


def test_every_model_and_every_way_of_reading_has_its_own_index(folder):
    model = colour_model()
    others = [
        colour_model("second"),
        replace(model, source={"planted": False}),
        replace(model, learner=replace(model.learner, pixels=16)),
        replace(model, learner=replace(model.learner, mean=(0.4, 0.5, 0.5))),
    ]
    updated(folder, model)
    for other in others:
        assert updated(folder, other)[1] == (0, 2, 0, 0)
    assert len(list((folder / FOLDER).iterdir())) == 5
    assert updated(folder)[1:] == ((2, 0, 0, 0), 0)


def test_a_folder_may_be_moved_with_its_index(folder, tmp_path):
    updated(folder)
    folder.rename(tmp_path / "moved")
    assert updated(tmp_path / "moved")[1:] == ((2, 0, 0, 0), 0)


def test_a_named_place_serves_several_folders_and_is_no_image(folder, tmp_path):
    named, other = folder / "indices", tmp_path / "other"
    photo(other / "red.png", RED)
    assert updated(folder, named=named)[1] == (0, 2, 0, 0)
    assert updated(other, named=named)[1] == (0, 1, 0, 0)
    assert updated(folder, named=named)[1] == (2, 0, 0, 0)
    assert not (folder / FOLDER).exists()


def test_an_index_says_what_it_is_of(folder):
    index, _, _ = updated(folder)
    facts = json.loads((index.place / FACTS).read_text())
    assert facts["model"] == "colours"
    assert facts["weights_sha256"] == "first"
    assert facts["images"] == str(folder)
    assert facts["pixels"] == 8
    assert "torch" in facts["versions"]
    table = pl.read_parquet(index.place / TABLE)
    assert table.columns == ["path", "size", "mtime_ns", "embedding"]
    assert table["size"].to_list() == [(folder / name).stat().st_size for name in table["path"]]


def test_a_damaged_index_is_named(folder):
    index, _, _ = updated(folder)
    (index.place / TABLE).write_bytes(b"PAR1 and nothing more")
    with pytest.raises(UserError, match="damaged") as told:
        updated(folder)
    assert str(index.place) in told.value.fix


def test_what_was_embedded_before_an_interruption_is_kept(folder, monkeypatch):
    monkeypatch.setattr(indexing, "batch_size", lambda pixels: 1)
    embed, calls = indexing.embed_images, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return embed(*arguments)

    monkeypatch.setattr(indexing, "embed_images", interrupted)
    with pytest.raises(KeyboardInterrupt):
        updated(folder)
    assert updated(folder)[1:] == ((1, 1, 0, 0), 1)


def test_a_folder_that_cannot_be_written_is_named(folder):
    place = index_place(colour_model(), folder, Path("/sys"))
    with pytest.raises(UserError, match="cannot be written") as told:
        updated(folder, named=Path("/sys"))
    assert told.value.where == str(place)
    assert "--index" in told.value.fix
