"""What every benchmark needs: sides in processes of their own, peak memory, a record of the run."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
VERSIONED = ("numpy", "polars", "pyarrow", "pandas", "torch", "open_clip_torch", "webdataset")


def in_own_process(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The result of a call in a fresh process, so that its peak memory is its own."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(work, args, kwargs)


def peak_gib() -> float:
    """Peak resident memory of this process.

    Not `ru_maxrss`, which a process inherits from the one that started it.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


def finish(
    name: str,
    results: dict[str, Any],
    verdict: str,
    *,
    fine: bool,
    quick: bool,
    device: str = "cpu",
    command: str = "",
) -> int:
    """Record a full run in results/NAME.json, print the verdict; the exit code."""
    machine = f"{processor()}, {len(os.sched_getaffinity(0))} cores"
    command = command or f"python benchmarks/{name.removesuffix('_cuda')}.py"
    if device == "cuda":
        from gen.device import describe_device, pick_device

        machine = f"{describe_device(pick_device())}; {machine}"
        command += " --device cuda"
    record = {
        "command": command,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "device": machine,
        "versions": {"python": platform.python_version()}
        | {package: version(package) for package in VERSIONED},
        "verdict": verdict,
        "results": results,
    }
    if not quick:
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        (RESULTS / f"{name}.json").write_text(text, encoding="utf-8")
    print(verdict)
    return 0 if fine else 1


def processor() -> str:
    """Name of the processor, where the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or sys.platform
