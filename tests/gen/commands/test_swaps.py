"""`clipgen swaps` reads a list, embeds it, and tells the scores with intervals and chance."""

from __future__ import annotations

import csv
import json

import pytest
import torch
from PIL import Image
from torch import nn

import gen.commands.swaps as swaps
from gen.cli import main
from gen.models.trained import Learner
from gen.use.models import UsedModel

MODEL = ("--model", "planted")


class ColourWords(nn.Module):
    """Embeds an image by its mean colour, and a text by the colours that it names."""

    def encode_image(self, images):
        return images.mean(dim=(2, 3))

    def encode_text(self, tokens):
        return tokens


class Words:
    def encode(self, texts):
        return torch.tensor(
            [[2.0 * (name in t) - 1 for name in ("red", "lime")] + [-1.0] for t in texts]
        )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    model = UsedModel("planted", Learner(ColourWords(), Words(), pixels=8), {})
    monkeypatch.setattr(swaps, "used_model", lambda options: model)
    for name in ("red", "lime"):
        Image.new("RGB", (8, 8), name).save(tmp_path / f"{name}.png")
    return tmp_path


def listed(folder, entries):
    (folder / "list.json").write_text(json.dumps(entries))
    return str(folder / "list.json")


def test_scores_are_told_with_chance_and_count(folder, capsys):
    entries = [
        {"image": "red.png", "caption": "red", "negatives": ["lime"]},
        {"image": "lime.png", "caption": "red", "negatives": ["lime"]},
    ]
    assert main(["swaps", listed(folder, entries), *MODEL]) == 0
    told = capsys.readouterr().out
    assert "caption" in told
    assert told.count("50.0%") == 2
    assert "2 entries, by planted" in told
    assert "bag" not in told


def test_scores_are_written_as_a_table(folder, capsys):
    entry = {"image_0": "red.png", "image_1": "lime.png", "caption_0": "red", "caption_1": "lime"}
    path = folder / "scores.csv"
    assert main(["swaps", listed(folder, [entry]), *MODEL, "--csv", str(path)]) == 0
    with path.open() as file:
        rows = {row["score"]: row for row in csv.DictReader(file)}
    assert [float(rows[name]["value"]) for name in ("text", "image", "group")] == [1, 1, 1]
    assert float(rows["group"]["lo"]) < 0.5


def test_mistakes_in_the_list_end_with_code_2(folder, capsys):
    entry = {"image": "none.png", "caption": "red", "negatives": ["lime"]}
    assert main(["swaps", listed(folder, [entry]), *MODEL]) == 2
    assert "--images" in capsys.readouterr().err


def test_a_model_whose_embeddings_are_not_finite_ends_with_code_2(folder, capsys, monkeypatch):
    monkeypatch.setattr(ColourWords, "encode_text", lambda self, tokens: tokens * torch.nan)
    entry = {"image": "red.png", "caption": "red", "negatives": ["lime"]}
    assert main(["swaps", listed(folder, [entry]), *MODEL]) == 2
    told = capsys.readouterr()
    assert "red.png and caption 'red' is nan" in told.err
    assert "%" not in told.out
