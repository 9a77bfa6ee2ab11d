"""A heartbeat tells that somebody works on a run, and only as long as somebody does."""

from __future__ import annotations

import errno
import os
import socket
import time

import pytest

from gen.sweep import heartbeat
from gen.sweep.heartbeat import FRESH, NAME, beating, read_heartbeat
from splits.files import write_json


def plant(folder, host, age):
    content = {"host": host, "pid": 1, "job": "", "stage": "train", "since": "then"}
    write_json(folder / NAME, content)
    os.utime(folder / NAME, (time.time() - age,) * 2)


def test_while_somebody_works_the_heart_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "SECONDS", 0.01)
    with beating(tmp_path, "evaluate"):
        plant(tmp_path, socket.gethostname(), 1000)
        time.sleep(0.1)
        beat = read_heartbeat(tmp_path)
        assert beat.age < 5
    assert read_heartbeat(tmp_path) is None


def test_a_heartbeat_tells_who_works_and_at_what(tmp_path):
    with beating(tmp_path, "evaluate"):
        beat = read_heartbeat(tmp_path)
    assert (beat.host, beat.pid, beat.stage) == (socket.gethostname(), os.getpid(), "evaluate")
    assert not beat.is_elsewhere


def test_only_a_fresh_beat_of_another_machine_is_somebody_elsewhere(tmp_path):
    for host, age, elsewhere in [
        ("other", FRESH / 2, True),
        ("other", FRESH * 2, False),
        (socket.gethostname(), FRESH / 2, False),
    ]:
        plant(tmp_path, host, age)
        assert read_heartbeat(tmp_path).is_elsewhere == elsewhere


def test_a_full_disk_stops_no_run_and_lets_no_dead_heart_beat_on(tmp_path, monkeypatch):
    plant(tmp_path, "dead", 1000)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(heartbeat, "write_json", full)
    with beating(tmp_path, "train"):
        assert read_heartbeat(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "a"}'])
def test_a_heartbeat_that_cannot_be_read_is_none(tmp_path, content):
    (tmp_path / NAME).write_text(content)
    assert read_heartbeat(tmp_path) is None
