"""A trained model and its test sets, as a folder that others can score without clipgen."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gen.datasets.samples import Dataset
from gen.evaluation.prompts import sentences, wording_of
from gen.evaluation.test_sets import CLASS, set_name, sets_of, write_test_set
from gen.models.export import export_clip, export_clippo
from gen.models.trained import Learner, load_trained, run_vocabulary
from gen.progress import progress
from gen.runs import Run
from gen.schema import ModelKind
from splits.errors import UserError
from splits.files import write_json

MARKER = "export.json"
"""tells what a folder is an export of, and that it is one"""


def export_run(run: Run, dataset: Dataset, folder: Path) -> None:
    """Write `folder/model` and `folder/sets/DOMAIN` for every test domain of a trained run.

    Splits other than `test` stand beside as `DOMAIN.SPLIT`. The class prompts are the headline's.
    An export that is there already is replaced as a whole.

    Args:
        run: a trained CLIP or CLIPPO.
        dataset: of its study.
        folder: where to write.

    Raises:
        UserError: the run has no model that reads texts, is pretrained or not trained, or the
            folder holds anything but an export.
    """
    _check_exportable(run)
    with _replaced(folder) as temporary:
        learner = load_trained(run, dataset)
        _write_model(run, dataset, learner, temporary / "model")
        names = _write_sets(run, dataset, learner.pixels, temporary / "sets")
        content = {
            "study": run.folder.parent.name,
            "run": run.name,
            "checkpoint": learner.checkpoint,
            "kind": run.model.kind.name,
            "prompts": run.evaluation.prompts[0].name,
            "dataset_sha256": dataset.sha256,
            "sets": names,
        }
        write_json(temporary / MARKER, content)


def _check_exportable(run: Run) -> None:
    where = str(run.folder)
    if run.pretrained is not None:
        raise UserError(
            f"run {run.name} is a pretrained model, which open_clip opens already",
            expected="a run that is trained here",
            where=where,
        )
    if run.model.kind is ModelKind.classifier:
        raise UserError(
            f"run {run.name} is a classifier: it reads no texts, and nothing else could score it",
            expected="a run of a model of kind clip or clippo",
            where=where,
        )
    if not run.trained:
        raise UserError(f"run {run.name} is not trained", where=where)


def _write_model(run: Run, dataset: Dataset, learner: Learner, folder: Path) -> None:
    if run.model.kind is ModelKind.clippo:
        export_clippo(learner.model, run.model, learner.pixels, folder)  # type: ignore[arg-type]
        return
    vocabulary = run_vocabulary(run, dataset)
    export_clip(learner.model, run.model, vocabulary, learner.pixels, folder)


def _write_sets(run: Run, dataset: Dataset, pixels: int, folder: Path) -> list[str]:
    """The test images of every test domain and split; the names of their folders."""
    tables = sets_of(dataset, run.test_domains)
    wording = wording_of(dataset)
    with progress(sum(table.height for table in tables.values()), "exporting", "images") as bar:
        for (domain, split), samples in tables.items():
            templates = sentences(run.evaluation.prompts[0], CLASS, wording, domain)
            place = folder / set_name(domain, split)
            write_test_set(dataset, samples, pixels, templates, place, bar)
    return [set_name(*key) for key in tables]


@contextmanager
def _replaced(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`, which takes its place when it is whole."""
    folder = folder.resolve()  # `.` and `..` have no name, and a link stays one
    if not folder.name or (folder.exists() and not _may_be_replaced(folder)):
        raise UserError(
            f"{folder} is there already, and is no export",
            expected="a new folder, or an export, which is replaced",
            where="--to",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, old = (folder.with_name(f".{folder.name}.{os.getpid()}.{end}") for end in ("new", "old"))
    try:
        new.mkdir()
        yield new
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        if old.exists() and not folder.exists():  # the new one could not take its place
            old.rename(folder)
        for rest in (new, old):
            shutil.rmtree(rest, ignore_errors=True)


def _may_be_replaced(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return not any(folder.iterdir())
    return isinstance(marker, dict) and "checkpoint" in marker
