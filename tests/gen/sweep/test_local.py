"""A sweep on this machine: workers are started, missed, replaced, and asked to end.

The workers here are a few lines that import nothing: what is tested is who starts them and when.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from itertools import chain, repeat

import pytest
from fake_runs import fake_study

from gen.sweep import local, slots, workers
from gen.sweep.local import run_sweep
from gen.sweep.queue import queued
from splits.errors import Stopped, UserError

WORKER = """
import json, os, signal, sys, time
from pathlib import Path
study, plan = Path(sys.argv[1]), sys.argv[2].split(",")
with (study / "starts").open("a") as file:
    file.write(f"{os.getpid()} {os.getsid(0)}\\n")
start = len((study / "starts").read_text().splitlines())
def note(**row):
    with (study / "a" / "attempts.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\\n")
def begin():
    note(started="now")
def stop():
    note(ended="now", outcome="stopped")
def report():
    print("error: no room\\n  where:    /here\\n  fix:      make some")
    print("W1122 01:32:54.239000 8113 torch/distributed/api.py:1028] Sending process 8126 closing")
    print("error: cannot write\\n  where:    /here")
    print("E1122 01:32:54.241000 8113 torch/distributed/api.py:1002] failed (exitcode: 75) local")
    print("Traceback\\n=====")
def finish():
    for name in ("a", "b"):
        (study / name / "DONE").touch()
def give_up():
    (study / "a" / "FAILED").write_text("bad luck")
    (study / "b" / "DONE").touch()
def wait():
    sys.stdin.read()
def signal_scheduler(number):
    os.kill(os.getppid(), number)
    sys.stdin.read()
    (study / "state").touch()
for act in plan[min(start, len(plan)) - 1].split("+"):
    if act.isdigit():
        print("last words")
        sys.exit(int(act))
    elif act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif act == "interrupt":
        signal_scheduler(signal.SIGINT)
    elif act == "terminate":
        signal_scheduler(signal.SIGTERM)
    elif act == "hang":
        for _ in range(2):
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(0.2)
        time.sleep(60)
        (study / "survived").touch()
    else:
        globals()[act]()
"""


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study of two new runs, and a scheduler without patience."""
    monkeypatch.setattr(local, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(local, "PAUSES", (0.0,))
    monkeypatch.setattr(workers, "LONGEST_PAUSE", 0.0)
    monkeypatch.setattr(local, "samples_done", lambda run: 0)
    (tmp_path / "worker.py").write_text(WORKER)
    study = fake_study(tmp_path, "a", "b")
    for run in study.runs:
        run.folder.mkdir()
    return study


def sweep(study, plan, slots=1):
    """Sweep with workers that do one entry of a plan each, the last one again and again."""
    command = [sys.executable, "-S", "-E", str(study.folder / "worker.py"), str(study.folder), plan]
    run_sweep(study, command, slots=slots)


def starts(study):
    return [tuple(map(int, line.split())) for line in (study.folder / "starts").open()]


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_that_finishes_everything_is_started_once(study):
    sweep(study, "begin+finish")
    assert len(starts(study)) == 1
    sweep(study, "kill")  # nothing is left to do
    assert len(starts(study)) == 1


def test_there_are_no_more_workers_than_runs(study):
    sweep(study, "finish", slots=8)
    assert len(starts(study)) <= 2


def test_a_worker_that_dies_at_work_is_replaced(study):
    sweep(study, "begin+kill,begin+1,begin+kill,begin+1,begin+kill,begin+finish")
    assert len(starts(study)) == 6


def test_workers_that_die_before_they_begin_a_run_end_the_sweep_with_their_last_words(
    study, capsys
):
    with pytest.raises(UserError, match="last words") as caught:
        sweep(study, "1")
    assert len(starts(study)) == workers.MOST_DEATHS
    assert "2 of 2 runs are not finished" in str(caught.value)
    assert "slot-0.log: its workers died before they began a run" in str(caught.value)
    told = [line for line in capsys.readouterr().err.splitlines() if "its worker ended" in line]
    another = "slot-0: its worker ended with code 1 (last words); another one follows"
    assert told == [another, another, another.replace("another one follows", "no other follows")]


def test_a_worker_that_begins_a_run_clears_its_seat_of_earlier_deaths(study):
    sweep(study, "1,1,begin+1,1,1,finish")
    assert len(starts(study)) == 6


def test_no_worker_follows_where_nothing_is_left_that_is_not_given_up(study):
    with pytest.raises(UserError, match="1 of 2 runs are not finished\n    a: bad luck"):
        sweep(study, "begin+give_up+1")
    assert len(starts(study)) == 1


def test_the_open_runs_are_queued_while_a_sweep_goes_on(study, monkeypatch):
    seen = []
    monkeypatch.setattr(local._Shown, "renew", lambda self: seen.append(queued(study.folder)))
    sweep(study, "begin+finish")
    assert set(seen[0]) == {"a", "b"}
    assert queued(study.folder) == {}


@pytest.mark.parametrize("code", ["75", "120"])
def test_a_full_disk_is_told_once_and_waited_for(study, monkeypatch, capsys, code):
    room = chain([False] * 4, repeat(True))
    monkeypatch.setattr(local, "has_room", lambda folder: next(room))
    sweep(study, f"begin+{code},begin+finish")
    assert len(starts(study)) == 2
    told = capsys.readouterr().err
    assert told.count(f"the disk of {study.folder} is full: waiting until there is room") == 1


def test_a_disk_that_stays_full_ends_the_sweep(study, monkeypatch):
    monkeypatch.setattr(local, "has_room", lambda folder: False)
    monkeypatch.setattr(local, "PATIENCE", 0.05)
    with pytest.raises(OSError, match="No space left") as caught:
        sweep(study, "begin+75")
    assert caught.value.errno == errno.ENOSPC
    assert len(starts(study)) == 1


def test_a_worker_that_was_asked_to_end_by_others_is_replaced(study, capsys):
    sweep(study, "begin+75,begin+finish")
    assert len(starts(study)) == 2
    assert "slot-0 stopped, and goes on: last words" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("act", "error"), [("interrupt", KeyboardInterrupt), ("terminate", Stopped)]
)
def test_a_sweep_that_is_asked_to_end_waits_for_its_workers(study, capsys, act, error):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(error):
        sweep(study, f"begin+{act}")
    assert (study.folder / "state").exists()
    ((pid, session),) = starts(study)
    assert session == pid  # Ctrl-C at a terminal does not reach it
    assert not is_alive(pid)
    assert "stopping: 1 worker writes what is not written yet" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) == before


