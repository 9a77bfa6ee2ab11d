"""Does a sweep keep two cores busy?

    python benchmarks/sweep.py [--quick]

Eight runs of the demo's kind are swept twice, each time into a fresh folder: by one slot, which has
the machine for itself, and by two. Both must train the same weights. Of the two slots' wall time,
from the command to the end of the last run (start-up and the last run's lonely end included), three
shares are told:

(a) busy: CPU seconds of all processes / (2 × wall of the whole command, at whose end one core
    writes the report); imports and waiting in a loop are busy, too;
(b) working: the seconds that the runs took beside each other / (2 × wall): what start-up and gaps
    between runs leave. A run that another one slows down looks like more work;
(c) sped up: wall time of one slot / (2 × wall): what the second core is worth. Both sides start up
    once, so that little of it shows;
(d) of the ideal: the seconds that the runs took alone / (2 × wall).

The goal is for (d), which is the smallest: nothing but training, evaluation and analysis on a quiet
machine counts as work, and start-up, gaps, the lonely end and what two processes take from each
other (caches, memory) count as loss. The runs are alike and their number is even, so that two slots
could reach the ideal. (d) / (b) tells what is the machine's part: how much slower a run is beside
another one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path[0] = str(Path(__file__).parent.parent)

from benchmarks.measured import finish
from benchmarks.synthetic import build_icons

ROOT = Path(__file__).parent.parent
SLOTS = 2
STUDY = "demo"
SETTINGS = ("leave_out_domain", "cg_low_diversity", "cg_high_diversity", "upper_bound_low")
RUNS, RUNS_QUICK = 8, 4
SAMPLES, SAMPLES_QUICK = 48_000, 3_200
TAIL = 20
"""lines of a failed sweep's output that are shown"""
GOAL = 0.85


class Sweep(NamedTuple):
    """A finished sweep.

    Attributes:
        wall: seconds from the command to the end of the last run.
        run_seconds: of every run, in its stages.
        cpu: seconds of all processes up to the end of the command.
        whole: seconds of the command, with what follows the last run.
        weights: hash of the final weights by the name of the run.
    """

    wall: float
    run_seconds: list[float]
    cpu: float
    whole: float
    weights: dict[str, str]


def overrides(quick: bool) -> list[str]:
    """What makes the demo as many runs of one length as are needed."""
    settings = SETTINGS[: RUNS_QUICK // 2] if quick else SETTINGS
    words = ["name=bench", f"settings=[{','.join(settings)}]", "resources.gpus=0"]
    if quick:
        return [*words, f"training.samples_seen={SAMPLES_QUICK}", "training.milestones=0"]
    return [*words, f"training.samples_seen={SAMPLES}"]


def sweep(data: Path, runs: Path, slots: int, quick: bool) -> Sweep:
    """Sweep the study into an empty folder."""
    command = [sys.executable, "-m", "gen.cli", "sweep", STUDY, *overrides(quick)]
    command += ["--slots", str(slots), "--data", str(data), "--runs", str(runs)]
    before, start = _cpu_of_children(), time.time()
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    whole = time.time() - start
    if done.returncode:
        tail = "\n".join(done.stdout.splitlines()[-TAIL:])
        raise RuntimeError(f"{' '.join(command)} ended with code {done.returncode}:\n{tail}")
    folders = sorted(path.parent for path in (runs / "bench").glob("*/DONE"))
    if len(folders) != (RUNS_QUICK if quick else RUNS):
        raise RuntimeError(f"{len(folders)} runs are done in {runs / 'bench'}")
    records = [json.loads((folder / "run.json").read_text()) for folder in folders]
    return Sweep(
        wall=max((folder / "DONE").stat().st_mtime for folder in folders) - start,
        run_seconds=[sum(record["seconds"].values()) for record in records],
        cpu=_cpu_of_children() - before,
        whole=whole,
        weights={record["run"]: record["checkpoint"] for record in records},
    )


def _cpu_of_children() -> float:
    """CPU seconds of all ended processes that this one, or one of them, started."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def shares(one: Sweep, two: Sweep) -> dict[str, float]:
    """The four shares of the module's text, and how much slower a run is beside another."""
    alone, beside = sum(one.run_seconds), sum(two.run_seconds)
    return {
        "busy": two.cpu / (SLOTS * two.whole),
        "working": beside / (SLOTS * two.wall),
        "sped up": one.wall / (SLOTS * two.wall),
        "of the ideal": alone / (SLOTS * two.wall),
        "slower beside another": beside / alone - 1,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="4 runs of seconds: start-up prevails")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of all datasets")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))[:SLOTS]
    if len(cores) < SLOTS:
        print(f"sweep: {len(cores)} core, expected {SLOTS}", file=sys.stderr)
        return 1
    os.sched_setaffinity(0, cores)  # the claim is about two; what is started here inherits it
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = build_icons(options.data, folder)
        sides = {
            slots: sweep(data, folder / f"slots-{slots}", slots, options.quick)
            for slots in (SLOTS, 1)
        }
    one, two = sides[1], sides[SLOTS]
    told = shares(one, two)
    _print(sides, told)
    equal = one.weights == two.weights
    verdict = (
        f"sweep: {told['of the ideal']:.1%} of the ideal time for independent runs, "
        + ("the same weights" if equal else "the WEIGHTS DIFFER")
        + f" (goal: ≥ {GOAL:.0%} on {SLOTS} cores)"
    )
    fine = equal and told["of the ideal"] >= GOAL
    results: dict[str, Any] = {f"{slots} slots": side._asdict() for slots, side in sides.items()}
    return finish("sweep", results | {"shares": told}, verdict, fine=fine, quick=options.quick)


def _print(sides: dict[int, Sweep], told: dict[str, float]) -> None:
    for slots, side in sorted(sides.items()):
        seconds = sorted(side.run_seconds)
        print(
            f"{slots} slots: {len(seconds)} runs of {seconds[0]:.1f} to {seconds[-1]:.1f} s, "
            f"in all {sum(seconds):.1f} s; wall {side.wall:.1f} s, CPU {side.cpu:.1f} s"
        )
    for name, share in told.items():
        print(f"  {name:<22} {share:6.1%}")


if __name__ == "__main__":
    sys.exit(main())
