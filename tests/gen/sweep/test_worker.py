"""What a worker leaves in a run's folder, whatever becomes of its work. The stages are planted."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread, current_thread
from types import SimpleNamespace

import pytest
from fake_runs import fake_study, put
from filelock import FileLock

from gen import locks
from gen.commands import worker
from gen.commands.worker import Worker, finish, take_open_runs
from gen.locks import claim
from gen.sweep import heartbeat
from gen.sweep.attempts import Outcome, note_start, read_attempts
from gen.sweep.heartbeat import read_heartbeat
from gen.sweep.work import forget_failures, give_up
from splits.errors import UserError

ALONE = SimpleNamespace(size=1, is_first=True, patient=None)
BEAT = {"host": "other", "pid": 1, "job": "", "stage": "train", "since": "then"}


@pytest.fixture
def study(tmp_path):
    """A study of three runs, the last of which takes over the first one's weights."""
    study = fake_study(tmp_path, "a", "b", "c")
    first, second, third = study.runs
    study.runs = (first, second, replace(third, twin=first))
    return study


@pytest.fixture
def stages(monkeypatch):
    """Plants what the stages of a run do, by its name; others come to their end."""
    planted, order = {}, []

    def do_stages(_, run):
        order.append(run.name)
        planted.get(run.name, lambda: None)()
        put(run.final_weights)
        put(run.folder / "run.json")
        put(run.folder / "DONE")

    monkeypatch.setattr(worker, "_do_stages", do_stages)
    return SimpleNamespace(planted=planted, order=order)


def raising(error):
    def stage():
        raise error

    return stage


def outcomes(run):
    return [attempt.outcome for attempt in read_attempts(run.folder)]


def test_runs_are_done_in_order_each_before_those_that_take_over_its_weights(study, stages):
    take_open_runs(Worker(study, ALONE))
    assert stages.order == ["a", "c", "b"]
    assert [outcomes(run) for run in study.runs] == [[Outcome.done]] * 3


def test_a_run_that_fails_is_tried_again_and_stops_no_other(study, stages):
    first, second, _ = study.runs
    stages.planted["b"] = raising(RuntimeError("no luck"))
    take_open_runs(Worker(study, ALONE, retries=2))
    assert first.done
    assert outcomes(second) == [Outcome.failed] * 3
    told = second.failure.read_text()
    assert told.startswith("RuntimeError: no luck\n")
    assert "Traceback" in told


def test_before_the_last_try_nothing_says_that_a_run_failed(study, stages):
    _, second, _ = study.runs
    seen = []

    def fail():
        seen.append(second.failure.exists())
        raise RuntimeError("no luck")

    stages.planted["b"] = fail
    take_open_runs(Worker(study, ALONE, retries=1))
    assert seen == [False, False]
    assert second.failure.exists()


def test_a_mistake_of_the_user_is_not_tried_again(study, stages):
    stages.planted["b"] = raising(UserError("class `zebra` is unknown", fix="take `sebra`"))
    take_open_runs(Worker(study, ALONE, retries=2, fresh=True))
    second = study.runs[1]
    assert outcomes(second) == [Outcome.failed]
    assert second.failure.read_text().startswith("class `zebra` is unknown\n  fix: ")


def test_who_takes_over_the_weights_of_a_run_that_failed_fails_and_says_so(study, stages):
    stages.planted["a"] = raising(RuntimeError("no luck"))
    take_open_runs(Worker(study, ALONE))
    told = "a, whose weights it has, failed: RuntimeError: no luck\n"
    assert study.runs[2].failure.read_text() == told
    assert stages.order == ["a", "b"]


def test_a_fresh_process_follows_one_in_which_something_broke(study, stages):
    stages.planted["a"] = raising(RuntimeError("CUDA error"))
    with pytest.raises(SystemExit, match="a failed: RuntimeError: CUDA error"):
        take_open_runs(Worker(study, ALONE, retries=2, fresh=True))
    assert not study.runs[0].failure.exists()
    assert stages.order == ["a"]


