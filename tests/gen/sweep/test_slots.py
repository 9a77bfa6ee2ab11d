"""What a slot of a sweep gets of the machine."""

from __future__ import annotations

import pytest

from gen.machine import GPUS_VARIABLE, SLOTS_VARIABLE
from gen.schema import ResourcesConfig
from gen.sweep import slots
from gen.sweep.slots import slots_here
from splits.errors import UserError


@pytest.fixture
def machine(monkeypatch):
    """Sets cores and GPUs of the machine."""

    def offers(cores, *gpus):
        monkeypatch.setattr(slots, "cores", lambda: cores)
        monkeypatch.setattr(slots, "visible_gpus", lambda: list(gpus))

    return offers


def gpus_of(found):
    return [slot.environment[GPUS_VARIABLE] for slot in found]


@pytest.mark.parametrize(("cores", "cpus", "count"), [(8, 1, 8), (8, 3, 2), (2, 4, 1)])
def test_without_gpus_there_is_a_slot_per_so_many_cores(machine, cores, cpus, count):
    machine(cores)
    found = slots_here(ResourcesConfig(cpus=cpus))
    assert len(found) == count
    for slot in found:
        assert slot.environment["OMP_NUM_THREADS"] == str(cpus)
        assert slot.environment[SLOTS_VARIABLE] == str(count)
        assert slot.processes == 1
        assert GPUS_VARIABLE not in slot.environment


def test_as_many_slots_as_are_wanted_whatever_the_cores(machine):
    machine(2)
    assert [slot.number for slot in slots_here(ResourcesConfig(), 3)] == [0, 1, 2]


@pytest.mark.parametrize("gpus", [(), ("0", "1", "2", "3")])
def test_slots_that_are_not_needed_share_nothing(machine, gpus):
    machine(8, *gpus)
    found = slots_here(ResourcesConfig(), most=2)
    assert [slot.environment[SLOTS_VARIABLE] for slot in found] == ["2", "2"]
    assert len(slots_here(ResourcesConfig(), 1, most=2)) == 1


def test_every_slot_has_gpus_of_its_own(machine):
    machine(64, "GPU-a", "GPU-b", "GPU-c", "GPU-d", "GPU-e")
    assert gpus_of(slots_here(ResourcesConfig())) == ["GPU-a", "GPU-b", "GPU-c", "GPU-d", "GPU-e"]
    pairs = slots_here(ResourcesConfig(gpus=2))
    assert gpus_of(pairs) == ["GPU-a,GPU-b", "GPU-c,GPU-d"]
    assert [slot.processes for slot in pairs] == [2, 2]


def test_more_slots_than_gpus_share_them_in_turn(machine):
    machine(64, "0", "1")
    assert gpus_of(slots_here(ResourcesConfig(), 3)) == ["0", "1", "0"]


def test_runs_that_want_no_gpu_see_none(machine):
    machine(4, "0", "1")
    found = slots_here(ResourcesConfig(gpus=0))
    assert gpus_of(found) == [""] * 4


def test_a_run_that_is_to_have_more_gpus_than_there_are_is_refused(machine):
    machine(64, "0", "1")
    with pytest.raises(UserError, match="to have 4 GPUs, and this machine has 2"):
        slots_here(ResourcesConfig(gpus=4))


def test_one_process_is_started_as_it_is_and_several_by_torchrun(machine):
    machine(64, "0", "1")
    command = ["python", "-m", "gen.cli", "run", "demo", "--slot"]
    assert slots_here(ResourcesConfig())[0].command(command) == command
    (shared,) = slots_here(ResourcesConfig(gpus=2))
    line = shared.command(command)
    assert line[:4] == ["python", "-m", "torch.distributed.run", "--standalone"]
    assert "--nproc-per-node=2" in line
    assert "--max-restarts=0" in line
    assert line[-5:] == command[1:]
