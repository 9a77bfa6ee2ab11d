"""The batches of a run, step after step: which samples, cropped how, with which captions.

Everything in a batch is a pure function of (seed, step), but what comes from a stream. With R
processes, process r makes rows [r B / R, (r + 1) B / R) of its B pairs of images and captions, and
as many of its pairs of texts.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import tee
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from gen.models.clip import normalise
from gen.models.texts import Texts
from gen.randomness import batch_uniforms, sample_keys
from gen.schema import TrainingConfig
from gen.training.augment import NUMBERS_PER_SAMPLE, random_resized_crop
from gen.training.distributed import Ranks, slice_of
from gen.training.order import batch_at
from gen.training.pairs import Pairs
from gen.training.schedule import check_text_rows, text_rows, total_steps
from gen.training.stream import StreamedPairs
from splits.errors import UserError
from splits.files import write_json


class FirstTexts(NamedTuple):
    """The first texts of a batch's t pairs of texts, which stand where other pairs have images.

    Attributes:
        rows: of the batch's `texts`, int64 [t].
        numbers: equal iff the texts are, also to those of captions, int64 [t].
    """

    rows: torch.Tensor
    numbers: torch.Tensor


@dataclass(frozen=True)
class Batch:
    """This process's b rows of a batch, on its device: i pairs with images, then t of texts.

    Attributes:
        images: cropped and normalised, float32 [i, 3, P, P] in channels-last memory.
        texts: encoded captions and texts of pairs, [T, ...]; None for a classifier.
        text_of: row of `texts` of every pair's caption or second text, int64 [b]; None for a
            classifier.
        captions: a number for each of these, equal iff the texts are, int64 [b].
        labels: class ids, int64 [i]; None where there are none.
        firsts: the first texts of the pairs of texts; None where there are none.
    """

    images: torch.Tensor
    texts: torch.Tensor | None
    text_of: torch.Tensor | None
    captions: torch.Tensor
    labels: torch.Tensor | None
    firsts: FirstTexts | None = None

    @property
    def anchors(self) -> torch.Tensor:
        """The number of what every caption stands against, int64 [b]: of an image, the caption's
        own; of a first text, that text's."""
        if self.firsts is None:
            return self.captions
        return torch.cat([self.captions[: len(self.images)], self.firsts.numbers])


class _Texts(NamedTuple):
    """The texts of a batch: what `Batch` has under the same names."""

    texts: torch.Tensor | None
    text_of: torch.Tensor | None
    captions: torch.Tensor
    firsts: FirstTexts | None


class _Plan(NamedTuple):
    """What a process shows in a step: samples by their positions, each in an epoch."""

    step: int
    epochs: np.ndarray
    positions: np.ndarray


