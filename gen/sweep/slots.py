"""The slots of a sweep on this machine: how many runs at a time, and what each of them gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gen.machine import GPUS_VARIABLE, SLOTS_VARIABLE, cores, visible_gpus
from gen.schema import ResourcesConfig
from splits.errors import UserError

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS")


@dataclass(frozen=True)
class Slot:
    """A share of the machine, in which one run is worked on at a time.

    Attributes:
        number: from 0.
        environment: variables that keep a worker within its share.
        processes: that share a run, one per GPU.
    """

    number: int
    environment: dict[str, str]
    processes: int = 1

    def command(self, command: Sequence[str]) -> list[str]:
        """The command line of this slot's worker: Python's, or torchrun's around it."""
        if self.processes == 1:
            return list(command)
        python, *rest = command
        torchrun = ["-m", "torch.distributed.run", "--standalone", "--max-restarts=0"]
        return [python, *torchrun, f"--nproc-per-node={self.processes}", *rest]


def slots_here(
    resources: ResourcesConfig, wanted: int | None = None, most: int | None = None
) -> list[Slot]:
    """The slots of this machine.

    Args:
        resources: what a run gets.
        wanted: number of slots; None: as many as the machine has GPUs, or cores, for.
        most: number for which there is work; None: for any.

    Raises:
        UserError: a run is to have more GPUs than there are.
    """
    gpus = visible_gpus() if resources.gpus else []
    if not gpus:
        count = wanted or max(1, cores() // resources.cpus)
        count = min(count, most or count)
        hidden = {} if resources.gpus else {GPUS_VARIABLE: ""}
        return [Slot(number, _shares(resources, count) | hidden) for number in range(count)]
    each = resources.gpus
    if each > len(gpus):
        raise UserError(
            f"a run is to have {each} GPUs, and this machine has {len(gpus)}",
            where="resources.gpus",
            fix=f"resources.gpus={len(gpus)}",
        )
    groups = [gpus[i : i + each] for i in range(0, len(gpus) - each + 1, each)]
    count = wanted or len(groups)
    count = min(count, most or count)
    slots = []
    for number in range(count):  # more slots than groups: several share one
        own = {GPUS_VARIABLE: ",".join(groups[number % len(groups)])}
        # without it torchrun's processes hung, or gave up, when one of them was killed
        own |= {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"} if each > 1 else {}
        slots.append(Slot(number, _shares(resources, count) | own, each))
    return slots


def _shares(resources: ResourcesConfig, slots: int) -> dict[str, str]:
    return {
        **dict.fromkeys(THREAD_VARIABLES, str(resources.cpus)),
        SLOTS_VARIABLE: str(slots),
    }
