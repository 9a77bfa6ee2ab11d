"""Pairs in memory: copies of a sample are different pairs, and too many images are refused."""

from __future__ import annotations

import polars as pl
import pytest

from gen.datasets import shards
from gen.datasets.shards import empty_images
from gen.randomness import sample_keys
from gen.training.pairs import told_apart
from splits.errors import UserError


def test_copies_of_a_sample_are_augmented_each_in_its_own_way():
    ids = told_apart(pl.Series(["a", "a", "a", "b", "c", "c"]))
    assert ids == ["a", "a#1", "a#2", "b", "c", "c#1"]
    assert len(set(sample_keys(ids))) == 6


def test_samples_that_stand_once_keep_their_names():
    assert told_apart(pl.Series(["b", "a"])) == ["b", "a"]


def test_images_that_do_not_fit_into_memory_are_refused(monkeypatch):
    monkeypatch.setattr(shards, "available_memory", lambda: 3 * 8 * 8 * 100)
    assert empty_images(100, 8).shape == (100, 8, 8, 3)
    with pytest.raises(UserError, match="101 images need"):
        empty_images(101, 8)
