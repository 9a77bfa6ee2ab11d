"""Pairs that are streamed beside a mixture, read ahead by a thread.

What a stream shows depends on the seed, the samples seen when it began, and the process; a run
that goes on draws anew. It is declared as such: a run with a stream is not exactly resumable.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread

import numpy as np
import torch

from gen.datasets.streaming import check_rejected, stream_pairs
from gen.models.texts import Texts
from gen.randomness import generator
from gen.schema import StreamConfig
from splits.errors import UserError

BATCHES_AHEAD = 4
SECONDS_OF_SILENCE = 300.0
"""after which a stream that gives nothing is given up"""
SECONDS_TO_CLOSE = 10.0
"""that closing waits for a sample; an address that does not answer must not hold a run up"""
Batch = tuple[torch.Tensor, list[str]]


class StreamedPairs:
    """An endless iterator of batches of streamed pairs.

    Each is the images, uint8 of shape [count, 3, P, P] in channels-last memory, and their captions.
    An error of the stream (too many bad samples) is raised where the next batch is asked for.

    Args:
        config: which shards, and how many of their samples may be bad.
        pixels: P, height and width of the images: their centre squares, resized.
        count: pairs of a batch.
        seed: of the run.
        samples_seen: by the run when this stream begins; another number is another draw.
        rank: of this process; every process has its own draw.
        texts: encodes the captions; what it refuses is left out, too.
    """

    def __init__(
        self,
        config: StreamConfig,
        pixels: int,
        count: int,
        seed: int,
        samples_seen: int = 0,
        rank: int = 0,
        texts: Texts | None = None,
    ) -> None:
        self._config, self._texts = config, texts
        self._rejected: dict[str, str] = {}
        self._pairs = stream_pairs(
            config.shards,
            seed=int(generator("stream", seed, samples_seen, rank).integers(2**31)),
            pixels=pixels,
            rejected=self._rejected,
            max_rejected=config.max_rejected,
            buffer=config.buffer,
        )
        self._shape = (count, pixels, pixels, 3)
        self._room, self._closed = Semaphore(BATCHES_AHEAD), False
        self._ready: SimpleQueue[Batch | Exception] = SimpleQueue()
        self._thread = Thread(target=self._read, name="stream", daemon=True)
        self._thread.start()

    @property
    def rejected(self) -> dict[str, str]:
        """The samples and shards that were left out so far, each with its reason."""
        return dict(self._rejected)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        try:
            batch = self._ready.get(timeout=SECONDS_OF_SILENCE)
        except Empty:
            raise UserError(
                f"the stream gave nothing for {SECONDS_OF_SILENCE:.0f} seconds",
                where=", ".join(self._config.shards[:3]),
                fix="see whether its source answers; the same command goes on from the last state",
            ) from None
        if isinstance(batch, Exception):
            self._ready.put(batch)  # for whoever asks again: the thread has ended
            raise batch
        self._room.release()
        return batch

    def close(self) -> None:
        """End the thread; the iteration ends after the batches that it had ready."""
        self._closed = True
        self._room.release()
        self._thread.join(SECONDS_TO_CLOSE)

    def _read(self) -> None:
        with closing(self._pairs):  # and with it the shard that is open
            try:
                while True:
                    self._room.acquire()
                    self._ready.put(self._batch())
            except Exception as error:  # raised again where a batch is asked for
                self._ready.put(error)

    def _next(self) -> tuple[np.ndarray, str]:
        """The next pair whose caption can be encoded."""
        for image, caption in self._pairs:
            try:
                if self._texts is not None:
                    self._texts.encode([caption])
            except UserError as error:
                self._rejected[f"caption {caption!r}"] = str(error)
                check_rejected(self._rejected, self._config.max_rejected)
            else:
                return image, caption
        raise StopIteration

    def _batch(self) -> Batch:
        images, captions = np.empty(self._shape, np.uint8), []
        for image in images:
            if self._closed:
                raise StopIteration
            image[...], caption = self._next()
            captions.append(caption)
        return torch.from_numpy(images).permute(0, 3, 1, 2), captions
