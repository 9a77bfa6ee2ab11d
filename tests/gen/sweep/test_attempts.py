"""attempts.jsonl tells who worked on a run and how it went, whatever cut it off."""

from __future__ import annotations

import os
import socket

import pytest

from gen.sweep import attempts
from gen.sweep.attempts import (
    Outcome,
    failures_in_a_row,
    forgive,
    note_end,
    note_start,
    read_attempts,
    slurm_job,
    tally,
)


def try_run(folder, seen, outcome):
    note_start(folder, seen)
    if outcome is not Outcome.killed:
        note_end(folder, outcome, "why" if outcome is Outcome.failed else "")


def test_an_attempt_tells_who_worked_from_where_and_how_it_ended(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    try_run(tmp_path, 640, Outcome.failed)
    (attempt,) = read_attempts(tmp_path)
    assert (attempt.host, attempt.pid, attempt.job) == (socket.gethostname(), os.getpid(), "12")
    assert (attempt.samples_seen, attempt.outcome, attempt.error) == (640, Outcome.failed, "why")
    assert attempt.started <= attempt.ended


def test_a_job_of_an_array_has_the_arrays_number(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "14")
    monkeypatch.setenv("SLURM_ARRAY_JOB_ID", "12")
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "2")
    assert slurm_job() == "12_2"


def test_an_attempt_without_an_end_was_killed(tmp_path):
    try_run(tmp_path, 0, Outcome.killed)
    try_run(tmp_path, 0, Outcome.done)
    assert [a.outcome for a in read_attempts(tmp_path)] == [Outcome.killed, Outcome.done]


def test_a_line_cut_off_by_a_kill_spoils_no_other(tmp_path):
    try_run(tmp_path, 0, Outcome.done)
    path = tmp_path / attempts.ATTEMPTS
    path.write_bytes(path.read_bytes() + b'{"started": "20')
    try_run(tmp_path, 64, Outcome.done)
    assert [a.samples_seen for a in read_attempts(tmp_path)] == [0, 64]


FAILED, KILLED, STOPPED = Outcome.failed, Outcome.killed, Outcome.stopped


@pytest.mark.parametrize(
    ("tries", "count"),
    [
        ([], 0),
        ([(0, FAILED), (0, KILLED), (0, FAILED)], 3),
        ([(0, FAILED), (0, FAILED), (640, FAILED)], 1),
        ([(0, KILLED), (640, KILLED), (640, KILLED)], 2),
        ([(0, FAILED), (0, STOPPED), (0, FAILED)], 1),
        ([(0, FAILED), (0, Outcome.done)], 0),
        ([(640, FAILED), (0, FAILED), (64, FAILED), (128, KILLED)], 1),
        ([(0, FAILED), (640, STOPPED), (640, FAILED), (640, FAILED)], 2),
    ],
)
def test_failures_count_until_a_run_gets_further(tmp_path, tries, count):
    for seen, outcome in tries:
        try_run(tmp_path, seen, outcome)
    assert failures_in_a_row(tmp_path) == count


def test_what_is_forgiven_counts_no_more_but_is_still_told(tmp_path):
    forgive(tmp_path)
    assert not list(tmp_path.iterdir())
    try_run(tmp_path, 0, FAILED)
    forgive(tmp_path)
    assert failures_in_a_row(tmp_path) == 0
    try_run(tmp_path, 0, FAILED)
    assert failures_in_a_row(tmp_path) == 1
    assert len(read_attempts(tmp_path)) == 2


def test_steps_ahead_count_from_the_last_forgiveness(tmp_path):
    try_run(tmp_path, 96000, KILLED)
    forgive(tmp_path)
    for seen in (0, 1000, 2000):  # its states were deleted
        try_run(tmp_path, seen, KILLED)
    assert failures_in_a_row(tmp_path) == 1


def test_a_tally_knows_who_began_and_who_stopped(tmp_path):
    for name, outcome in (("a", FAILED), ("a", STOPPED), ("b", STOPPED), ("b", KILLED)):
        try_run(tmp_path / name, 0, outcome)
    assert tally([tmp_path / "a", tmp_path / "b", tmp_path / "new"]) == (4, 2)


def test_a_line_that_fits_only_in_part_is_an_error(tmp_path, monkeypatch):
    class Full:
        def __init__(self, *_, **__):
            pass

        __enter__ = __init__

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(Full, "__enter__", lambda self: self)
    monkeypatch.setattr(Full, "write", lambda self, line: len(line) - 1, raising=False)
    monkeypatch.setattr(attempts.Path, "open", Full)
    with pytest.raises(OSError, match="No space left"):
        note_start(tmp_path, 0)
