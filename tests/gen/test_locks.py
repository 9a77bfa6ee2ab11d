"""Who holds a run, and what a look at its lock tells."""

from __future__ import annotations

import errno
import fcntl
import os
from threading import Timer
from types import SimpleNamespace

import pytest
from filelock import FileLock

from gen import locks
from gen.locks import claim, lock_is_held
from gen.sweep.queue import announced
from splits.errors import UserError


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(UserError, match="cannot be locked") as caught,
        claim(SimpleNamespace(folder=tmp_path / "r")),
    ):
        pass
    assert str(tmp_path / "r") in str(caught.value)
    with pytest.raises(UserError, match="cannot be locked"), announced(tmp_path, ["r"]):
        pass


def test_a_lock_is_held_as_long_as_its_owner_wants(tmp_path):
    one = SimpleNamespace(folder=tmp_path / "r")
    path = one.folder / "lock"
    assert not lock_is_held(path)  # nobody made it yet, and nobody does by looking
    assert not path.exists()
    with claim(one) as mine:
        assert mine
        assert lock_is_held(path)
    assert not lock_is_held(path)


def test_a_run_that_is_held_is_not_claimed_again(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "LOOK_SECONDS", 0.05)
    one = SimpleNamespace(folder=tmp_path / "r")
    with claim(one), claim(one) as mine:
        assert not mine
    with claim(one) as mine:
        assert mine


def test_a_look_at_the_lock_keeps_nobody_from_claiming(tmp_path):
    one = SimpleNamespace(folder=tmp_path / "r")
    one.folder.mkdir()
    looking = FileLock(one.folder / "lock", thread_local=False)
    looking.acquire()
    Timer(0.1, looking.release).start()
    with claim(one) as mine:
        assert mine
