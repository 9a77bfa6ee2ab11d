"""Two sweeps of one study, killed at random, on a disk that is full for a while: nothing is lost.

KILLS tells how many are killed (6).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest
from workplace import ONE_THREAD, Workplace

from gen.sweep.attempts import Outcome, read_attempts
from splits.errors import TEMPORARY

KILLS = int(os.environ.get("KILLS", "6"))
STUDY = """
name: chaos
dataset: icons-debug
model: rn-tiny
test_domains: [sketch]
settings: [natural_only, leave_out_domain, cg_low_diversity, cg_high_diversity]
held_out: {count: 3, seed: 0}
seeds: [0, 1, 2]
training: {samples_seen: 1920, batch_size: 64, checkpoint_every: 256, log_every: 5}
evaluation: {prompts: [domain_free], retrieval: false}
"""
SWEEP = ("sweep", "chaos.yaml", "--slots", "1", "--retries", "4")
LATER = ("attempts.jsonl", "heartbeat.json", "log.txt")
"""files that are written after a run is done"""


class Chaos:
    """Two sweeps of a study in one folder, and what befalls them.

    Args:
        workplace: where the study is.
    """

    def __init__(self, workplace: Workplace) -> None:
        self.folder = workplace.folder
        self.troubles = workplace.folder / "troubles"
        self._rng = random.Random(0)
        self._sweeps = [self._start() for _ in range(2)]

    def __enter__(self) -> Chaos:
        return self

    def __exit__(self, *_: object) -> None:
        for pid, _ in self.processes():  # of a test that failed
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def befall(self, number: int) -> None:
        """Kill a sweep or a worker, after a while; the third time the disk is full instead."""
        self._wait_for_writes(self._rng.randrange(150))
        if number == 2:
            (self.troubles / "full").touch()
            time.sleep(10)
            (self.troubles / "full").unlink()
        elif number % 2:
            for worker in self._rng.sample(workers := list(self._workers()), min(1, len(workers))):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
        else:
            which = number // 4 % 2
            self._sweeps[which].kill()  # its worker has to end by itself
            self._sweeps[which].communicate()
            self._sweeps[which] = self._start()

    def end(self) -> Iterator[tuple[int, str]]:
        """Wait for both sweeps; their exit codes and what they told."""
        for sweep in self._sweeps:
            told = sweep.communicate(timeout=1200)[1]
            if sweep.returncode == TEMPORARY:  # it began on a full disk: the same command goes on
                sweep = self._start()
                told = sweep.communicate(timeout=1200)[1]
            yield sweep.returncode, told

    def _wait_for_writes(self, number: int) -> None:
        """Wait until so many files more are written in runs' folders, or all is over."""
        path = self.troubles / "writes"
        end = len(path.read_bytes().splitlines()) + number if path.exists() else number
        while any(sweep.poll() is None for sweep in self._sweeps):
            if path.exists() and len(path.read_bytes().splitlines()) >= end:
                return
            time.sleep(0.02)

    def processes(self) -> Iterator[tuple[int, bytes]]:
        """Processes that live in the folder, with their command lines."""
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink() == self.folder:
                    yield int(entry.name), (entry / "cmdline").read_bytes()

    def _workers(self) -> Iterator[int]:
        return (pid for pid, command in self.processes() if b"--slot\0" in command)

    def _start(self) -> subprocess.Popen:
        here = Path(__file__).parent
        troubled = {"TROUBLES": str(self.troubles), "PYTHONPATH": str(here / "troubles")}
        return subprocess.Popen(
            [sys.executable, "-m", "gen.cli", *SWEEP],
            cwd=self.folder,
            env=os.environ | ONE_THREAD | troubled,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )


@pytest.fixture
def undisturbed(dataset_only: Workplace, tmp_path: Path) -> Workplace:
    """The study, swept once in one slot."""
    return swept_in(dataset_only, tmp_path / "undisturbed")


def swept_in(dataset_only: Workplace, folder: Path, *, sweep: bool = True) -> Workplace:
    """A folder with the study and its dataset."""
    folder.mkdir()
    (folder / "data").symlink_to(dataset_only.folder / "data")
    (folder / "chaos.yaml").write_text(STUDY, encoding="utf-8")
    workplace = Workplace(folder)
    if sweep:
        workplace.clipgen(*SWEEP)
    return workplace


@pytest.mark.slow
def test_two_sweeps_in_every_kind_of_trouble_do_every_run_once(
    dataset_only: Workplace, undisturbed: Workplace, tmp_path: Path
) -> None:
    expected = weights(undisturbed)
    assert len(expected) == 12
    unlucky = next(name for name in sorted(expected) if "-s1-" in name)
    workplace = swept_in(dataset_only, tmp_path / "chaos", sweep=False)
    (workplace.folder / "troubles").mkdir()
    (workplace.folder / "troubles" / "unlucky").write_text(unlucky)
    with Chaos(workplace) as chaos:
        for number in range(KILLS + 1):
            chaos.befall(number)
        for code, told in chaos.end():
            assert code == 2, told
            assert "1 of 12 runs are not finished" in told
            assert f"{unlucky}: RuntimeError: no luck at all" in told
        assert not list(chaos.processes())
    assert weights(workplace) == {n: w for n, w in expected.items() if n != unlucky}
    assert states(workplace) == {n: "failed" if n == unlucky else "done" for n in expected}
    for name in expected:
        folder = workplace.folder / "runs" / "chaos" / name
        check_attempts(folder, done=name != unlucky)
        check_writes(chaos.troubles / "writes", name, done=name != unlucky)


def check_attempts(folder: Path, *, done: bool) -> None:
    """What was learned is never learned again, and what is done stays so."""
    attempts = read_attempts(folder)
    seen = [attempt.samples_seen for attempt in attempts]
    assert seen == sorted(seen)
    outcomes = [attempt.outcome for attempt in attempts]
    assert Outcome.done not in outcomes[:-1]
    if done:
        assert Outcome.failed not in outcomes
    else:
        assert len(outcomes) >= 5
        assert set(outcomes[-5:]) <= {Outcome.failed, Outcome.killed}
        assert outcomes[-1] is Outcome.failed


def check_writes(path: Path, name: str, *, done: bool) -> None:
    """No two processes ever worked on a run at a time, and none did after it was done."""
    lines = [line.split() for line in path.read_text().splitlines()]
    writes = [(pid, file) for pid, run, file in lines if run == name]
    in_turn = [pid for pid, _ in groupby(pid for pid, _ in writes)]
    assert len(in_turn) == len(set(in_turn)), writes
    marks = [place for place, (_, file) in enumerate(writes) if file.startswith(".DONE")]
    assert bool(marks) == done
    for mark in marks[-1:]:
        assert {file for _, file in writes[mark + 1 :]} <= set(LATER)


def weights(workplace: Workplace) -> dict[str, str]:
    """Hash of the final weights of every run that has some."""
    paths = workplace.folder.glob("runs/chaos/*/checkpoints/final.safetensors")
    return {path.parts[-3]: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def states(workplace: Workplace) -> dict[str, str]:
    told = json.loads(workplace.clipgen("status", "chaos.yaml", "--json"))
    return {run["run"]: run["state"] for run in told["runs"]}
