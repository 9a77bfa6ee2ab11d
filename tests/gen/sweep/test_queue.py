"""Which runs somebody is going to do: as long as that somebody lives."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from gen.sweep.queue import FOLDER, announce_jobs, announced, queued

SWEEP = """
import sys
from pathlib import Path
from gen.sweep.queue import announced
with announced(Path(sys.argv[1]), ["a", "b"]):
    print("announced", flush=True)
    sys.stdin.read()
"""


def start_sweep(folder):
    """Another process that announces two runs, and waits."""
    command = [sys.executable, "-c", SWEEP, str(folder)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, **pipes)
    assert process.stdout.readline() == "announced\n"
    return process


def test_the_runs_of_a_sweep_are_queued_while_it_lives(tmp_path):
    by = f"sweep {os.getpid()} on {socket.gethostname()}"
    with announced(tmp_path, ["a", "b"]):
        assert queued(tmp_path) == {"a": by, "b": by}
    assert queued(tmp_path) == {}
    assert not list((tmp_path / FOLDER).iterdir())


def test_a_sweep_that_is_interrupted_takes_its_announcement_back(tmp_path):
    with pytest.raises(KeyboardInterrupt), announced(tmp_path, ["a"]):
        raise KeyboardInterrupt
    assert not list((tmp_path / FOLDER).iterdir())


def test_a_sweep_that_was_killed_queues_nothing_and_the_next_one_cleans_up(tmp_path):
    process = start_sweep(tmp_path)
    assert set(queued(tmp_path)) == {"a", "b"}
    process.kill()
    process.wait()
    assert queued(tmp_path) == {}
    with announced(tmp_path, ["c"]):
        assert set(queued(tmp_path)) == {"c"}
    assert not list((tmp_path / FOLDER).iterdir())


def test_a_sweep_leaves_the_announcement_of_another_alone(tmp_path):
    process = start_sweep(tmp_path)
    with announced(tmp_path, ["c"]):
        assert set(queued(tmp_path)) == {"a", "b", "c"}
    assert set(queued(tmp_path)) == {"a", "b"}
    process.communicate("")
    assert queued(tmp_path) == {}


def test_a_job_of_slurm_queues_its_run_until_it_has_ended(tmp_path):
    announce_jobs(tmp_path, {"a": "12_0", "b": "12_1"}, "slurm/{job}.ended")
    assert queued(tmp_path) == {"a": "Slurm job 12_0", "b": "Slurm job 12_1"}
    (tmp_path / "slurm").mkdir()
    (tmp_path / "slurm" / "12_0.ended").touch()
    assert queued(tmp_path) == {"b": "Slurm job 12_1"}


def test_an_announcement_that_cannot_be_read_queues_nothing(tmp_path):
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "half.json").write_text('{"by": "sw')
    assert queued(tmp_path) == {}
