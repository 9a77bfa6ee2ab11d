"""What a machine offers to a process, and to each of several."""

from __future__ import annotations

import os

import pytest

from gen import machine
from gen.machine import GPUS_VARIABLE, SLOTS_VARIABLE, available_memory, cores, visible_gpus

LISTED = """\
GPU 0: NVIDIA H200 (UUID: GPU-aa)
GPU 1: NVIDIA H200 (UUID: GPU-bb)
  MIG 3g.71gb     Device  0: (UUID: MIG-cc)
  MIG 3g.71gb     Device  1: (UUID: MIG-dd)
GPU 2: NVIDIA H200 (UUID: GPU-ee)
"""


def test_available_memory_is_between_nothing_and_a_lot(monkeypatch):
    monkeypatch.delenv(SLOTS_VARIABLE, raising=False)
    assert 2**20 < available_memory() < 2**50


def test_slots_that_share_a_machine_have_a_share_of_it_each(monkeypatch):
    monkeypatch.setenv(SLOTS_VARIABLE, "1")
    alone = available_memory()
    monkeypatch.setenv(SLOTS_VARIABLE, "8")
    assert available_memory() == pytest.approx(alone / 8, rel=0.2)  # others come and go
    assert cores() == max(1, len(os.sched_getaffinity(0)) // 8)


def test_a_gpu_that_is_cut_into_parts_is_its_parts():
    assert machine.listed_gpus(LISTED) == ["GPU-aa", "MIG-cc", "MIG-dd", "GPU-ee"]
    assert machine.listed_gpus("No devices found.") == []


@pytest.mark.parametrize(
    ("told", "names"),
    [("2, 0", ["2", "0"]), ("", []), ("-1", []), ("1,-1,0", ["1"]), ("GPU-aa", ["GPU-aa"])],
)
def test_what_the_environment_tells_of_gpus_counts(monkeypatch, told, names):
    monkeypatch.setattr(machine, "version", lambda package: "2.8.0")
    monkeypatch.setenv(GPUS_VARIABLE, told)
    assert visible_gpus() == names


def test_a_torch_for_processors_sees_no_gpu(monkeypatch):
    monkeypatch.setattr(machine, "version", lambda package: "2.8.0+cpu")
    monkeypatch.setenv(GPUS_VARIABLE, "0,1")
    assert visible_gpus() == []


def test_without_an_environment_the_driver_is_asked(monkeypatch, tmp_path):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{LISTED}E\n")
    program.chmod(0o755)
    monkeypatch.setattr(machine, "version", lambda package: "2.8.0")
    monkeypatch.delenv(GPUS_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert visible_gpus() == ["GPU-aa", "MIG-cc", "MIG-dd", "GPU-ee"]
