"""Where training images wait: decoded on the device, decoded in memory, or encoded on disk.

Every place gives the same pixels in the order asked for; they differ in room and in speed only.

Shapes: N images, b of a batch, P pixels of a side.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
import torch
from tqdm import tqdm

from gen.datasets.shards import StoredImages, empty_images, no_room
from gen.machine import available_memory, cores
from gen.progress import progress
from gen.schema import ImagePlace

BATCHES_AHEAD = 2
"""that are read while the consumer has an earlier one"""
IMAGES_PER_TASK = 32
IMAGES_PER_PIECE = 256
"""that a thread decodes at a time while all are loaded"""
SECONDS_WITHOUT_PROGRESS = 3.0
SHARE_OF_MEMORY = 0.75
"""of what is available, which images may fill; the rest is for the model and other programs"""
SHARE_OF_FREE_DEVICE = 0.5
SHARE_LEFT_ON_DEVICE = 0.3
"""of the whole device, for weights, gradients and activations"""
Fill = Callable[[np.ndarray, torch.Tensor], None]


class Images(Protocol):
    """The training images."""

    def __len__(self) -> int: ...

    def batches(self, positions: Iterable[np.ndarray]) -> Generator[torch.Tensor]:
        """Yield one batch for each array of positions, in order.

        Args:
            positions: int arrays of shape [b]; they are asked for some batches ahead.

        Yields:
            uint8, shape [b, 3, P, P] in channels-last memory, on the device.

        Raises:
            UserError: an image is damaged.
        """
        ...


class Resident:
    """Images that are decoded, on the device or in the machine's memory.

    Args:
        images: uint8, shape [N, P, P, 3].
        device: on which batches are wanted.
    """

    def __init__(self, images: torch.Tensor, device: torch.device) -> None:
        self.images, self.device = images, device

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, positions: Iterable[np.ndarray]) -> Generator[torch.Tensor]:
        if self.images.device.type == self.device.type:
            for wanted in positions:
                rows = _rows(wanted)
                if self.images.is_cuda:  # from pinned memory: nothing waits for the copy
                    rows = rows.pin_memory().to(self.images.device, non_blocking=True)
                yield self.images.index_select(0, rows).permute(0, 3, 1, 2)
        else:
            gathered = _read_ahead(self._gather, positions, self.images.shape[1], 1, self.device)
            yield from _on_device(gathered, self.device)

    def _gather(self, wanted: np.ndarray, out: torch.Tensor) -> None:
        torch.index_select(self.images, 0, _rows(wanted), out=out)


class OnDisk:
    """Images that stay encoded in their shards; threads decode them some batches ahead.

    Args:
        stored: the images.
        device: on which batches are wanted.
        threads: that decode.
    """

    def __init__(self, stored: StoredImages, device: torch.device, threads: int) -> None:
        self.stored, self.device, self.threads = stored, device, threads

    def __len__(self) -> int:
        return len(self.stored)

    def batches(self, positions: Iterable[np.ndarray]) -> Generator[torch.Tensor]:
        pixels, threads, device = self.stored.pixels, self.threads, self.device
        decoded = _read_ahead(self._decode, positions, pixels, threads, device)
        yield from _on_device(decoded, device)

    def _decode(self, wanted: np.ndarray, out: torch.Tensor) -> None:
        for position, image in zip(wanted, out.numpy(), strict=True):
            self.stored.read(position, image)


def place_images(
    parts: Sequence[tuple[Path, pl.DataFrame]],
    pixels: int,
    device: torch.device,
    wanted: ImagePlace,
    readers: int,
    processes: int = 1,
) -> tuple[Images, str]:
    """Bring the training images to where they wait.

    Args:
        parts: (dataset folder, rows of its sample table), one after another.
        pixels: P, height and width at which models see an image.
        device: on which batches are wanted.
        wanted: the place; `auto` takes the first of device, memory and disk that has room.
        readers: threads of this process that decode; 0: its share of the cores.
        processes: processes on this machine that ask for the same.

    Returns:
        The images, and for people where they are and why.

    Raises:
        UserError: the place that is asked for lacks room, or an image is damaged.
    """
    stored = StoredImages(parts, pixels)
    threads = readers or max(1, cores() // processes)
    place, reason = _choose(wanted, 3 * len(stored) * pixels**2, device, processes)
    if place is ImagePlace.disk:
        return OnDisk(stored, device, threads), f"{reason}; {threads} threads decode"
    room = _room_on_device if place is ImagePlace.device else _room_in_memory
    images = room(len(stored), pixels, device)
    _load(stored, images, threads)
    return Resident(images, device), reason


def _choose(
    wanted: ImagePlace, needed: int, device: torch.device, processes: int
) -> tuple[ImagePlace, str]:
    """The place of `needed` bytes of decoded images, and the words for it."""
    size = _gib(needed)
    if wanted is ImagePlace.disk:
        return wanted, "on disk, as configured"
    on_cuda = device.type == "cuda"  # elsewhere the device's memory is the machine's
    if on_cuda and wanted is not ImagePlace.memory:
        free, total = torch.cuda.mem_get_info(device)
        fits = needed <= min(SHARE_OF_FREE_DEVICE * free, free - SHARE_LEFT_ON_DEVICE * total)
        if fits or wanted is ImagePlace.device:
            return ImagePlace.device, f"{size} on the device"
    available = available_memory() // processes
    if wanted is not ImagePlace.auto or needed <= SHARE_OF_MEMORY * available:
        return ImagePlace.memory, f"{size} in memory"
    share = f", the share of one of {processes} processes" if processes > 1 else ""
    return ImagePlace.disk, f"on disk: {size} would not fit into {_gib(available)} of memory{share}"


def _room_in_memory(count: int, pixels: int, device: torch.device) -> torch.Tensor:
    return torch.from_numpy(empty_images(count, pixels))


def _room_on_device(count: int, pixels: int, device: torch.device) -> torch.Tensor:
    free, _ = torch.cuda.mem_get_info(device)
    if 3 * count * pixels**2 > free:
        raise no_room(count, pixels, free, "the device's memory")
    return torch.empty((count, pixels, pixels, 3), dtype=torch.uint8, device=device)


def _load(stored: StoredImages, images: torch.Tensor, threads: int) -> None:
    """Decode all images into `images`, uint8 [N, P, P, 3] on any device, in pieces."""

    def load(positions: np.ndarray) -> int:
        piece = np.empty((len(positions), *images.shape[1:]), np.uint8)
        for position, image in zip(positions, piece, strict=True):
            stored.read(position, image)
        rows = torch.from_numpy(positions).to(images.device)
        images.index_copy_(0, rows, torch.from_numpy(piece).to(images.device))
        return len(positions)

    order = stored.in_stored_order()
    pieces = [order[i : i + IMAGES_PER_PIECE] for i in range(0, len(order), IMAGES_PER_PIECE)]
    with ThreadPoolExecutor(threads, "load") as pool, _Progress(len(order)) as shown:
        for count in pool.map(load, pieces):  # an error cancels what has not begun
            shown.add(count)
    if images.is_cuda:
        torch.cuda.synchronize(images.device)


class _Progress:
    """A bar that appears where decoding takes longer than some seconds."""

    def __init__(self, total: int) -> None:
        self._total, self._done, self._start = total, 0, time.monotonic()
        self._bar: tqdm | None = None

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def add(self, count: int) -> None:
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._start > SECONDS_WITHOUT_PROGRESS:
            self._bar = progress(self._total, "decoding", "images", done=self._done)


def _read_ahead(
    fill: Fill,
    positions: Iterable[np.ndarray],
    pixels: int,
    threads: int,
    device: torch.device,
) -> Generator[torch.Tensor]:
    """Let threads fill batches ahead of the consumer; uint8 [b, P, P, 3] in memory, in order.

    For a CUDA device the memory is pinned: new for every batch, which costs nothing, because
    PyTorch hands the same pieces out again once nothing copies from them any more.
    """
    pool = ThreadPoolExecutor(threads, "images")
    waiting: deque[tuple[torch.Tensor, list[Future[None]]]] = deque()
    try:
        for wanted in positions:
            batch = _host_batch((len(wanted), pixels, pixels, 3), device)
            parts = range(0, len(wanted), IMAGES_PER_TASK)
            tasks = [
                pool.submit(fill, wanted[i : i + IMAGES_PER_TASK], batch[i : i + IMAGES_PER_TASK])
                for i in parts
            ]
            waiting.append((batch, tasks))
            if len(waiting) > BATCHES_AHEAD:
                yield _filled(*waiting.popleft())
        while waiting:
            yield _filled(*waiting.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _host_batch(shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    if device.type == "cuda":
        return torch.empty(shape, dtype=torch.uint8, pin_memory=True)
    return torch.from_numpy(np.empty(shape, np.uint8))


def _filled(batch: torch.Tensor, tasks: Sequence[Future[None]]) -> torch.Tensor:
    for task in tasks:
        task.result()
    return batch


def _on_device(batches: Generator[torch.Tensor], device: torch.device) -> Iterator[torch.Tensor]:
    """Bring batches [b, P, P, 3] to the device as [b, 3, P, P]; an early end ends their threads."""
    with closing(batches):
        for batch in _copied(batches, device) if device.type == "cuda" else batches:
            yield batch.permute(0, 3, 1, 2)


def _copied(batches: Iterator[torch.Tensor], device: torch.device) -> Iterator[torch.Tensor]:
    """Copy on a stream of its own, one batch ahead, while the device computes on another."""
    stream = torch.cuda.Stream(device)
    waiting: deque[tuple[torch.Tensor, torch.cuda.Event]] = deque()
    for batch in batches:
        with torch.cuda.stream(stream):
            waiting.append((batch.to(device, non_blocking=True), stream.record_event()))
        if len(waiting) > 1:
            yield _arrived(*waiting.popleft())
    while waiting:
        yield _arrived(*waiting.popleft())


def _arrived(batch: torch.Tensor, copied: torch.cuda.Event) -> torch.Tensor:
    """The batch, safe to use on the current stream."""
    current = torch.cuda.current_stream(batch.device)
    current.wait_event(copied)
    batch.record_stream(current)  # its memory belongs to the stream that copied
    return batch


def _rows(positions: np.ndarray) -> torch.Tensor:
    return torch.tensor(positions, dtype=torch.int64)


def _gib(size: float) -> str:
    return f"{size / 2**30:.1f} GiB"
