"""Wherever training images wait, batches are the same pixels in the same order, or an error."""

from __future__ import annotations

import threading
import time
from itertools import islice

import cv2
import numpy as np
import polars as pl
import pytest
import torch

from gen.datasets import shards
from gen.datasets.shards import read_images, write_shard
from gen.schema import ImagePlace
from gen.training import images as waiting
from gen.training.images import BATCHES_AHEAD, Resident, place_images
from splits.errors import UserError

CPU = torch.device("cpu")
PIXELS = 8
SIZES = ((8, 8), (13, 11), (9, 30), (6, 5))
RNG = np.random.default_rng(0)
# more than one task of a batch, and a sample twice
ORDER = [RNG.integers(0, 150, size) for size in (7, 100, 1, 64, 33)]
BOTH = [ImagePlace.memory, ImagePlace.disk]


def dataset(folder, count: int) -> tuple:
    """Images of several sizes, as JPEG and PNG, in shards of ten, and their sample table."""
    rows = []
    for shard in range(0, count, 10):
        members, shapes = [], {}
        for number in range(shard, min(shard + 10, count)):
            shape, extension = SIZES[number % 4], ("jpg", "png")[number % 2]
            image = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
            content = cv2.imencode(f".{extension}", image)[1].tobytes()
            members.append({"__key__": f"{number:03}", extension: content})
            shapes[f"{number:03}.{extension}"] = shape
        places = write_shard(folder / "shards" / f"{shard}.tar", members)
        rows += [
            (f"{folder.name}/{name}", f"{shard}.tar", *place, *shapes[name])
            for name, place in places.items()
        ]
    columns = ["id", "shard", "offset", "size", "height", "width"]
    return folder, pl.DataFrame(rows, columns, orient="row")


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> list[tuple]:
    """A mixture, not in the order of its shards and with copies, and its base."""
    folder, table = dataset(tmp_path_factory.mktemp("mixture"), 90)
    mixture = table[np.random.default_rng(1).integers(0, 90, 100)]
    return [(folder, mixture), dataset(tmp_path_factory.mktemp("base"), 50)]


@pytest.fixture(scope="module")
def expected(parts) -> np.ndarray:
    return np.concatenate([read_images(*part, PIXELS) for part in parts])


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    assert not reading() & {"images", "load"}


def reading() -> set[str]:
    """Names of the threads there are, without their numbers."""
    return {thread.name.rsplit("_", 1)[0] for thread in threading.enumerate()}


def place(parts, wanted, *, threads: int = 2, device: torch.device = CPU, **options):
    return place_images(parts, PIXELS, device, wanted, threads, **options)


# ------------------------------------------------------------------------------ pixels, order


@pytest.mark.parametrize("wanted", BOTH)
@pytest.mark.parametrize("threads", [1, 3])
def test_batches_are_the_images_asked_for_in_that_order(parts, expected, wanted, threads):
    images, _ = place(parts, wanted, threads=threads)
    assert len(images) == len(expected) == 150
    batches = list(images.batches(ORDER))
    for batch, positions in zip(batches, ORDER, strict=True):
        assert (batch.dtype, batch.shape) == (torch.uint8, (len(positions), 3, PIXELS, PIXELS))
        assert batch.is_contiguous(memory_format=torch.channels_last)
        assert (batch.permute(0, 2, 3, 1).numpy() == expected[positions]).all()


