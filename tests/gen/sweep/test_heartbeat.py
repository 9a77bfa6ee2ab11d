"""A heartbeat tells that somebody works on a run, and only as long as somebody does."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from threading import Event

import pytest

from gen.sweep import heartbeat
from gen.sweep.heartbeat import FRESH, NAME, beating, read_heartbeat, tell_stage
from splits.files import write_json


def plant(folder, host, age):
    content = {"host": host, "pid": 1, "job": "", "stage": "train", "since": "then"}
    write_json(folder / NAME, content)
    os.utime(folder / NAME, (time.time() - age,) * 2)


def test_while_somebody_works_the_heart_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "SECONDS", 0.01)
    with beating(tmp_path):
        os.utime(tmp_path / NAME, (0, 0))
        time.sleep(0.1)
        beat = read_heartbeat(tmp_path)
        assert beat.age < 5
    assert read_heartbeat(tmp_path) is None


def test_a_heartbeat_tells_who_works_and_at_what(tmp_path):
    with beating(tmp_path) as alone:
        assert alone
        assert read_heartbeat(tmp_path).stage == "train"
        tell_stage(tmp_path, "evaluate")
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

    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(heartbeat, "SETTLING", 0)
    monkeypatch.setattr(heartbeat, "write_json", full)
    monkeypatch.setattr(heartbeat.Path, "open", full)
    with beating(tmp_path) as alone:
        assert alone
        tell_stage(tmp_path, "evaluate")
        assert not (tmp_path / NAME).exists()


def test_where_another_machine_works_no_heart_begins_to_beat(tmp_path):
    plant(tmp_path, "other", FRESH / 2)
    with beating(tmp_path) as alone:
        assert not alone
    assert read_heartbeat(tmp_path).host == "other"


@pytest.mark.parametrize(("host", "age"), [("other", 2 * FRESH), (socket.gethostname(), FRESH)])
def test_of_two_machines_that_find_a_dead_heart_one_withdraws(tmp_path, monkeypatch, host, age):
    plant(tmp_path, host, age)

    def replaced_by_other(seconds):
        (tmp_path / NAME).unlink()
        plant(tmp_path, "other", 0)

    monkeypatch.setattr(heartbeat.time, "sleep", replaced_by_other)
    with beating(tmp_path) as alone:
        assert not alone
    assert read_heartbeat(tmp_path).host == "other"


def test_on_one_machine_nobody_waits_for_others(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat.time, "sleep", None)
    for _ in range(2):
        with beating(tmp_path) as alone:
            assert alone
    plant(tmp_path, socket.gethostname(), FRESH / 3)  # killed a moment ago
    with beating(tmp_path) as alone:
        assert alone


def test_who_was_silent_until_another_took_over_is_asked_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(heartbeat, "SECONDS", 0.01)
    asked = Event()
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        with beating(tmp_path):
            plant(tmp_path, "other", 0)
            tell_stage(tmp_path, "evaluate")
            assert asked.wait(5)
    finally:
        signal.signal(signal.SIGTERM, before)
    beat = read_heartbeat(tmp_path)
    assert (beat.host, beat.stage) == ("other", "train")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "a"}'])
def test_a_heartbeat_that_cannot_be_read_is_none(tmp_path, content):
    (tmp_path / NAME).write_text(content)
    assert read_heartbeat(tmp_path) is None
