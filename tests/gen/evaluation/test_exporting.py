"""What is exported, and what is refused before anything is written."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gen.evaluation.exporting import export_run
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


def test_split_test_goes_without_saying():
    assert set_name("sketch", "test") == "sketch"
    assert set_name("sketch", "test_unseen_drawing") == "sketch.test_unseen_drawing"
