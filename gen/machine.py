"""What this machine offers to a process: cores, memory, GPUs. Knows no heavy library."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.metadata import version
from pathlib import Path

SLOTS_VARIABLE = "CLIPGEN_SLOTS"
"""environment variable by which a sweep tells its processes how many share the machine"""
GPUS_VARIABLE = "CUDA_VISIBLE_DEVICES"
GPU_LINE = re.compile(r"^( *)(?:GPU|MIG) .*\(?UUID: ([\w-]+)\)", re.MULTILINE)


def cores() -> int:
    """Cores that this process may keep busy; of a sweep's slots each has its share, and one."""
    known = hasattr(os, "sched_getaffinity")
    found = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return max(1, found // _slots())


def available_memory() -> int:
    """Bytes that a process may still take, what the system would give back among them.

    Of a sweep's slots each may take its share.
    """
    path = Path("/proc/meminfo")
    found = re.search(r"MemAvailable: *(\d+) kB", path.read_text()) if path.is_file() else None
    if found:
        return int(found[1]) * 1024 // _slots()
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _slots()


def visible_gpus() -> list[str]:
    """Names by which CUDA_VISIBLE_DEVICES calls the GPUs that this process may use.

    Those that the variable tells already; else those of `nvidia-smi`; else, where there is no such
    program, as many as the system has device files. None for a torch that was built without CUDA.
    """
    if version("torch").endswith("+cpu"):
        return []
    if (told := os.environ.get(GPUS_VARIABLE)) is not None:
        names = [name.strip() for name in told.split(",")]
        valid = [not re.fullmatch(r"(-\d+)?", name) for name in names] + [False]
        return names[: valid.index(False)]  # as CUDA reads it
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    except OSError:
        return [str(number) for number in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]
    return listed_gpus(listed.stdout) if listed.returncode == 0 else []


def listed_gpus(text: str) -> list[str]:
    """UUIDs in what `nvidia-smi -L` prints; of a GPU that is cut into parts those of the parts."""
    gpus: list[list[str]] = []  # each with its parts
    for indent, uuid in GPU_LINE.findall(text):
        if indent:
            gpus[-1].append(uuid)
        else:
            gpus.append([uuid])
    return [uuid for gpu in gpus for uuid in gpu[1:] or gpu]


def _slots() -> int:
    return int(os.environ.get(SLOTS_VARIABLE, 1))
