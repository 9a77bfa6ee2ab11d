"""Held images stay with the rows that say what they show."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from analysis import probe_features
from analysis.held_images import Images, hold
from gen.datasets.shards import encode_png, write_shard
from splits.errors import UserError

CPU = torch.device("cpu")
DOMAINS = ("sketch", "real")


@pytest.fixture
def images() -> Images:
    """Six images whose pixels are all their number."""
    samples = pl.DataFrame(
        {
            "id": [f"id{i}" for i in range(6)],
            "domain": ["real", "sketch"] * 3,
            "class_id": [2, 2, 0, 0, 1, 1],
        }
    )
    return Images(samples, torch.arange(6, dtype=torch.uint8)[:, None, None, None] + torch.zeros(1))


def test_labels_and_domains_are_those_of_the_rows(images):
    assert images.labels.tolist() == [2, 2, 0, 0, 1, 1]
    assert images.labels.dtype is torch.int64
    assert images.domain_numbers(DOMAINS).tolist() == [1, 0, 1, 0, 1, 0]
    with pytest.raises(UserError, match="domain `real` is unknown"):
        images.domain_numbers(["sketch"])


@pytest.mark.parametrize("kind", [torch.tensor, np.array])
def test_some_images_keep_their_rows(images, kind):
    some = images.of(kind([False, True, False, False, True, True]))
    assert len(some) == 3
    assert some.samples["id"].to_list() == ["id1", "id4", "id5"]
    assert some.pixels_NCHW.flatten().tolist() == [1, 4, 5]
    assert some.labels.tolist() == [2, 1, 1]


def test_positions_are_no_mask(images):
    with pytest.raises(ValueError, match="a mask"):
        images.of(np.array([0, 1, 0, 0, 1, 1]))
    with pytest.raises(ValueError, match="a mask"):
        images.of(np.array([True]))


def test_rows_without_images_are_an_error(images):
    with pytest.raises(ValueError, match="6 rows and 5 images"):
        Images(images.samples, images.pixels_NCHW[:5])


def test_images_are_held_in_the_order_of_their_rows(tmp_path, monkeypatch):
    pixels = np.random.default_rng(0).integers(256, size=(5, 8, 8, 3), dtype=np.uint8)
    members = [{"__key__": f"{i}", "png": encode_png(image)} for i, image in enumerate(pixels)]
    places = write_shard(tmp_path / "shards" / "all.tar", members)
    rows = pl.DataFrame(
        {
            "id": [str(i) for i in range(5)],
            "domain": ["real"] * 5,
            "class_id": list(range(5)),
            "shard": ["all.tar"] * 5,
            "offset": [places[f"{i}.png"][0] for i in range(5)],
            "size": [places[f"{i}.png"][1] for i in range(5)],
            "width": [8] * 5,
            "height": [8] * 5,
        }
    )
    monkeypatch.setattr(probe_features, "batch_size", lambda _pixels: 2)
    held = hold(tmp_path, rows[::-1], 8, CPU)
    assert held.pixels_NCHW.dtype is torch.uint8
    assert np.array_equal(held.pixels_NCHW.permute(0, 2, 3, 1).numpy(), pixels[::-1])
    assert held.labels.tolist() == [4, 3, 2, 1, 0]
    with pytest.raises(ValueError, match="no images"):
        hold(tmp_path, rows[:0], 8, CPU)
