"""Predictions are the softmax of cosines over the labels, best first, for every readable file."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from planted_photos import BLUE, CPU, GREEN, RED, SCALE, colour_model, photo
from torch.nn.functional import normalize

from gen.use.photos import Skipped
from gen.use.prediction import predict_photos
from gen.use.tables import write_csv, write_skipped

LABELS = ("red", "green", "blue")
HEADS = normalize(2 * torch.eye(3) - 1, dim=1)
"""what the planted model makes of the three colours"""


@pytest.fixture
def paths(tmp_path):
    colours = {"g, h.png": GREEN, 'b"c.png': BLUE, "r.png": RED}
    return [photo(tmp_path / name, colour) for name, colour in colours.items()]


def test_every_file_gets_its_best_labels_first(paths):
    found = predict_photos(colour_model(), paths, LABELS, HEADS, CPU, top=2)
    assert found.table["path"].to_list() == [str(path) for path in paths for _ in range(2)]
    assert found.table["rank"].to_list() == [1, 2] * 3
    first = found.table.filter(rank=1)["label"].to_list()
    assert first == ["green", "blue", "red"]
    assert not found.skipped


def test_probabilities_are_the_softmax_of_scaled_cosines_over_all_labels(paths):
    found = predict_photos(colour_model(), paths[2:], LABELS, HEADS, CPU, top=3)
    cosines = (HEADS[0] @ HEADS.T).numpy()
    expected = np.exp(SCALE * cosines) / np.exp(SCALE * cosines).sum()
    assert found.table["label"].to_list() == ["red", "green", "blue"]
    assert np.allclose(found.table["probability"], expected, rtol=1e-4)


def test_a_file_that_cannot_be_read_is_listed_and_the_others_stay(paths, tmp_path):
    (tmp_path / "torn.png").write_bytes(b"\x89PNG")
    paths.insert(1, tmp_path / "torn.png")
    found = predict_photos(colour_model(), paths, LABELS, HEADS, CPU, top=1)
    assert found.table["label"].to_list() == ["green", "blue", "red"]
    assert found.table["path"].to_list() == [str(path) for path in paths if "torn" not in path.name]
    assert [skipped.path.name for skipped in found.skipped] == ["torn.png"]


def test_a_csv_holds_names_with_commas_and_quotes(paths, tmp_path):
    found = predict_photos(colour_model(), paths, LABELS, HEADS, CPU, top=1)
    write_csv(found.table, tmp_path / "new" / "p.csv")
    assert pl.read_csv(tmp_path / "new" / "p.csv").equals(found.table)
    assert found.table.columns == ["path", "rank", "label", "probability"]


def test_what_was_left_out_stands_beside_the_csv(tmp_path):
    path = write_skipped([Skipped(tmp_path / "a, b.png", "torn")], tmp_path / "p.csv")
    assert path == tmp_path / "p.skipped.csv"
    assert pl.read_csv(path).rows() == [(str(tmp_path / "a, b.png"), "torn")]
    write_skipped([], tmp_path / "p.csv")
    assert path.read_text() == "path,reason\n"
