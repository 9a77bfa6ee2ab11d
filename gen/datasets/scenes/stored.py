"""A scenes dataset read back: its concepts, the split of its objects, and its scenes."""

from __future__ import annotations

import numpy as np
import polars as pl

from gen.datasets.samples import Dataset
from gen.scenes.coverage import ObjectSplit, Part
from gen.scenes.space import ConceptSpace, Objects
from splits.errors import UserError


def stored_world(dataset: Dataset) -> tuple[ConceptSpace, ObjectSplit]:
    """The concepts of a scenes dataset, and which objects its training split shows.

    Raises:
        UserError: it is no scenes dataset.
    """
    _check_scenes(dataset)
    concepts = dataset.manifest["concepts"].items()
    space = ConceptSpace({name: tuple(words) for name, words in concepts})
    seen = np.zeros(space.objects, dtype=bool)
    seen[dataset.manifest["train_objects"]] = True
    config = dataset.manifest["config"]
    return space, ObjectSplit(seen, float(config["coverage"]), int(config["coverage_seed"]))


def stored_scenes(dataset: Dataset) -> pl.DataFrame:
    """A row per sample, in the order of the sample table; docs/formats.md lists the columns.

    Raises:
        UserError: it is no scenes dataset.
    """
    _check_scenes(dataset)
    return pl.read_parquet(dataset.folder / "scenes.parquet")


def scenes_of(table: pl.DataFrame) -> Objects:
    """[n, m] numbers of the objects of scenes that all have the same number of objects.

    Raises:
        ValueError: they have not.
    """
    if table["objects"].list.len().n_unique() > 1:
        raise ValueError("scenes of several sizes are no table of objects")
    return np.array(table["objects"].to_list(), dtype=np.int64)


def parts_of(table: pl.DataFrame) -> np.ndarray:
    """[n] `Part` of scenes."""
    return np.array([int(Part[name]) for name in table["part"]], dtype=np.int64)


def _check_scenes(dataset: Dataset) -> None:
    if not dataset.is_scenes:
        raise UserError(
            f"dataset `{dataset.name}` holds no scenes",
            expected="a dataset of kind scenes, which lists the objects of every image",
            where=str(dataset.folder),
        )
