"""A file is whole or absent, whatever happens while it is written."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections import namedtuple

import pytest

from splits.files import (
    FULL_BYTES,
    first_line,
    is_full_disk,
    replacing,
    text_of,
    write_json,
    write_text,
)

Usage = namedtuple("Usage", "total used free")


def only(folder, *names):
    """Whether these files, and no temporary ones, are in `folder`."""
    return sorted(os.listdir(folder)) == sorted(names)


def fail_half_way(path, error):
    with replacing(path) as temporary:
        temporary.write_text("ne")
        raise error


def test_the_new_content_appears_at_once_when_the_block_ends(tmp_path):
    path = tmp_path / "table"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert only(tmp_path, "table")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_content_and_no_temporary_file(tmp_path, error):
    path = tmp_path / "table"
    path.write_text("old")
    with pytest.raises(error):
        fail_half_way(path, error)
    assert path.read_text() == "old"
    assert only(tmp_path, "table")


def test_an_error_in_a_first_writing_leaves_nothing(tmp_path):
    with pytest.raises(KeyError):
        fail_half_way(tmp_path / "table", KeyError)
    assert only(tmp_path)


def test_the_temporary_file_is_beside_its_place_so_that_renaming_is_atomic(tmp_path):
    with replacing(tmp_path / "a" / "b" / "table") as temporary:
        assert temporary.parent == tmp_path / "a" / "b"


def test_content_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    events = []
    fsync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (events.append("flush"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (events.append("rename"), rename(*paths)))
    write_text(tmp_path / "table", "new")
    assert events == ["flush", "rename", "flush"]  # the file, its name, the folder


def test_any_error_on_a_full_disk_is_told_as_a_full_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, FULL_BYTES - 1))
    with pytest.raises(OSError, match="No space left") as caught, replacing(tmp_path / "table"):
        raise RuntimeError("the writer of some library failed")
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "table")
    assert only(tmp_path)


def test_an_error_on_a_disk_with_room_stays_what_it_is(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(1, 1, FULL_BYTES))
    with pytest.raises(RuntimeError, match="some library"), replacing(tmp_path / "table"):
        raise RuntimeError("the writer of some library failed")


def test_json_is_readable_by_people_and_keeps_letters_as_they_are(tmp_path):
    write_json(tmp_path / "a.json", {"name": "Müller", "list": [1, 2]})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"name": "Müller", "list": [1, 2]}
    assert "Müller" in text
    assert text.endswith("}\n")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_found_behind_the_errors_of_libraries(number):
    full = OSError(number, os.strerror(number))
    assert is_full_disk(full)
    assert is_full_disk(RuntimeError(f"I/O error: {os.strerror(number)} (os error {number})"))
    for further in (RuntimeError("cannot write"), ValueError("torn")):
        further.__cause__ = full
        assert is_full_disk(further)
    hidden = RuntimeError("cannot write")
    hidden.__context__ = full
    assert is_full_disk(hidden)


def test_another_error_is_no_full_disk():
    refused = OSError(errno.EACCES, os.strerror(errno.EACCES))
    further = RuntimeError("cannot write")
    further.__cause__ = refused
    assert not is_full_disk(refused)
    assert not is_full_disk(further)


def test_a_file_that_is_not_there_or_cannot_be_read_has_no_text_and_no_line(tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        assert (text_of(path), first_line(path)) == (None, "")
    write_text(tmp_path / "FAILED", "\nout of memory\n\nTraceback\n")
    assert first_line(tmp_path / "FAILED") == "out of memory"