def test_a_run_that_took_its_processes_down_is_not_begun_again(study, stages):
    for _ in range(3):
        note_start(study.runs[0].folder, 0)
    take_open_runs(Worker(study, ALONE, retries=2))
    assert "killed 3 times in a row" in study.runs[0].failure.read_text()
    assert stages.order == ["b"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_no_failure_of_the_run(study, stages, error):
    stages.planted["a"] = raising(error)
    with pytest.raises(OSError, match="No space left") as caught:
        take_open_runs(Worker(study, ALONE))
    assert caught.value.errno == errno.ENOSPC
    assert outcomes(study.runs[0]) == [Outcome.stopped]
    assert not study.runs[0].failure.exists()


def test_a_disk_that_is_full_is_told_by_its_file(study, stages):
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/elsewhere/file")
    stages.planted["a"] = raising(error)
    with pytest.raises(OSError, match="/elsewhere/file"):
        take_open_runs(Worker(study, ALONE))


@pytest.mark.parametrize("error", [SystemExit(75), KeyboardInterrupt()])
def test_a_run_that_is_stopped_has_not_failed(study, stages, error):
    stages.planted["a"] = raising(error)
    with pytest.raises(type(error)):
        take_open_runs(Worker(study, ALONE))
    assert outcomes(study.runs[0]) == [Outcome.stopped]
    assert not study.runs[0].failure.exists()


def test_runs_that_others_hold_are_waited_for(study, stages, monkeypatch):
    held = claim(study.runs[1])
    held.__enter__()
    monkeypatch.setattr(worker.time, "sleep", lambda seconds: held.__exit__(None, None, None))
    take_open_runs(Worker(study, ALONE))
    assert stages.order == ["a", "c", "b"]


def test_a_run_that_beats_on_another_machine_is_left_to_it(study, stages, monkeypatch):
    beat = study.runs[1].folder / heartbeat.NAME
    put(beat, json.dumps(BEAT))
    give_up(study.runs[1], "said by the other")
    forget_failures(study)
    assert study.runs[1].failure.exists()
    study.runs[1].failure.unlink()
    monkeypatch.setattr(worker.time, "sleep", lambda seconds: stages.order.append(beat.unlink()))
    take_open_runs(Worker(study, ALONE))
    assert stages.order == ["a", "c", None, "b"]


def test_while_a_run_is_worked_on_its_heart_beats_from_before_the_first_stage(study, stages):
    beats = []
    stages.planted["b"] = lambda: beats.append(read_heartbeat(study.runs[1].folder))
    take_open_runs(Worker(study, ALONE))
    assert [beat.pid for beat in beats] == [os.getpid()]
    assert read_heartbeat(study.runs[1].folder) is None


def test_of_machines_that_see_no_locks_of_each_other_one_does_a_run(study, stages, monkeypatch):
    run = study.runs[0]
    monkeypatch.setattr(heartbeat.socket, "gethostname", lambda: current_thread().name)
    monkeypatch.setattr(locks, "FileLock", lambda path: FileLock(f"{path}-{current_thread().name}"))
    put(run.folder / heartbeat.NAME, json.dumps(BEAT))  # of a third one, which died
    os.utime(run.folder / heartbeat.NAME, (0, 0))
    monkeypatch.setattr(heartbeat, "SETTLING", 0.3)
    stages.planted["a"] = lambda: time.sleep(0.6)
    found = []
    threads = [
        Thread(target=lambda: found.append(worker._work_on(Worker(study, ALONE), run)), name=name)
        for name in ("here", "there")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stages.order == ["a"]
    assert sorted(found) == [False, True]


def test_stages_that_leave_a_run_undone_are_no_endless_work(study, monkeypatch):
    for stage in ("train", "evaluate", "analyze"):
        monkeypatch.setattr(worker, stage, lambda *_: None)
    take_open_runs(Worker(study, ALONE))
    assert "some of its results are not there" in study.runs[1].failure.read_text()


def test_one_run_is_finished_with_those_that_take_over_its_weights(study, stages):
    finish(Worker(study, ALONE), study.runs[0])
    assert stages.order == ["a", "c"]


def test_of_a_run_whose_weights_another_takes_over_the_training_alone_comes_first(
    study, stages, monkeypatch
):
    trained = []

    def train(_, run):
        trained.append(run.name)
        put(run.final_weights)
        put(run.folder / "run.json")

    monkeypatch.setattr(worker, "train", train)
    finish(Worker(study, ALONE), study.runs[2])
    assert (trained, stages.order) == (["a"], ["c"])


def test_one_run_that_failed_before_is_tried_again_and_its_failure_told(study, stages):
    run = study.runs[1]
    put(run.failure, "earlier")
    stages.planted["b"] = raising(RuntimeError("no luck"))
    with pytest.raises(UserError, match="run b failed: RuntimeError: no luck"):
        finish(Worker(study, ALONE, retries=1), run)
    assert outcomes(run) == [Outcome.failed] * 2


def test_a_job_that_slurm_queues_again_does_not_begin_a_run_without_end(study, stages, monkeypatch):
    monkeypatch.setenv("SLURM_RESTART_COUNT", "3")
    run = study.runs[1]
    for _ in range(3):
        note_start(run.folder, 0)
    with pytest.raises(UserError, match="killed 3 times in a row"):
        finish(Worker(study, ALONE, retries=2), run)
    assert stages.order == []
    monkeypatch.delenv("SLURM_RESTART_COUNT")
    finish(Worker(study, ALONE, retries=2), run)
    assert stages.order == ["b"]


def test_one_run_that_somebody_holds_is_refused(study, stages):
    with claim(study.runs[1]), pytest.raises(UserError, match="held by another process"):
        finish(Worker(study, ALONE), study.runs[1])


SPEAKING = """
import os, sys, warnings
from pathlib import Path
from fake_runs import fake_study, put
from test_worker import ALONE
from gen.commands import worker

def speak(_, run):
    print("in Python")
    os.write(1, b"in C\\n")
    warnings.warn("beware", stacklevel=1)
    if run.name == "b":
        raise RuntimeError("no luck")
    put(run.folder / "DONE")

worker._do_stages = speak
worker.take_open_runs(worker.Worker(fake_study(Path(sys.argv[1]), "a", "b"), ALONE, 1, logs=True))
print("afterwards")
"""


def test_what_is_printed_at_work_goes_to_the_runs_log_and_nowhere_else(tmp_path):
    # in a process of its own: pytest has put streams without descriptors into the places of its own
    told = subprocess.run(
        [sys.executable, "-c", SPEAKING, str(tmp_path), "--an option"],
        env=os.environ | {"PYTHONPATH": f"{Path(__file__).parent}:{Path.cwd()}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "afterwards\n"
    assert [line.split()[0] for line in told.stderr.splitlines()] == [
        f"{tmp_path}/{name}/log.txt:" for name in "abb"
    ]
    for name, attempts in (("a", 1), ("b", 2)):
        log = (tmp_path / name / "log.txt").read_text()
        assert log.splitlines()[0].endswith(f"clipgen {tmp_path} '--an option'")
        for text in ("--an option", "in Python", "in C", "UserWarning: beware"):
            assert log.count(text) == attempts
    assert "RuntimeError: no luck" in log