def test_a_worker_that_torchrun_started_is_known_to_be_stopped_by_what_it_left(
    study, monkeypatch, capsys
):
    shared = slots.Slot(0, {}, processes=2)
    monkeypatch.setattr(slots.Slot, "command", lambda self, command: list(command))
    monkeypatch.setattr(local, "slots_here", lambda *_, **__: [shared])
    sweep(study, "begin+stop+report+1,begin+report+1,begin+finish")
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("slot-0")]
    assert told == [
        "slot-0 stopped, and goes on: error: cannot write; where:    /here",
        "slot-0: its worker ended with code 1 (error: cannot write; where:    /here); "
        "another one follows",
    ]


def test_workers_that_stop_on_a_disk_with_room_do_not_end_the_sweep_as_a_full_disk(
    study, monkeypatch
):
    monkeypatch.setattr(local, "PATIENCE", 0.2)
    with pytest.raises(Stopped, match="no run got further for 0 minutes: last words"):
        sweep(study, "begin+75")


def test_slots_without_work_are_not_counted(study, monkeypatch):
    asked = []

    def slots_here(resources, wanted, most):
        asked.append((wanted, most))
        return [slots.Slot(0, {})]

    monkeypatch.setattr(local, "slots_here", slots_here)
    sweep(study, "finish", slots=8)
    assert asked == [(8, 2)]


def test_a_second_interrupt_ends_workers_at_once(study):
    with pytest.raises(KeyboardInterrupt):
        sweep(study, "begin+hang")
    assert not (study.folder / "survived").exists()
    ((pid, _),) = starts(study)
    assert not is_alive(pid)


def test_an_error_of_the_scheduler_leaves_no_worker_behind(study, monkeypatch):
    def stumble(self):
        if (study.folder / "starts").exists():
            raise ValueError("stumbled")

    monkeypatch.setattr(local._Shown, "renew", stumble)
    with pytest.raises(ValueError, match="stumbled"):
        sweep(study, "wait")
    assert not is_alive(starts(study)[0][0])


def test_a_run_that_was_seen_done_is_not_asked_again(study, monkeypatch):
    asked = []
    done = type(study.runs[0]).done.fget
    monkeypatch.setattr(
        type(study.runs[0]), "done", property(lambda run: asked.append(run.name) or done(run))
    )
    (study.runs[0].folder / "DONE").touch()
    shown = local._Shown(study)
    for _ in range(3):
        shown.renew()
    assert asked.count("a") == 1
    assert asked.count("b") == 3


def test_a_folder_has_room_where_a_file_can_be_written(tmp_path, monkeypatch):
    assert local.has_room(tmp_path)
    assert not list(tmp_path.iterdir())

    def full(descriptor):
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "fsync", full)
    assert not local.has_room(tmp_path)
    assert not list(tmp_path.iterdir())
