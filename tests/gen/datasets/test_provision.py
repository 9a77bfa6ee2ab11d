"""A study's dataset is rendered when it is not there or not as configured, and else left alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gen.datasets.provision import provide
from gen.datasets.samples import load_dataset
from splits.errors import UserError

TINY = """kind: icons
name: tiny
classes: 2
domains: [real, sketch]
train: 1
test: 1
test_unseen_drawing: 0
pixels: 16
"""


@pytest.fixture
def configured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a rendered dataset, the one that is configured beside an imported one."""
    folder = tmp_path / "configs" / "datasets"
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "trees.yaml").write_text("{name: trees, natural: photo, pixels: 16}")
    for module in ("gen.config", "gen.datasets.making"):
        monkeypatch.setattr(f"{module}.CONFIGS", tmp_path / "configs")
    return folder / "tiny.yaml"


def test_a_dataset_is_rendered_once(configured: Path, tmp_path: Path) -> None:
    assert provide("tiny", tmp_path, workers=1) == "rendered"
    written = (tmp_path / "tiny" / "manifest.json").stat().st_mtime_ns
    assert provide("tiny", tmp_path, workers=1) == "as configured; nothing to do"
    assert (tmp_path / "tiny" / "manifest.json").stat().st_mtime_ns == written


def test_a_changed_configuration_is_rendered_again_and_the_former_dataset_kept(
    configured: Path, tmp_path: Path
) -> None:
    provide("tiny", tmp_path, workers=1)
    before = load_dataset("tiny", tmp_path).sha256
    configured.write_text(TINY.replace("pixels: 16", "pixels: 24"))
    done = provide("tiny", tmp_path, workers=1)
    (former,) = tmp_path.glob("tiny.old-*")
    assert done == f"rendered again, because of pixels 16 → 24; the former one is now {former}"
    assert load_dataset("tiny", tmp_path).pixels == 24
    assert load_dataset(former.name, tmp_path).sha256 == before


def test_another_generator_renders_again(
    configured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    provide("tiny", tmp_path, workers=1)
    monkeypatch.setattr("gen.datasets.icons.build.GENERATOR_VERSION", 99)
    assert "because of generator_version" in provide("tiny", tmp_path, workers=1)
    assert provide("tiny", tmp_path, workers=1) == "as configured; nothing to do"


def test_a_dataset_of_another_schema_is_rendered_again(configured: Path, tmp_path: Path) -> None:
    provide("tiny", tmp_path, workers=1)
    manifest = tmp_path / "tiny" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema_version": 1}))
    assert "because of schema_version" in provide("tiny", tmp_path, workers=1)


def test_what_cannot_be_rendered_is_an_error_with_the_command_that_imports_it(
    configured: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"fix:.*clipgen dataset import trees --from DIR"):
        provide("trees", tmp_path, workers=1)
    with pytest.raises(UserError, match="`nosuch` is unknown"):
        provide("nosuch", tmp_path, workers=1)
    (tmp_path / "trees").mkdir()
    assert provide("trees", tmp_path, workers=1) == "there; nothing to do"


def test_an_impossible_configuration_leaves_what_stands(configured: Path, tmp_path: Path) -> None:
    provide("tiny", tmp_path, workers=1)
    configured.write_text(TINY.replace("sketch", "sketsh"))
    with pytest.raises(UserError, match="`sketsh` is unknown"):
        provide("tiny", tmp_path, workers=1)
    assert load_dataset("tiny", tmp_path).domains == ("real", "sketch")
