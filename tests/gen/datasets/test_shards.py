"""A shard is a webdataset tar: equal content gives equal bytes, and every image comes back."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import webdataset

from gen.datasets.shards import encode_png, read_images, write_shard
from splits.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, size=(6, 8, 8, 3), dtype=np.uint8)
IDS = [f"sample_{number}" for number in range(len(IMAGES))]


def members(numbers):
    return [
        {
            "__key__": IDS[number],
            "png": encode_png(IMAGES[number]),
            "txt": f"picture {number}, größer".encode(),
            "cls": str(number).encode(),
        }
        for number in numbers
    ]


def write(folder):
    """Two shards of three images, and their rows of a sample table."""
    rows = []
    for name, numbers in (("a.tar", (0, 1, 2)), ("b.tar", (3, 4, 5))):
        places = write_shard(folder / "shards" / name, members(numbers))
        rows += [(IDS[number], name, *places[f"{IDS[number]}.png"], 8, 8) for number in numbers]
    columns = ["id", "shard", "offset", "size", "height", "width"]
    return pl.DataFrame(rows, columns, orient="row")


def test_images_come_back_as_they_were_in_the_order_asked_for(tmp_path):
    table = write(tmp_path)
    assert (read_images(tmp_path, table, 8) == IMAGES).all()
    order = [4, 0, 5, 2, 4]
    assert (read_images(tmp_path, table[order], 8) == IMAGES[order]).all()


def test_webdataset_reads_the_same_images_captions_and_classes(tmp_path):
    write(tmp_path)
    shard = str(tmp_path / "shards" / "b.tar")
    samples = list(webdataset.WebDataset(shard, shardshuffle=False).decode("rgb8"))
    assert [sample["__key__"] for sample in samples] == IDS[3:]
    assert [sample["txt"] for sample in samples] == [f"picture {n}, größer" for n in (3, 4, 5)]
    assert [sample["cls"] for sample in samples] == [3, 4, 5]
    assert (np.stack([sample["png"] for sample in samples]) == IMAGES[3:]).all()


def test_equal_content_gives_equal_bytes_at_any_time(tmp_path, monkeypatch):
    write_shard(tmp_path / "a.tar", members(range(6)))
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_shard(tmp_path / "b.tar", members(range(6)))
    write_shard(tmp_path / "c.tar", members(range(5)))
    first, again, other = ((tmp_path / f"{name}.tar").read_bytes() for name in "abc")
    assert again == first
    assert other != first


def test_a_failure_while_writing_leaves_no_shard(tmp_path):
    def samples():
        yield from members([0])
        raise RuntimeError("the renderer failed")

    with pytest.raises(RuntimeError, match="renderer"):
        write_shard(tmp_path / "a.tar", samples())
    assert not list(tmp_path.iterdir())


def test_a_missing_shard_is_named(tmp_path):
    table = write(tmp_path)
    (tmp_path / "shards" / "b.tar").unlink()
    with pytest.raises(
        UserError,
        match=rf"shards/b\.tar is missing(?s:.*)clipgen dataset verify {tmp_path.name} --data",
    ):
        read_images(tmp_path, table, 8)
    assert (read_images(tmp_path, table[:3], 8) == IMAGES[:3]).all()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_an_image_that_a_truncated_shard_has_lost_is_named(tmp_path, share):
    table = write(tmp_path)
    path = tmp_path / "shards" / "b.tar"
    end = table["offset"][3] + table["size"][3]  # of the shard's first image
    path.write_bytes(path.read_bytes()[: int(share * end)])
    with pytest.raises(UserError, match=rf"`{IDS[3]}` in .*b\.tar is damaged"):
        read_images(tmp_path, table, 8)


def test_an_empty_shard_is_named(tmp_path):
    table = write(tmp_path)
    (tmp_path / "shards" / "b.tar").write_bytes(b"")
    with pytest.raises(UserError, match=r"shards/b\.tar is empty"):
        read_images(tmp_path, table, 8)


def test_an_image_of_another_size_is_named(tmp_path):
    table = write(tmp_path).with_columns(width=pl.lit(11))
    with pytest.raises(UserError, match=rf"`{IDS[0]}` in .*a\.tar is damaged"):
        read_images(tmp_path, table, 8)
