"""The state of the code that a run was made with."""

from __future__ import annotations

import subprocess

import pytest

from gen import provenance
from gen.provenance import git_state


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A repository with one committed module; git_state is asked about it."""
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    for name in provenance.CODE:
        (tmp_path / name).mkdir()
    (tmp_path / "gen" / "runs.py").write_text("one = 1\n")
    (tmp_path / ".gitignore").write_text("__pycache__/\n")
    who = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], [*who, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    return tmp_path


def test_clean_code_is_its_commit(clone):
    assert len(git_state()) == 40


def test_changes_and_files_that_git_does_not_know_make_another_state(clone):
    found = [git_state()]
    (clone / "gen" / "runs.py").write_text("one = 2\n")
    found.append(git_state())
    (clone / "splits" / "new.py").write_text("new = 1\n")
    found.append(git_state())
    (clone / "splits" / "new.py").write_text("new = 2\n")
    found.append(git_state())
    (clone / "splits" / "new.py").rename(clone / "splits" / "newer.py")
    found.append(git_state())
    assert len(set(found)) == len(found)
    assert all(state.startswith(f"{found[0]}+changes.") for state in found[1:])


def test_what_a_user_puts_beside_the_code_and_what_git_ignores_is_no_change(clone):
    before = git_state()
    (clone / "my-study.yaml").write_text("name: mine\n")
    (clone / "gen" / "__pycache__").mkdir()
    (clone / "gen" / "__pycache__" / "runs.pyc").write_bytes(b"\0")
    assert git_state() == before


def test_there_is_none_outside_a_clone(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state() == ""
