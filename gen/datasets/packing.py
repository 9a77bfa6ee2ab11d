"""A resumable build: many processes write shards, one joins their rows and names the folder.

The work is cut into jobs, one shard each; a shard is written whole by one process, with its rows
and its record beside it. So a build that was killed goes on where it stopped, and the bytes do not
depend on the number of processes. The folder gets its name only when everything is in it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import chain
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Protocol, TypeVar

import cv2
import polars as pl
import pyarrow.parquet as pq
from filelock import FileLock

from gen.datasets.making import building_folder, making_command
from gen.datasets.samples import COLUMNS, content_sha256, load_dataset, table_sha256
from gen.datasets.shards import write_shard
from gen.datasets.verifying import wrong_sizes
from gen.progress import progress
from splits.errors import UserError
from splits.files import replacing, write_json

SAMPLES_PER_SHARD = 1000
WHOLE = "dataset"
"""what the folder of a build holds beside its plan and what its shards left behind"""
ROWS_PER_GROUP = 100_000
"""of samples.parquet: so many rows are in memory at a time"""
OLDEST = pl.CompatLevel.oldest()
"""Arrow types that Parquet knows"""


class Job(Protocol):
    """One unit of work: a shard and how many samples are expected in it."""

    @property
    def name(self) -> str: ...
    @property
    def samples(self) -> int: ...


AnyJob = TypeVar("AnyJob", bound=Job)


@dataclass(frozen=True)
class Sample:
    """One sample on its way into a shard.

    Attributes:
        row: its row of the sample table, without the place in the shard.
        key: name of its members in the shard, without a dot.
        extension: of the image.
        image: encoded.
        members: further members by their extension.
    """

    row: dict[str, Any]
    key: str
    extension: str
    image: bytes
    members: dict[str, bytes]


def build(
    target: Path, plan: dict[str, Any], fill: Callable[[Path], None], *, workers: int
) -> Path:
    """Make the dataset folder `target`, or go on where that stopped; nothing to do where it stands.

    Args:
        target: the folder.
        plan: what decides the bytes (JSON): two builds with equal plans are the same build.
        fill: makes everything in the folder `WHOLE` of the folder of the build that it is given.
        workers: processes that `fill` starts, for the record.

    Returns:
        `target`.

    Raises:
        UserError: another dataset has the name already, or the one that stands is damaged.
    """
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(_lock_of(target)):
            if not target.exists():  # nobody else has built it in the meantime
                _build(target, plan, fill, workers)
    _check_same(target, plan)
    return target


def set_aside(target: Path, plan: dict[str, Any]) -> tuple[Path, list[str]] | None:
    """Rename the dataset `target` where it is of another plan, so that it can be made anew.

    Returns:
        Its new place, and what differs; None where it is of this plan, or not there.

    Raises:
        UserError: its manifest cannot be read.
    """
    with FileLock(_lock_of(target)):  # nobody builds it, or sets it aside, in the meantime
        if not target.exists() or not (changes := _changes(_manifest_of(target), plan)):
            return None
        digest = hashlib.sha256((target / "manifest.json").read_bytes()).hexdigest()
        place = target.with_name(f"{target.name}.old-{digest[:12]}")
        shutil.rmtree(place, ignore_errors=True)  # the same dataset, set aside before
        os.replace(target, place)
        return place, changes


def _manifest_of(target: Path) -> dict[str, Any]:
    """The manifest of a dataset, also of one that another version of clipgen wrote."""
    try:
        return dict(json.loads((target / "manifest.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return load_dataset(target.name, target.parent).manifest  # which tells what is wrong


def _changes(manifest: dict[str, Any], plan: dict[str, Any]) -> list[str]:
    """What differs between a dataset and a plan; keys of the configuration with both values."""
    other = [key for key in plan if key != "config" and manifest.get(key) != plan[key]]
    before, after = manifest.get("config", {}), plan["config"]
    keys = [key for key in after if before.get(key) != after[key]]
    return [f"{key} {before.get(key)} → {after[key]}" for key in keys] + other


def _build(target: Path, plan: dict[str, Any], fill: Callable[[Path], None], workers: int) -> None:
    building, start = building_folder(target), time.monotonic()
    enter(building, plan)
    fill(building)
    seconds = round(time.monotonic() - start, 1)  # of this start, if there were several
    write_json(building / WHOLE / "build.json", {"seconds": seconds, "workers": workers})
    os.replace(building / WHOLE, target)
    shutil.rmtree(building)


def enter(building: Path, plan: dict[str, Any]) -> None:
    """Go on in a half-built folder of the same plan; start afresh in any other."""
    path = building / "plan.json"
    if not path.is_file() or json.loads(path.read_text(encoding="utf-8")) != plan:
        shutil.rmtree(building, ignore_errors=True)
        write_json(path, plan)
    for left in building.rglob(".*.tmp"):  # by a process that was killed while it wrote
        left.unlink()


def run_jobs(
    building: Path, make: Callable[[AnyJob, Path], None], jobs: Sequence[AnyJob], workers: int
) -> None:
    """Do the jobs that are not done yet, with a progress bar.

    Args:
        building: folder of the build.
        make: does one job in that folder, with `write_part`; may run in another process.
        jobs: all of them.
        workers: processes.
    """
    todo = [job for job in jobs if not rows_of(building, job.name).is_file()]
    total, left = sum(job.samples for job in jobs), sum(job.samples for job in todo)
    name = building.name.removeprefix(".").removesuffix(".building")
    with progress(total, f"packing {name}", "images", done=total - left) as bar:
        for job in _done(building, make, todo, min(workers, len(todo))):
            bar.update(job.samples)


def _done(
    building: Path, make: Callable[[AnyJob, Path], None], jobs: Sequence[AnyJob], workers: int
) -> Iterator[AnyJob]:
    """Do the jobs, here or in several processes; yield each when it is done."""
    if workers <= 1:  # a process of its own would take longer to start than most such work
        for job in jobs:
            make(job, building)
            yield job
        return
    # Fresh processes, not forks: a fork of a process with threads may hang.
    pool = ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker)
    with pool:
        waiting = {pool.submit(make, job, building): job for job in jobs}
        try:
            for done in as_completed(waiting):
                done.result()
                yield waiting[done]
        except BaseException:  # do not finish what is waiting before telling what went wrong
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def write_part(building: Path, name: str, samples: Iterable[Sample]) -> None:
    """Write the samples of one job: its shard (if it has any), the shard's record, its rows."""
    rows: list[dict[str, Any]] = []
    stream = iter(samples)
    first = next(stream, None)
    if first is not None:
        path = building / WHOLE / "shards" / f"{name}.tar"
        places = write_shard(path, _members(chain([first], stream), rows))
        for row in rows:
            row["offset"], row["size"] = places[row.pop("member")]
        write_json(_record_of(building, name), _shard_record(path, len(rows)))
    with replacing(rows_of(building, name)) as temporary:
        pl.DataFrame(rows, schema=COLUMNS).write_parquet(temporary)


