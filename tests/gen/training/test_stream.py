"""A stream is read ahead by one thread, differs between draws, and hides no error."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from gen.datasets.shards import encode_png, write_shard
from gen.schema import StreamConfig
from gen.training import stream
from gen.training.stream import BATCHES_AHEAD, StreamedPairs
from splits.errors import UserError

COUNT = 5


@pytest.fixture
def config(tmp_path) -> StreamConfig:
    """Two shards of ten pairs: the caption of an image is its brightness."""
    for shard in range(2):
        samples = [
            {"__key__": f"{grey}", "png": encode_png(np.full((9, 6, 3), grey, np.uint8))}
            | {"txt": str(grey).encode()}
            for grey in range(100 * shard, 100 * shard + 10)
        ]
        write_shard(tmp_path / f"{shard}.tar", samples)
    return StreamConfig(shards=[str(tmp_path / f"{shard}.tar") for shard in range(2)], buffer=20)


def captions(config: StreamConfig, batches: int = 8, **options) -> list[str]:
    pairs = StreamedPairs(config, 4, COUNT, **{"seed": 0, **options})
    drawn = [caption for _ in range(batches) for caption in next(pairs)[1]]
    pairs.close()
    return drawn


def streaming() -> int:
    return sum(thread.name == "stream" for thread in threading.enumerate())


def test_a_batch_has_images_as_models_see_them_and_their_captions(config):
    pairs = StreamedPairs(config, 4, COUNT, seed=0)
    images, texts = next(pairs)
    pairs.close()
    assert (images.shape, images.dtype) == ((COUNT, 3, 4, 4), torch.uint8)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert images.amin((1, 2, 3)).tolist() == images.amax((1, 2, 3)).tolist()
    assert [str(value) for value in images[:, 0, 0, 0].tolist()] == texts


def test_seed_samples_seen_and_rank_give_draws_of_their_own(config):
    draws = [{}, {"seed": 1}, {"samples_seen": 40}, {"rank": 1}, {"seed": 1, "rank": 1}]
    drawn = [captions(config, **options) for options in draws]
    assert captions(config) == drawn[0]
    assert len({tuple(texts) for texts in drawn}) == len(draws)


def test_the_thread_reads_ahead_but_not_for_ever(config, monkeypatch):
    taken, original = [], stream.stream_pairs

    def counted(*args, **options):
        for pair in original(*args, **options):
            taken.append(pair)
            yield pair

    monkeypatch.setattr(stream, "stream_pairs", counted)
    pairs = StreamedPairs(config, 4, COUNT, seed=0)
    for asked in range(3):
        deadline = time.monotonic() + 20
        while len(taken) < (BATCHES_AHEAD + asked) * COUNT and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert len(taken) == (BATCHES_AHEAD + asked) * COUNT
        next(pairs)
    pairs.close()


def test_closing_ends_the_thread_and_then_the_iteration(config):
    before = streaming()
    pairs = StreamedPairs(config, 4, COUNT, seed=0)
    next(pairs)
    assert streaming() == before + 1
    pairs.close()
    assert streaming() == before
    assert len(list(pairs)) <= BATCHES_AHEAD
    pairs.close()


def test_what_is_left_out_is_told_while_the_stream_goes_on(config):
    config.shards.append("missing.tar")
    config.max_rejected = 1
    pairs = StreamedPairs(config, 4, COUNT, seed=0)
    for _ in range(30):
        next(pairs)
    pairs.close()
    assert list(pairs.rejected) == ["missing.tar"]


def test_an_error_of_the_thread_is_raised_where_a_batch_is_asked_for(config):
    config.shards.append("missing.tar")
    before = streaming()
    pairs = StreamedPairs(config, 4, COUNT, seed=0)
    for _ in range(2):  # and again for who asks again
        with pytest.raises(UserError, match=r"missing\.tar: .*No such file"):
            list(pairs)
    pairs.close()
    assert streaming() == before


def test_a_stream_without_shards_is_an_error():
    pairs = StreamedPairs(StreamConfig(), 4, COUNT, seed=0)
    with pytest.raises(UserError, match="no shards"):
        next(pairs)