@pytest.mark.parametrize("wanted", BOTH)
def test_images_can_be_gone_through_several_times_at_once(parts, wanted):
    images, _ = place(parts, wanted)
    for first, second in zip(images.batches(ORDER), images.batches(ORDER), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("wanted", BOTH)
def test_a_batch_is_the_consumers_own(parts, expected, wanted):
    images, _ = place(parts, wanted)
    for batch in images.batches([np.arange(9)] * 6):
        assert (batch.permute(0, 2, 3, 1).numpy() == expected[:9]).all()
        batch.zero_()


def test_more_shards_than_files_may_be_open_are_read_all_the_same(parts, expected, monkeypatch):
    monkeypatch.setattr(shards, "MOST_SHARDS", 2)
    images, _ = place(parts, ImagePlace.disk, threads=3)
    (batch,) = images.batches([np.arange(150)[::-1]])
    assert (batch.permute(0, 2, 3, 1).numpy() == expected[::-1]).all()


# ------------------------------------------------------------------------------ ahead, ends


def test_images_on_disk_are_read_ahead_but_not_for_ever(parts):
    images, _ = place(parts, ImagePlace.disk)
    asked = []

    def positions():
        for number in range(100):
            asked.append(number)
            yield np.arange(40)

    batches = images.batches(positions())
    assert asked == []
    for taken in range(1, 4):
        next(batches)
        assert len(asked) == taken + BATCHES_AHEAD
    batches.close()


def test_a_consumer_that_fails_leaves_no_thread(parts):
    images, _ = place(parts, ImagePlace.disk)
    names = set()

    def consume():
        for _ in images.batches([np.arange(40)] * 50):
            names.update(reading())
            raise RuntimeError("the loss is not a number")

    with pytest.raises(RuntimeError, match="loss"):
        consume()
    assert "images" in names


def test_an_end_in_the_middle_does_not_wait_for_what_was_to_be_read(parts, monkeypatch):
    images, _ = place(parts, ImagePlace.disk, threads=1)
    read, original = [], images.stored.read

    def slow(position, out):
        read.append(position)
        time.sleep(0.01 * (len(read) > 150))  # after the first batch
        original(position, out)

    monkeypatch.setattr(images.stored, "read", slow)
    list(islice(images.batches([np.arange(150)] * 9), 1))
    assert 150 <= len(read) < 150 * (1 + BATCHES_AHEAD)


@pytest.mark.parametrize("wanted", BOTH)
def test_a_damaged_image_is_the_same_error_as_when_images_are_read_at_once(tmp_path, wanted):
    folder, table = dataset(tmp_path, 60)
    path = folder / "shards" / "20.tar"
    path.write_bytes(path.read_bytes()[: table["offset"][24] + 5])
    with pytest.raises(UserError, match=r"/024\.jpg` in .*20\.tar is damaged") as direct:
        read_images(folder, table, PIXELS)

    def use():
        images, _ = place([(folder, table)], wanted, threads=3)
        list(images.batches([np.arange(20), np.arange(60)]))

    with pytest.raises(UserError) as raised:
        use()
    assert str(raised.value) == str(direct.value)


def test_batches_before_a_damaged_image_come(tmp_path):
    folder, table = dataset(tmp_path, 20)
    (folder / "shards" / "10.tar").unlink()
    images, _ = place([(folder, table)], ImagePlace.disk)
    batches = images.batches([np.arange(10), np.arange(5, 15)])
    assert next(batches).shape[0] == 10
    with pytest.raises(UserError, match=r"10\.tar is missing"):
        next(batches)


# ------------------------------------------------------------------------------ places


def with_room(monkeypatch, available: float) -> None:
    for module in (shards, waiting):
        monkeypatch.setattr(module, "available_memory", lambda: int(available))


NEEDED = 150 * 3 * PIXELS**2


@pytest.mark.parametrize(
    ("available", "processes", "expected"),
    [
        (NEEDED / 0.74, 1, ImagePlace.memory),
        (NEEDED / 0.76, 1, ImagePlace.disk),
        (4 * NEEDED / 0.74, 4, ImagePlace.memory),
        (4 * NEEDED / 0.76, 4, ImagePlace.disk),
    ],
)
def test_images_wait_in_memory_where_every_process_has_room(
    parts, monkeypatch, available, processes, expected
):
    with_room(monkeypatch, available)
    images, words = place(parts, ImagePlace.auto, processes=processes)
    assert isinstance(images, Resident) == (expected is ImagePlace.memory)
    assert words.startswith("0.0 GiB in memory" if isinstance(images, Resident) else "on disk: 0.0")


def test_words_say_why_images_are_on_disk(parts, monkeypatch):
    with_room(monkeypatch, 3 * 2**30)
    words = place_words(200 * 2**30, processes=4)
    assert words == (
        "on disk: 200.0 GiB would not fit into 0.8 GiB of memory, the share of one of 4 processes"
    )
    assert place(parts, ImagePlace.disk)[1] == "on disk, as configured; 2 threads decode"


def place_words(needed: int, processes: int) -> str:
    return waiting._choose(ImagePlace.auto, needed, CPU, processes)[1]


@pytest.mark.parametrize("wanted", [ImagePlace.memory, ImagePlace.device])
def test_a_place_without_room_is_an_error_where_it_was_asked_for(parts, monkeypatch, wanted):
    with_room(monkeypatch, NEEDED - 1)
    with pytest.raises(UserError, match=r"150 images need .* GiB of memory(?s:.*)images=disk"):
        place(parts, wanted)


GB = 2**30


@pytest.mark.parametrize(
    ("needed", "free", "expected"),
    [
        (40, 100, ImagePlace.device),
        (51, 140, ImagePlace.device),
        (51, 100, ImagePlace.memory),  # more than half of what is free
        (30, 70, ImagePlace.memory),  # 40 of 140 would be left for the model
    ],
)
def test_images_wait_on_a_device_that_keeps_room_for_the_model(monkeypatch, needed, free, expected):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free * GB, 140 * GB))
    with_room(monkeypatch, 1000 * GB)
    cuda = torch.device("cuda")
    chosen, words = waiting._choose(ImagePlace.auto, needed * GB, cuda, 1)
    assert chosen is expected
    assert words == f"{needed}.0 GiB " + (
        "on the device" if chosen is ImagePlace.device else "in memory"
    )
    assert waiting._choose(ImagePlace.memory, needed * GB, cuda, 1)[0] is ImagePlace.memory
    assert waiting._choose(ImagePlace.device, needed * GB, cuda, 1)[0] is ImagePlace.device


def test_a_device_without_room_is_an_error(monkeypatch, parts):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (NEEDED - 1, 140 * GB))
    with pytest.raises(UserError, match="of the device's memory"):
        place(parts, ImagePlace.device, device=torch.device("cuda"))


def test_loading_shows_progress_where_it_takes_long(parts, monkeypatch, capfd):
    place(parts, ImagePlace.memory)
    assert "decoding" not in capfd.readouterr().err
    monkeypatch.setattr(waiting, "SECONDS_WITHOUT_PROGRESS", 0.0)
    monkeypatch.setattr(waiting, "IMAGES_PER_PIECE", 50)
    place(parts, ImagePlace.memory)
    assert "150/150" in capfd.readouterr().err


# ------------------------------------------------------------------------------ CUDA


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("wanted", [ImagePlace.device, *BOTH])
def test_batches_on_a_device_are_those_of_the_processor(parts, expected, wanted):
    images, _ = place(parts, wanted, device=torch.device("cuda"))
    for batch, positions in zip(images.batches(ORDER * 9), ORDER * 9, strict=True):
        assert batch.is_cuda
        assert batch.is_contiguous(memory_format=torch.channels_last)
        assert (batch.permute(0, 2, 3, 1).cpu().numpy() == expected[positions]).all()
        batch.zero_()
