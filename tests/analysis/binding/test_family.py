"""All analyses of binding of one model, in two tables."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import polars as pl
import pytest
import torch
from tiny_scenes import projections, scenes_dataset

from analysis.binding import family
from analysis.binding.approximators import Approximator
from analysis.binding.binding_function import binding_rows
from analysis.binding.family import ASPECTS, binding, table_of
from analysis.report.schemas import BINDING, BINDING_FUNCTION
from splits.errors import UserError


def subject(dataset, **run):
    """What the analyses read of an analysed run."""
    names = {"reads_texts": True, "pretrained": None, "seed": 0, **run}
    return SimpleNamespace(
        run=SimpleNamespace(**names),
        dataset=dataset,
        learner=projections(),
        device=torch.device("cpu"),
    )


@pytest.fixture(autouse=True)
def _one_function(monkeypatch, few_steps):
    """One class of functions and one split, where an analysis has five and fifteen."""
    asked = {"approximators": [Approximator("additive")], "fractions": [0.7], "seeds": [0]}
    monkeypatch.setattr(family, "binding_rows", partial(binding_rows, **asked))


def test_every_aspect_is_asked_of_every_number_of_objects(dataset):
    tables = binding(subject(dataset))
    asked, functions = tables["binding"], tables["binding_function"]
    assert (dict(asked.schema), dict(functions.schema)) == (BINDING, BINDING_FUNCTION)
    assert set(asked.select("objects", "aspect").unique().rows()) == {
        (size, aspect) for size in (2, 3) for aspect in ASPECTS
    }
    assert set(functions.select("objects", "side").unique().rows()) == {
        (size, side) for size in (2, 3) for side in ("images", "texts")
    }
    for table in tables.values():
        assert table.filter(pl.col("value").is_null() != pl.col("reason").is_not_null()).is_empty()
        assert not any(column.is_nan().any() for column in table.select(pl.selectors.float()))
    assert set(asked["part"].drop_nulls()) == {"train", "unseen", "mixed"}


def test_divisions_are_drawn_with_the_runs_seed(dataset, monkeypatch):
    seeds = []

    def ask(embedded, *, seed, device=None):
        seeds.append(seed)
        return [{"score": "swap"}]

    monkeypatch.setattr(family, "ASPECTS", {"retrieval": ask, "map": ask})
    binding(subject(dataset, seed=7))
    assert seeds == [7] * 4  # two numbers of objects


def test_a_model_of_unknown_training_has_no_parts(dataset, monkeypatch):
    monkeypatch.setattr(family, "ASPECTS", {"retrieval": ASPECTS["retrieval"]})
    asked = binding(subject(dataset, pretrained=object()))["binding"]
    assert set(asked["part"].drop_nulls()) == {"all"}


def test_a_model_that_reads_no_texts_is_refused(dataset):
    with pytest.raises(ValueError, match="reads no captions"):
        binding(subject(dataset, reads_texts=False))


def test_a_dataset_without_several_objects_is_refused_before_anything_is_embedded(tmp_path):
    alone = subject(scenes_dataset(tmp_path, "[4]"))
    alone.learner = replace(alone.learner, model=None)
    with pytest.raises(UserError, match="nothing to bind"):
        binding(alone)


def test_rows_of_a_table_are_null_where_they_say_nothing_and_name_their_side():
    row = {"objects": 2, "aspect": "recognition", "asked": "images", "value": 0.5}
    table = table_of([row, {"aspect": "map"}], BINDING)
    assert table.row(0, named=True) == dict.fromkeys(BINDING) | {
        "objects": 2,
        "aspect": "recognition",
        "side": "images",
        "value": 0.5,
    }
    assert table.row(1, named=True) == dict.fromkeys(BINDING) | {"aspect": "map"}


def test_keys_that_are_no_columns_are_an_error():
    with pytest.raises(ValueError, match="rows have hue, shade, which are no columns"):
        table_of([{"aspect": "map"}, {"shade": 1, "hue": 2}], BINDING)