def _members(
    samples: Iterable[Sample], rows: list[dict[str, Any]]
) -> Iterator[dict[str, bytes | str]]:
    """The members of a shard, one sample at a time; leaves the samples' rows in `rows`."""
    for sample in samples:
        member = f"{sample.key}.{sample.extension}"
        rows.append(sample.row | {"member": member})
        yield {"__key__": sample.key, sample.extension: sample.image, **sample.members}


def join_parts(building: Path, jobs: Sequence[Job]) -> dict[str, Any]:
    """Write samples.parquet from the jobs' rows; return what the manifest says of the samples."""
    path = building / WHOLE / "samples.parquet"
    with replacing(path) as temporary:
        _join_rows([rows_of(building, job.name) for job in jobs], temporary)
    table = pl.scan_parquet(path)
    per_split = table.group_by("split").len().sort("split").collect()
    records = (_record_of(building, job.name) for job in jobs)
    shards = [json.loads(record.read_text()) for record in records if record.is_file()]
    return {
        "samples": int(per_split["len"].sum()),
        "samples_per_split": dict(per_split.iter_rows()),
        "shards": sorted(shards, key=lambda shard: str(shard["name"])),
        "sha256": content_sha256(path),
        "table_sha256": table_sha256(path),
    }


def _join_rows(parts: Sequence[Path], path: Path) -> None:
    """Join tables in row groups of equal size, without having all of them in memory."""
    schema = pl.DataFrame(schema=COLUMNS).to_arrow(compat_level=OLDEST).schema
    waiting: list[pl.DataFrame] = []
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in parts:
            waiting.append(pl.read_parquet(part))
            if sum(rows.height for rows in waiting) >= ROWS_PER_GROUP:
                writer.write_table(pl.concat(waiting).to_arrow(compat_level=OLDEST))
                waiting.clear()
        if waiting:
            writer.write_table(pl.concat(waiting).to_arrow(compat_level=OLDEST))


def rows_of(building: Path, name: str) -> Path:
    """File that holds the rows of a job; it is written last."""
    return building / "rows" / f"{name}.parquet"


def _record_of(building: Path, name: str) -> Path:
    return building / "records" / f"{name}.json"


def _shard_record(path: Path, count: int) -> dict[str, Any]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256, "count": count}


def _start_worker() -> None:
    """One thread for images, and an end when the process that started this one is gone."""
    cv2.setNumThreads(1)
    parent = parent_process()
    assert parent is not None

    def wait_for_end() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait_for_end, daemon=True).start()


def _lock_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


def _check_same(target: Path, plan: dict[str, Any]) -> None:
    """Refuse a dataset of another plan, and one whose shards are not whole."""
    dataset = load_dataset(target.name, target.parent)
    different = [key for key in plan if dataset.manifest.get(key) != plan[key]]
    if different:
        raise UserError(
            f"{target} holds another dataset of that name (it differs in {', '.join(different)})",
            where=str(target / "manifest.json"),
            fix=f"delete {target}, or give the new dataset another `name=`",
        )
    if problems := wrong_sizes(dataset):
        command = making_command(target.name, target.parent)
        raise UserError(
            f"the dataset was made already, but it is damaged: {problems[0]}"
            + f" (and {len(problems) - 1} more)" * (len(problems) > 1),
            where=str(target),
            fix=f"delete {shlex.quote(str(target))} and run: {command}",
        )
