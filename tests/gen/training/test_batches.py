"""Batches are pure functions of (seed, step), shared out among processes; a stream joins them."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from small_run import CAPTIONS, CONFIG, CPU, PIXELS, SAMPLES, small_pairs

from gen.models.vocabulary import build_vocabulary, full_vocabulary
from gen.schema import StreamConfig
from gen.training.batches import Feed
from gen.training.distributed import Ranks
from splits.errors import UserError


def feed(tmp_path, *, rank=0, size=1, texts=None, **changes):
    texts = texts or build_vocabulary(CAPTIONS)
    ranks = Ranks(rank, size, rank, CPU, size)
    return Feed(small_pairs(texts), texts, replace(CONFIG, **changes), 0, ranks, tmp_path)


def batches(feed, first=0):
    return list(feed.batches(first))


def write_stream(path, *, damaged=0):
    """A tar of eight pairs, of which some are no images."""
    with tarfile.open(path, "w") as tar:
        for number in range(8):
            image = np.full((40, 48, 3), 10 * number, np.uint8)
            data = cv2.imencode(".png", image)[1].tobytes() if number >= damaged else b"no image"
            caption = f"stream {number}".encode()
            for name, content in ((f"{number}.png", data), (f"{number}.txt", caption)):
                (path.parent / name).write_bytes(content)
                tar.add(path.parent / name, name)
    return str(path)


def test_a_run_has_its_steps_and_every_batch_its_rows(tmp_path):
    made = batches(feed(tmp_path))
    assert len(made) == 12
    for batch in made:
        assert batch.images.shape == (8, 3, PIXELS, PIXELS)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert -1 <= batch.images.min() < -0.9 < 0.9 < batch.images.max() <= 1
        assert len(batch.texts) == len(batch.captions.unique()) <= len(CAPTIONS)


def test_a_row_of_a_batch_has_the_caption_of_its_sample(tmp_path):
    source = feed(tmp_path)
    for step, batch in enumerate(batches(source)):
        positions = [int(name.removeprefix("sample_")) for name in source.ids(step)]
        expected = source.pairs.texts[source.pairs.caption_ids[positions]]
        assert torch.equal(batch.texts[batch.text_of], expected)
        assert torch.equal(batch.labels, torch.from_numpy(source.pairs.labels[positions]))


def test_an_epoch_shows_every_sample_once(tmp_path):
    source = feed(tmp_path)
    shown = [name for step in range(SAMPLES // 8) for name in source.ids(step)]
    assert sorted(shown) == sorted(source.pairs.ids)


def test_batches_do_not_depend_on_where_a_training_starts(tmp_path):
    whole, rest = batches(feed(tmp_path)), batches(feed(tmp_path), first=7)
    assert len(rest) == 5
    for one, other in zip(whole[7:], rest, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.texts, other.texts)


@pytest.mark.parametrize("size", [2, 4])
def test_the_parts_of_several_processes_make_the_batch_of_one(tmp_path, size):
    parts = [batches(feed(tmp_path, rank=rank, size=size)) for rank in range(size)]
    for whole, *own in zip(batches(feed(tmp_path)), *parts, strict=True):
        assert torch.equal(torch.cat([part.images for part in own]), whole.images)
        assert torch.equal(torch.cat([part.captions for part in own]), whole.captions)
        texts = torch.cat([part.texts[part.text_of] for part in own])
        assert torch.equal(texts, whole.texts[whole.text_of])


def test_a_batch_that_does_not_fall_into_parts_is_refused(tmp_path):
    with pytest.raises(UserError, match="3 processes × 1 equal parts"):
        feed(tmp_path, rank=0, size=3)


def test_a_stream_gives_its_share_of_every_batch_with_its_captions(tmp_path):
    stream = StreamConfig(shards=[write_stream(tmp_path / "a.tar")], share=0.25, buffer=4)
    texts = full_vocabulary()
    source = feed(tmp_path, texts=texts, stream=stream, samples_seen=32)
    known = {tuple(row.tolist()) for row in texts.encode([f"stream {n}" for n in range(8)])}
    for step, batch in enumerate(batches(source)):
        assert len(source.ids(step)) == 6
        assert len(batch.images) == len(batch.captions) == 8
        rows = batch.texts[batch.text_of]
        assert [tuple(row.tolist()) in known for row in rows] == [False] * 6 + [True] * 2
    assert not (tmp_path / "rejected.json").exists()


def test_what_a_stream_leaves_out_is_listed(tmp_path):
    shard = write_stream(tmp_path / "a.tar", damaged=1)
    stream = StreamConfig(shards=[shard], share=0.5, buffer=1, max_rejected=1)
    batches(feed(tmp_path, texts=full_vocabulary(), stream=stream, samples_seen=64))
    listed = json.loads((tmp_path / "rejected.json").read_text())
    assert list(listed) == [f"{shard}/0"]


def test_more_bad_samples_than_allowed_stop_the_training(tmp_path):
    shard = write_stream(tmp_path / "a.tar", damaged=2)
    stream = StreamConfig(shards=[shard], share=0.5, buffer=1)
    with pytest.raises(UserError, match="bad samples or shards"):
        batches(feed(tmp_path, texts=full_vocabulary(), stream=stream))


def test_a_share_that_rounds_to_nothing_is_refused(tmp_path):
    stream = StreamConfig(shards=["never opened"], share=0.01)
    with pytest.raises(UserError, match="is 0 streamed pairs"):
        feed(tmp_path, stream=stream)


def test_a_streamed_caption_that_cannot_be_encoded_is_left_out_and_counted(tmp_path):
    shard = write_stream(tmp_path / "a.tar")
    known = build_vocabulary([*CAPTIONS, *(f"stream {number}" for number in range(7))])
    stream = StreamConfig(shards=[shard], share=0.5, buffer=1, max_rejected=1)
    batches(feed(tmp_path, texts=known, stream=stream, samples_seen=64))
    listed = json.loads((tmp_path / "rejected.json").read_text())
    assert list(listed) == ["caption 'stream 7'"]
