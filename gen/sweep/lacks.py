"""What a study lacks on this machine, as far as one can tell before anything is started."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from gen.config import RENDERED
from gen.datasets.samples import Dataset
from gen.machine import cores, visible_gpus
from gen.models.pretrained import check_there
from gen.runs import Run
from gen.sweep.study import Study
from splits.errors import UserError

NAMED = 3
"""files that are named; the others are counted"""


def lacks(study: Study, runs: Sequence[Run], *, here: bool) -> list[str]:
    """What stops or slows down the runs that are left, one sentence each.

    Args:
        study: planned.
        runs: that are not done.
        here: whether this machine will do them.
    """
    if not runs:
        return []
    return [
        *_missing_shards(study),
        *_missing_streams(runs),
        *_missing_pretrained(runs),
        *_missing_libraries(study, runs),
        *(_missing_processors(study) if here else ()),
    ]


def _missing_shards(study: Study) -> Iterator[str]:
    for dataset in (study.dataset, *([study.base] if study.base else [])):
        folder = dataset.folder / "shards"
        names = [shard["name"] for shard in dataset.manifest["shards"]]
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            yield f"dataset {dataset.name} lacks shards: {_named(missing)}"


def _missing_streams(runs: Sequence[Run]) -> Iterator[str]:
    shards = dict.fromkeys(s for run in runs for s in run.training.stream.shards)
    missing = [path for path in shards if ":" not in path and not Path(path).is_file()]
    if missing:
        yield f"shards of the stream are not there: {_named(missing)}"


def _missing_pretrained(runs: Sequence[Run]) -> Iterator[str]:
    """Weights that no run would fetch."""
    for run in runs:
        if run.pretrained is not None:
            try:
                check_there(run.pretrained)
            except UserError as error:
                yield "; ".join(part for part in (error.found, error.fix) if part)


def _missing_libraries(study: Study, runs: Sequence[Run]) -> Iterator[str]:
    loggers = {name for run in runs for name in run.training.loggers}
    if "tensorboard" in loggers and find_spec("tensorboard") is None:
        yield "tensorboard is not installed, and training.loggers asks for it: the extra `track`"
    if find_spec("simplejpeg") is None and any(map(_may_have_jpegs, (study.dataset, study.base))):
        yield "simplejpeg is not installed: JPEG images are decoded more slowly; the extra `fast`"


def _may_have_jpegs(dataset: Dataset | None) -> bool:
    return dataset is not None and dataset.manifest["config"]["kind"] not in RENDERED


def _missing_processors(study: Study) -> Iterator[str]:
    wanted, gpus = study.config.resources, len(visible_gpus())
    if wanted.gpus > 1 and not gpus:
        yield f"resources.gpus is {wanted.gpus}, and this machine has none: processors do the work"
    elif wanted.gpus > gpus > 0:
        yield f"resources.gpus is {wanted.gpus}, and this machine has {gpus}"
    if wanted.cpus > cores():
        yield f"resources.cpus is {wanted.cpus}, and this machine has {cores()}"
    if wanted.nodes > 1:
        yield f"resources.nodes is {wanted.nodes}: runs on several machines need --executor slurm"


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
