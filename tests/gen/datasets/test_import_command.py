"""The commands on datasets, as they are typed."""

from __future__ import annotations

import pytest
from image_trees import CLASSES, DOMAINS, NOUNS, write_tree

from gen import cli


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A tree of 30 images. Not to be changed."""
    folder = tmp_path_factory.mktemp("tree")
    write_tree(folder, DOMAINS, CLASSES, 5)
    return folder


def test_the_command_imports_and_prints_what_it_made(root, tmp_path, capsys):
    arguments = ["dataset", "import", "mine", "--from", str(root), "--data", str(tmp_path)]
    nouns = [f"nouns.{domain}=[{','.join(words)}]" for domain, words in NOUNS.items()]
    assert cli.main([*arguments, "--workers", "1", "natural=photo", "pixels=8", *nouns]) == 0
    out = capsys.readouterr().out
    assert "30 samples (6 test, 24 train), 2 domains × 3 classes" in out
    assert "nothing done" not in out
    assert cli.main([*arguments, "natural=photo", "pixels=8", *nouns]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "was imported already; nothing done"
    assert cli.main(["dataset", "verify", "mine", "--data", str(tmp_path)]) == 0
    assert cli.main(["dataset", "show", "mine", "--data", str(tmp_path)]) == 0
    (tmp_path / "mine" / "samples.parquet").unlink()
    assert cli.main(["dataset", "verify", "mine", "--data", str(tmp_path)]) == 2
    assert "clipgen dataset import mine --from DIR" in capsys.readouterr().err


def test_the_command_tells_mistakes_in_the_users_words(root, tmp_path, capsys):
    assert cli.main(["dataset", "import", "mine", "--from", str(root)]) == 2
    assert "a new one has no natural" in capsys.readouterr().err
    assert cli.main(["dataset", "build", "pacs", "--data", str(tmp_path)]) == 2
    assert "clipgen dataset import pacs --from DIR" in capsys.readouterr().err
