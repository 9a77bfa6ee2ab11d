"""The family of analyses of binding: from a run's model to tables.

Everything is asked of the test scenes of a dataset of scenes, for every number of objects that they
have; the rows of all modules stand in one long table, told apart by `aspect`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import polars as pl

from analysis.binding.attribute_probes import attribute_rows
from analysis.binding.binding_function import binding_rows
from analysis.binding.cross_modal_map import map_rows
from analysis.binding.editing import editing_rows
from analysis.binding.embedded import EmbeddedScenes
from analysis.binding.recognition import SIDES, recognition_rows
from analysis.binding.reconstruction import geometry_rows
from analysis.binding.removal import removal_rows
from analysis.binding.scene_embeddings import embed_scenes, sizes_of, tested_images
from analysis.binding.swap_retrieval import swap_rows
from analysis.report.schemas import BINDING, BINDING_FUNCTION
from analysis.subject import Subject
from gen.progress import progress

Tables = dict[str, pl.DataFrame]
Row = dict[str, Any]
ASPECTS: dict[str, Callable[..., list[Row]]] = {
    "retrieval": swap_rows,
    "recognition": recognition_rows,
    "attribute": attribute_rows,
    "map": map_rows,
    "geometry": geometry_rows,
    "removal": removal_rows,
    "editing": editing_rows,
}
"""what is asked of embeddings, in the order in which one reads"""
FITTED_WHERE_ASKED = ("retrieval",)
"""aspects that fit nothing, so that they need no device"""


def binding(subject: Subject) -> Tables:
    """Behaviour, geometry and binding function of a run's model on scenes.

    Raises:
        ValueError: the model reads no texts.
        UserError: the dataset holds no scenes, or none of several objects.
    """
    if not subject.run.reads_texts:
        raise ValueError("a classifier reads no captions of scenes")
    sizes = sizes_of(subject.dataset)
    with progress(tested_images(subject.dataset, sizes), "scenes", "images") as bar:
        embedded = {
            size: embed_scenes(
                subject.learner,
                subject.dataset,
                size,
                subject.device,
                bar,
                trained_here=subject.run.pretrained is None,
            )
            for size in sizes
        }
    asked, functions = [], []
    with progress(len(sizes) * (len(ASPECTS) + len(SIDES)), "binding", "analyses") as bar:
        for size, scenes in embedded.items():
            for aspect in ASPECTS:
                asked.append(_asked(scenes, aspect, size, subject))
                bar.update()
            for side in SIDES:
                functions.append(_function(scenes, side, size, subject))
                bar.update()
    return {
        "binding": pl.concat(asked),
        "binding_function": pl.concat(functions),
    }


def _asked(scenes: EmbeddedScenes, aspect: str, size: int, subject: Subject) -> pl.DataFrame:
    ask = partial(ASPECTS[aspect], scenes, seed=subject.run.seed)
    rows = ask() if aspect in FITTED_WHERE_ASKED else ask(device=subject.device)
    return table_of(({"aspect": aspect, "objects": size} | row for row in rows), BINDING)


def _function(scenes: EmbeddedScenes, side: Any, size: int, subject: Subject) -> pl.DataFrame:
    rows = binding_rows(scenes, side, device=subject.device)
    return table_of(({"objects": size} | row for row in rows), BINDING_FUNCTION)


def table_of(rows: Any, schema: dict[str, Any]) -> pl.DataFrame:
    """Rows with these columns alone; what a row lacks is null.

    Raises:
        ValueError: a row has a key that is no column.
    """
    found: Sequence[Row] = [
        {("side" if key == "asked" else key): value for key, value in row.items()} for row in rows
    ]
    unknown = {key for row in found for key in row} - set(schema)
    if unknown:
        raise ValueError(f"rows have {', '.join(sorted(unknown))}, which are no columns")
    return pl.DataFrame(found, schema=schema, orient="row")
