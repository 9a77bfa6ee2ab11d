"""Stream image–caption pairs from webdataset shards that fit neither the memory nor the disk.

Shards are drawn with replacement, for ever, and their pairs shuffled in a buffer: a stream is
resampled, and cannot be resumed exactly. What must be is imported instead (`clipgen dataset
import`), and visited in seeded epochs.
"""

from __future__ import annotations

import io
import json
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import webdataset
from PIL import Image, ImageOps
from webdataset.tariterators import tarfile_samples

from gen.datasets.images import square
from splits.errors import UserError

IMAGES = ("jpg", "jpeg", "png", "webp")
Sample = dict[str, Any]


def stream_pairs(
    shards: Sequence[str],
    *,
    seed: int,
    pixels: int,
    rejected: dict[str, str],
    max_rejected: int = 0,
    buffer: int = 1000,
) -> Generator[tuple[np.ndarray, str]]:
    """Yield pairs without end.

    Args:
        shards: paths or addresses, as webdataset opens them (`pipe:curl …` too).
        seed: of the draws; processes that train together need different ones.
        pixels: P, height and width of the images: their centre squares, resized.
        rejected: gets the samples and shards that are left out by name, each with its reason.
        max_rejected: how many that may be; what is drawn again counts once.
        buffer: samples among which the next one is drawn.

    Yields:
        Image, uint8 RGB [P, P, 3], and caption.

    Raises:
        UserError: there is no shard, or more is rejected than may be.
    """
    if not shards:
        raise UserError("there are no shards to stream", expected="paths of webdataset tars")
    drawn = webdataset.ResampledShards(
        list(shards), seed=seed, worker_seed=lambda: 0, deterministic=True
    )
    for sample in webdataset.shuffle(buffer, seed=seed)(_samples(drawn, rejected, max_rejected)):
        try:
            pair = square(_image(sample), pixels), _caption(sample)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            rejected[f"{sample['__url__']}/{sample['__key__']}"] = str(error)
            check_rejected(rejected, max_rejected)
        else:
            yield pair


def _samples(
    shards: Iterable[Sample], rejected: dict[str, str], max_rejected: int
) -> Iterator[Sample]:
    """The samples of shard after shard; a shard that breaks off gives those before that place."""
    for shard in shards:
        url, found = shard["url"], False

        def note(error: Exception, url: str = url) -> bool:
            words = getattr(error, "strerror", "") or (error.args or [error])[0]
            rejected[url] = str(words)
            return True  # go on: an error raised here would be handed to this function again

        for sample in tarfile_samples(iter([shard]), handler=note):
            check_rejected(rejected, max_rejected)
            found = True
            yield sample
        if not found:
            rejected.setdefault(url, "no sample in it")
        check_rejected(rejected, max_rejected)


def check_rejected(rejected: dict[str, str], max_rejected: int) -> None:
    """Raise a UserError where more is rejected than may be."""
    if len(rejected) > max_rejected:
        name, reason = list(rejected.items())[-1]
        raise UserError(
            f"{len(rejected)} bad samples or shards, the last one {name}: {reason}",
            expected=f"at most {max_rejected}",
            fix="repair or leave out the shard, or allow for more with max_rejected",
        )


def _image(sample: Sample) -> np.ndarray:
    """Decode a sample's image, whole and upright; uint8 RGB [H, W, 3]."""
    encoded = [sample[extension] for extension in IMAGES if extension in sample]
    if len(encoded) != 1:
        raise ValueError("several images" if encoded else "no image")
    with Image.open(io.BytesIO(encoded[0])) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def _caption(sample: Sample) -> str:
    """A sample's caption: its text, or else what its JSON says."""
    if "txt" in sample:
        caption = sample["txt"].decode()
    else:
        content = json.loads(sample.get("json", b"{}"))
        caption = content.get("caption") if isinstance(content, dict) else None
    if not isinstance(caption, str) or not caption.strip():
        raise ValueError("no caption")
    return caption.strip()
