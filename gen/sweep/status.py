"""Where a study stands: the state of every run, read from its folder."""

from __future__ import annotations

import polars as pl
from filelock import FileLock, Timeout

from gen.runs import Run, read_record
from gen.sweep.study import Study
from gen.training.metrics_log import read_metrics
from gen.training.schedule import total_samples

COLUMNS = {
    **dict.fromkeys(("samples", "base_samples"), pl.Int64),
    "mixture_sha256": pl.String,
    **dict.fromkeys(
        ("progress", "loss", "loss_floor", "samples_per_second", "seconds"), pl.Float64
    ),
}
"""types of what may be absent"""


def run_state(run: Run) -> str:
    """`done`, `running` (held by a process), `failed`, `stopped` (begun), `damaged`, `waiting`."""
    if run.is_damaged:
        return "damaged"
    if run.done:
        return "done"
    if not run.folder.is_dir():
        return "waiting"
    if _is_held(run):
        return "running"
    if run.failure.is_file():
        return "failed"
    return "stopped" if read_record(run.folder) else "waiting"


def samples_done(run: Run) -> int:
    """Samples that a run has trained on, as far as its log tells; none of a pretrained model's."""
    if run.pretrained is not None:
        return 0
    if run.final_weights.is_file():
        return total_samples(run.training)
    rows = read_metrics(run.folder)
    return int(rows[-1]["samples_seen"]) if rows else 0


def status_table(study: Study) -> pl.DataFrame:
    """One row per run: state, mixture and progress (null if pretrained), last loss, rate."""
    rows = []
    for run in study.runs:
        metrics = read_metrics(run.folder)
        last = metrics[-1] if metrics else {}
        rows.append(
            {
                "run": run.name,
                "state": run_state(run),
                **_mixture_of(run),
                "loss": last.get("loss"),
                "loss_floor": last.get("loss_floor"),
                "samples_per_second": last.get("samples_per_second"),
                "seconds": None if run.is_damaged else _seconds(run),
            }
        )
    return pl.DataFrame(rows, schema_overrides=COLUMNS)


def _mixture_of(run: Run) -> dict[str, str | int | float | None]:
    """What a run is trained on, and how far."""
    if run.pretrained is not None:
        return dict.fromkeys(("samples", "base_samples", "mixture_sha256", "progress"))
    mixture = run.mixture
    return {
        "samples": mixture.size,
        "base_samples": mixture.base.samples if mixture.base else 0,
        "mixture_sha256": mixture.sha256,
        "progress": samples_done(run) / total_samples(run.training),
    }


def _seconds(run: Run) -> float:
    return float(sum(read_record(run.folder).get("seconds", {}).values()))


def _is_held(run: Run) -> bool:
    path = run.folder / "lock"
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    lock.release()
    return False
