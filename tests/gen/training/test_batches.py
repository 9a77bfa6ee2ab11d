"""Batches are pure functions of (seed, step), shared out among processes; a stream joins them."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from small_run import (
    CAPTIONS,
    CONFIG,
    CPU,
    PIXELS,
    RELATED,
    SAMPLES,
    TEXT_PAIRS,
    small_pairs,
)

from gen.models.rendering import Renderer
from gen.models.vocabulary import build_vocabulary, full_vocabulary
from gen.schema import StreamConfig, TextPairsConfig
from gen.training.batches import Feed
from gen.training.distributed import Ranks
from gen.training.schedule import teaches_texts
from splits.errors import UserError


def feed(tmp_path, *, rank=0, size=1, texts=None, **changes):
    texts = texts or build_vocabulary(CAPTIONS)
    ranks, config = Ranks(rank, size, rank, CPU, size), replace(CONFIG, **changes)
    pairs = small_pairs(texts, related=teaches_texts(config))
    return Feed(pairs, texts, config, 0, ranks, tmp_path)


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


QUARTER = TextPairsConfig("captions", 0.25)
HALF = TextPairsConfig("captions", 0.5)
EVERY_TEXT = [*CAPTIONS, *RELATED]


def texts_of(batch, source):
    """The texts of a batch's captions and second texts, and of its first texts."""
    known = {
        tuple(row.flatten().tolist()): text
        for row, text in zip(source.pairs.texts, EVERY_TEXT, strict=True)
    }
    told = [known[tuple(row.flatten().tolist())] for row in batch.texts]
    return [told[row] for row in batch.text_of], [told[row] for row in batch.firsts.rows]


def test_pairs_of_texts_have_their_share_of_every_batch_behind_the_images(tmp_path):
    source = feed(tmp_path, text_pairs=QUARTER)
    for step, batch in enumerate(batches(source)):
        seconds, firsts = texts_of(batch, source)
        assert len(batch.images) == len(batch.labels) == len(source.ids(step)) == 6
        assert (len(seconds), len(batch.captions)) == (8, 8)
        assert set(seconds[:6]) <= set(CAPTIONS)
        drawn = TEXT_PAIRS.drawn(step, 2, seed=0)
        assert [firsts, seconds[6:]] == [[EVERY_TEXT[row] for row in side] for side in drawn]


def test_equal_texts_of_a_batch_have_equal_numbers_wherever_they_stand(tmp_path):
    source = feed(tmp_path, text_pairs=HALF)
    for batch in batches(source):
        seconds, firsts = texts_of(batch, source)
        told = [*seconds, *seconds[:4], *firsts]
        numbers = [*batch.captions.tolist(), *batch.anchors.tolist()]
        assert len(set(zip(told, numbers, strict=True))) == len(set(told)) == len(set(numbers))


def test_a_share_of_none_is_a_training_without_pairs_of_texts(tmp_path):
    plain = batches(feed(tmp_path))
    for changes in (TextPairsConfig("captions", 0.0), TextPairsConfig("", 0.25)):
        for one, other in zip(plain, batches(feed(tmp_path, text_pairs=changes)), strict=True):
            assert other.firsts is None
            assert torch.equal(one.images, other.images)
            assert torch.equal(one.anchors, other.captions)


def test_pairs_of_texts_do_not_depend_on_where_a_training_starts(tmp_path):
    source = feed(tmp_path, text_pairs=QUARTER)
    for one, other in zip(batches(source)[7:], batches(source, first=7), strict=True):
        assert torch.equal(one.images, other.images)
        assert texts_of(one, source) == texts_of(other, source)


@pytest.mark.parametrize("size", [2, 4])
def test_several_processes_share_out_images_and_pairs_of_texts(tmp_path, size):
    changes = {"text_pairs": HALF}
    sources = [feed(tmp_path, rank=rank, size=size, **changes) for rank in range(size)]
    whole_source = feed(tmp_path, **changes)
    parts = [batches(source) for source in sources]
    for whole, *own in zip(batches(whole_source), *parts, strict=True):
        assert torch.equal(torch.cat([part.images for part in own]), whole.images)
        told = [texts_of(part, source) for part, source in zip(own, sources, strict=True)]
        seconds, firsts = texts_of(whole, whole_source)
        images = 4 // size
        assert [text for some, _ in told for text in some[:images]] == seconds[:4]
        assert [text for some, _ in told for text in some[images:]] == seconds[4:]
        assert [text for _, some in told for text in some] == firsts


def test_what_is_done_to_images_is_not_done_to_texts(tmp_path):
    renderer = Renderer(64, "unifont")
    drawn = renderer.encode(EVERY_TEXT)
    for batch in batches(feed(tmp_path, texts=renderer, text_pairs=HALF, crop_area=0.1)):
        assert batch.texts.dtype == torch.uint8
        assert all(any(torch.equal(text, one) for one in drawn) for text in batch.texts)


@pytest.mark.parametrize(
    ("changes", "size", "found"),
    [
        ({"text_pairs": TextPairsConfig("captions", 0.05)}, 1, "is 0 pairs of texts"),
        ({"text_pairs": TextPairsConfig("captions", 0.95)}, 1, "is 8 pairs of texts"),
        ({"text_pairs": QUARTER}, 4, r"is 2 pairs of texts(?s:.*)4 processes × 1 equal parts"),
        ({"text_pairs": QUARTER, "accumulate": 4}, 1, r"1 processes × 4 equal parts"),
    ],
)
def test_a_share_that_cannot_be_shared_out_is_refused(tmp_path, changes, size, found):
    with pytest.raises(UserError, match=found):
        feed(tmp_path, size=size, **changes)
