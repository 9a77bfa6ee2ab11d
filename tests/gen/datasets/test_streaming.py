"""A stream draws pairs from shards for ever, the same for the same seed, and hides nothing."""

from __future__ import annotations

import io
import tarfile
from itertools import islice

import numpy as np
import pytest
from PIL import Image

from gen.datasets.streaming import stream_pairs
from splits.errors import UserError

GREYS = {f"{shard}{number}": 40 * shard + 4 * number for shard in range(3) for number in range(8)}


def encoded(grey: int, form: str = "PNG") -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (12, 8), (grey, grey, 255 - grey)).save(stream, form)
    return stream.getvalue()


def add(path: str, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "a") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def shards(tmp_path) -> list[str]:
    """Three shards of eight pairs: the caption of an image is its red value."""
    for key, grey in GREYS.items():
        members = {f"{key}.png": encoded(grey), f"{key}.txt": f" {grey}\n".encode()}
        add(str(tmp_path / f"{key[0]}.tar"), members)
    return [str(tmp_path / f"{shard}.tar") for shard in range(3)]


def take(count: int, shards: list[str], seed: int = 0, **options) -> list[tuple[np.ndarray, str]]:
    rejected = options.pop("rejected", {})
    return list(
        islice(stream_pairs(shards, seed=seed, pixels=4, rejected=rejected, **options), count)
    )


def test_every_pair_is_drawn_and_an_image_comes_with_its_caption(shards):
    pairs = take(400, shards, buffer=10)
    assert {caption for _, caption in pairs} == {str(grey) for grey in GREYS.values()}
    for image, caption in pairs:
        assert (image.dtype, image.shape) == (np.uint8, (4, 4, 3))
        assert (image == [int(caption), int(caption), 255 - int(caption)]).all()


def test_a_seed_gives_one_order_and_another_seed_another(shards):
    captions = [[caption for _, caption in take(60, shards, seed)] for seed in (0, 0, 1)]
    assert captions[0] == captions[1] != captions[2]


def test_the_captions_of_a_json_are_taken_where_there_is_no_text(tmp_path):
    path = str(tmp_path / "x.tar")
    add(path, {"a.png": encoded(7), "a.json": b'{"caption": "from the json"}'})
    assert take(1, [path])[0][1] == "from the json"


BAD = [
    ({"bad.jpg": encoded(7, "JPEG")[:-4], "bad.txt": b"truncated"}, "truncated"),
    ({"bad.png": b"no image", "bad.txt": b"not an image"}, "cannot identify"),
    ({"bad.png": encoded(7)}, "no caption"),
    ({"bad.png": encoded(7), "bad.txt": b" "}, "no caption"),
    ({"bad.png": encoded(7), "bad.txt": b"\xff"}, "utf-8"),
    ({"bad.png": encoded(7), "bad.json": b"[]"}, "no caption"),
    ({"bad.png": encoded(7), "bad.json": b"{"}, "Expecting"),
    ({"bad.txt": b"no image"}, "no image"),
    ({"bad.png": encoded(7), "bad.jpg": encoded(7), "bad.txt": b"two"}, "several images"),
]


@pytest.mark.parametrize(("members", "reason"), BAD)
def test_a_bad_sample_is_counted_once_and_left_out(shards, members, reason):
    add(shards[0], members)
    rejected: dict[str, str] = {}
    pairs = take(200, shards, buffer=10, max_rejected=1, rejected=rejected)
    assert len(pairs) == 200
    assert list(rejected) == [f"{shards[0]}/bad"]
    assert reason in rejected[f"{shards[0]}/bad"]


@pytest.mark.parametrize(("members", "reason"), BAD)
def test_one_bad_sample_too_many_ends_the_stream(shards, members, reason):
    add(shards[0], members)
    with pytest.raises(UserError, match=rf"1 bad samples(?s:.*)bad: .*{reason}(?s:.*)max_rejected"):
        take(200, shards, buffer=10)


@pytest.mark.parametrize("content", [b"", b"no tar" * 200, bytes(10240)])
def test_a_shard_without_samples_is_counted(shards, tmp_path, content):
    (tmp_path / "bad.tar").write_bytes(content)
    bad = str(tmp_path / "bad.tar")
    rejected: dict[str, str] = {}
    assert len(take(100, [*shards, bad], buffer=10, max_rejected=1, rejected=rejected)) == 100
    assert list(rejected) == [bad]
    with pytest.raises(UserError, match=r"1 bad samples or shards, the last one .*bad\.tar"):
        take(1, [bad])


@pytest.mark.parametrize("cut", [600, 1000, 1700, 3000])
def test_a_truncated_shard_is_counted(shards, cut):
    with open(shards[0], "rb+") as file:
        file.truncate(cut)
    with pytest.raises(UserError, match=r"0\.tar"):
        take(200, shards, buffer=10)


def test_a_missing_shard_is_counted_by_its_name(shards):
    with pytest.raises(UserError, match=r"missing\.tar: .*No such file"):
        take(100, [*shards, "missing.tar"], buffer=10)


def test_a_stream_of_nothing_is_an_error():
    with pytest.raises(UserError, match="no shards"):
        take(1, [])