@dataclass(frozen=True)
class Feed:
    """Makes the batches of a run.

    Attributes:
        pairs: of the mixture.
        texts: encodes the captions of a stream; None for a classifier.
        config: how the run is trained.
        seed: of order and augmentation.
        ranks: the processes of the run.
        folder: of the run, for the list of what a stream left out.
    """

    pairs: Pairs
    texts: Texts | None
    config: TrainingConfig
    seed: int
    ranks: Ranks
    folder: Path

    def __post_init__(self) -> None:
        batch, share = self.config.batch_size, self.config.stream.share
        slice_of(self.ranks, batch, self.config.accumulate)
        check_text_rows(self.config, self.ranks.size)
        if self.config.stream.shards and not 0 < self.streamed < batch:
            raise UserError(
                f"a share of {share} of a batch of {batch} in {self.ranks.size} processes is "
                f"{self.streamed} streamed pairs",
                expected="at least one pair of the stream and one of the mixture in every process",
                where="training.stream.share, training.batch_size",
            )

    @property
    def streamed(self) -> int:
        """Rows of a batch that come from the stream, over all processes."""
        stream = self.config.stream
        share = stream.share if stream.shards else 0.0
        return round(self.config.batch_size / self.ranks.size * share) * self.ranks.size

    def ids(self, step: int) -> list[str]:
        """Ids of the mixture's samples in a step, over all processes."""
        return self.pairs.ids.gather(self._all(step)[1]).to_list()

    def batches(self, first_step: int) -> Generator[Batch]:
        """The batches from a step on to the end of the run."""
        plans, ahead = tee(self._mine(step) for step in range(first_step, self._steps))
        with ExitStack() as stack:
            images = self.pairs.images.batches(plan.positions for plan in ahead)
            stack.enter_context(closing(images))
            stream = None
            if self.streamed:
                stream = self._open_stream(first_step)
                stack.callback(self._note_rejected, stream)
                stack.enter_context(closing(stream))
            for plan, uint8 in zip(plans, images, strict=True):
                yield self._batch(plan, uint8, stream)

    @property
    def _steps(self) -> int:
        return total_steps(self.config)

    def _all(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Epochs and positions of a step's samples of the mixture, over all processes."""
        count = self.config.batch_size - self.streamed - text_rows(self.config)
        return batch_at(step, count, len(self.pairs), self.seed)

    def _mine(self, step: int) -> _Plan:
        epochs, positions = self._all(step)
        mine = slice_of(self.ranks, len(positions))
        return _Plan(step, epochs[mine], positions[mine])

    def _open_stream(self, first_step: int) -> StreamedPairs:
        return StreamedPairs(
            self.config.stream,
            self.pairs.pixels,
            self.streamed // self.ranks.size,
            self.seed,
            first_step * self.config.batch_size,
            self.ranks.rank,
            self.texts,
        )

    def _note_rejected(self, stream: StreamedPairs) -> None:
        """Add what the stream left out, with the reasons, to this process's list."""
        if stream.rejected:
            rank = f"-{self.ranks.rank}" if self.ranks.size > 1 else ""
            path = self.folder / f"rejected{rank}.json"
            before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            write_json(path, before | stream.rejected)

    def _batch(self, plan: _Plan, uint8: torch.Tensor, stream: StreamedPairs | None) -> Batch:
        pairs, device = self.pairs, self.ranks.device
        keys = pairs.keys[plan.positions]
        numbers = batch_uniforms(self.seed, plan.epochs, keys, NUMBERS_PER_SAMPLE)
        captions: list[str] = []
        if stream is not None:
            streamed, captions = next(stream)
            uint8 = torch.cat([uint8, _sent(streamed, device)])
            rows = np.arange(len(captions), dtype=np.uint64) + np.uint64(self.ranks.rank << 32)
            steps = np.full(len(captions), plan.step)
            more = batch_uniforms(self.seed, steps, rows, NUMBERS_PER_SAMPLE)
            numbers = np.concatenate([numbers, more])
        images = random_resized_crop(
            uint8,
            _sent(torch.from_numpy(numbers.astype(np.float32)), device),
            crop_area=self.config.crop_area,
            flip=self.config.flip,
        )
        texts, text_of, caption_keys, firsts = self._texts(plan, captions)
        labels = None if pairs.labels is None else torch.from_numpy(pairs.labels[plan.positions])
        return Batch(
            normalise(images).contiguous(memory_format=torch.channels_last),
            texts,
            text_of,
            caption_keys,
            None if labels is None else _sent(labels, device),
            firsts,
        )

    def _texts(self, plan: _Plan, streamed: list[str]) -> _Texts:
        """Encoded texts, and which of them stands where.

        On a processor every distinct text is encoded once; on other devices every place has its
        own row, since shapes that never change are worth more there.
        """
        pairs, device = self.pairs, self.ranks.device
        first_ids, second_ids = self._text_pairs(plan.step)
        text_ids = np.concatenate([pairs.caption_ids[plan.positions], second_ids])
        keys = np.concatenate([pairs.caption_keys[text_ids], sample_keys(streamed)])
        caption_keys = _sent(torch.from_numpy(keys.view(np.int64)), device)
        if self.texts is None or pairs.texts is None:
            return _Texts(None, None, caption_keys, None)
        rows = np.concatenate([text_ids, first_ids])
        row_of = np.arange(len(rows))
        if device.type == "cpu":
            rows, row_of = np.unique(rows, return_inverse=True)
        texts = pairs.texts[torch.from_numpy(rows)]
        text_of, first_of = np.split(row_of, [len(text_ids)])
        if streamed:
            text_of = np.concatenate([text_of, len(texts) + np.arange(len(streamed))])
            texts = torch.cat([texts, self.texts.encode(streamed)])
        firsts = None
        if len(first_of):
            numbers = torch.from_numpy(pairs.caption_keys[first_ids].view(np.int64))
            firsts = FirstTexts(_sent(torch.from_numpy(first_of), device), _sent(numbers, device))
        places = _sent(torch.from_numpy(text_of), device)
        return _Texts(_sent(texts, device), places, caption_keys, firsts)

    def _text_pairs(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of this process's first and second texts of a step."""
        count = text_rows(self.config)
        if not count:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        assert self.pairs.text_pairs is not None, "they are read where the configuration has them"
        firsts, seconds = self.pairs.text_pairs.drawn(step, count, self.seed)
        mine = slice_of(self.ranks, count)
        return firsts[mine], seconds[mine]


def _sent(host: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor on the device; this process does not wait for the copy."""
    if device.type != "cuda":
        return host
    return host.pin_memory().to(device, non_blocking=True)
