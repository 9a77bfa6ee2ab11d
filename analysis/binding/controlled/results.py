"""Files of a condition: its scores as JSON, its embeddings beside them, whole or absent.

The JSON file is written last; a condition is done if it is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from analysis.binding.controlled.condition import Condition
from analysis.binding.controlled.world import world_of
from analysis.binding.embedded import EmbeddedScenes
from splits.files import replacing, write_json

ARRAYS = ("scenes", "images", "texts", "swaps", "single_images", "single_texts")
MOST_OBJECTS = 10_000
"""whose embeddings are kept one by one"""


@dataclass(frozen=True)
class Result:
    """What became of a condition.

    Attributes:
        condition: that was trained.
        scores: rows of `scoring.score_rows`.
        functions: rows of `analysis.binding.binding_function.binding_rows` of the scene encoder.
        losses: terms of the loss at some steps.
        seconds, cpu_seconds: of the training.
        device: on which, in words.
    """

    condition: Condition
    scores: list[dict[str, Any]]
    functions: list[dict[str, Any]]
    losses: list[dict[str, float]]
    seconds: float
    cpu_seconds: float
    device: str


def scores_path(folder: Path, condition: Condition) -> Path:
    """File of a condition's scores; it is there if and only if the condition is done."""
    return folder / f"{condition.key}.json"


def save(folder: Path, result: Result, embedded: EmbeddedScenes) -> None:
    """Write a condition's files."""
    if embedded.space.objects > MOST_OBJECTS:
        nothing = np.empty((0, embedded.images.shape[1]), dtype=np.float32)
        embedded = replace(embedded, single_images=nothing, single_texts=nothing)
    with replacing(_arrays_path(folder, result.condition)) as temporary, temporary.open("wb") as f:
        np.savez(f, **{name: getattr(embedded, name) for name in ARRAYS})
    content = asdict(result) | {"condition": result.condition.content()}
    write_json(scores_path(folder, result.condition), content)


def load(folder: Path, condition: Condition) -> Result:
    """What became of a condition that is done."""
    content = json.loads(scores_path(folder, condition).read_text(encoding="utf-8"))
    return Result(**content | {"condition": condition})


def load_embedded(folder: Path, condition: Condition) -> EmbeddedScenes:
    """The embeddings of a condition that is done."""
    world = world_of(condition)
    with np.load(_arrays_path(folder, condition)) as arrays:
        return EmbeddedScenes(world.space, world.split, **{name: arrays[name] for name in ARRAYS})


def score_table(results: Iterable[tuple[str, Result]]) -> pl.DataFrame:
    """All scores of results, each with the name of its grid and its condition: a row per score."""
    rows = [_named(grid, result) | row for grid, result in results for row in result.scores]
    return pl.DataFrame(rows, infer_schema_length=None)


def function_table(results: Iterable[tuple[str, Result]]) -> pl.DataFrame:
    """The binding functions of results in the same way."""
    rows = [_named(grid, result) | row for grid, result in results for row in result.functions]
    return pl.DataFrame(rows, infer_schema_length=None)


def _named(grid: str, result: Result) -> dict[str, Any]:
    """The columns that name a condition."""
    condition = result.condition
    return {
        "grid": grid,
        "key": condition.key,
        "variant": condition.variant.name,
        "objects": int(np.prod(condition.sizes)),
        "coverage": condition.coverage,
        "swap_share": condition.swap_share,
        "leak": condition.training.leak,
        "swap_weight": condition.training.swap_weight,
        "seed": condition.seed,
        "split_seed": condition.split_seed,
    }


def _arrays_path(folder: Path, condition: Condition) -> Path:
    return folder / f"{condition.key}.npz"
