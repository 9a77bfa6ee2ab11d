"""What is exported, and what is refused before anything is written."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from gen.evaluation.exporting import _replaced, export_run
from gen.evaluation.test_sets import set_name
from gen.schema import ModelKind, PretrainedConfig
from splits.errors import UserError


def run(kind=ModelKind.clip, pretrained=None, trained=True):
    return SimpleNamespace(
        name="r",
        folder="runs/s/r",
        pretrained=pretrained,
        model=SimpleNamespace(kind=kind),
        trained=trained,
    )


@pytest.mark.parametrize(
    ("refused", "found"),
    [
        (run(ModelKind.classifier), "is a classifier"),
        (run(pretrained=PretrainedConfig("ViT-B-32", "openai")), "is a pretrained model"),
        (run(trained=False), "is not trained"),
    ],
)
def test_a_run_that_nobody_else_could_score_is_refused(refused, found, tmp_path):
    with pytest.raises(UserError, match=found):
        export_run(refused, None, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["notes.txt", "export.json"])
def test_a_folder_with_anything_else_stays_as_it_is(content, tmp_path):
    (tmp_path / content).write_text("{}")
    with pytest.raises(UserError, match="is no export"):
        export_run(run(), None, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [content]


def test_the_folder_that_one_is_in_can_be_named(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    with _replaced(Path(".")) as new:
        (new / "export.json").write_text('{"checkpoint": "a"}')
    assert [path.name for path in here.iterdir()] == ["export.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize("place", [".", "/"])
def test_a_folder_that_is_no_export_is_refused_however_it_is_named(place, tmp_path, monkeypatch):
    (tmp_path / "notes.txt").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="is no export"), _replaced(Path(place)):
        pass


def test_a_link_to_an_export_stays_one(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    with _replaced(link) as new:
        (new / "export.json").touch()
    assert link.is_symlink()
    assert (tmp_path / "real" / "export.json").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"real", "link"}


def test_an_export_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    folder, rename = tmp_path / "out", Path.rename
    folder.mkdir()
    (folder / "export.json").write_text('{"checkpoint": "old"}')

    def refuse(path, target):
        if path.name.endswith(".new"):
            raise OSError("no space")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="no space"), _replaced(folder):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert "old" in (folder / "export.json").read_text()


def test_split_test_goes_without_saying():
    assert set_name("sketch", "test") == "sketch"
    assert set_name("sketch", "test_unseen_drawing") == "sketch.test_unseen_drawing"
