"""Image–caption pairs in memory: images stay uint8, captions are tokenised once."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from gen.datasets.samples import Dataset
from gen.datasets.shards import read_images
from gen.models.vocabulary import Vocabulary
from gen.randomness import sample_keys
from splits.errors import UserError
from splits.mixture import Mixture

IMAGE_COLUMNS = ("shard", "offset", "size", "height", "width")


@dataclass(frozen=True)
class Pairs:
    """The training pairs of a mixture, in the order of its ids, and then those of its base.

    Attributes:
        images: uint8, shape [N, 3, H, W] in channels-last memory.
        tokens: token ids of the distinct captions, int64 of shape [T, L].
        caption_ids: row of `tokens` for every pair, int64 of shape [N].
        keys: 64-bit number of every sample's id, shape [N].
    """

    images: torch.Tensor
    tokens: torch.Tensor
    caption_ids: np.ndarray
    keys: np.ndarray

    def __len__(self) -> int:
        return len(self.keys)


def load_pairs(
    dataset: Dataset, mixture: Mixture, vocabulary: Vocabulary, base: Dataset | None = None
) -> Pairs:
    """Read the pairs of a mixture, and all of its base.

    Args:
        dataset: of the mixture's ids.
        mixture: an id that stands several times gives as many pairs.
        vocabulary: of the captions.
        base: the image–caption dataset that the mixture includes.

    Raises:
        UserError: the dataset lacks one of the ids, or the images do not fit into memory.
    """
    parts = [(dataset, _rows(dataset, mixture))]
    if base is not None:
        columns = ["id", "caption", *IMAGE_COLUMNS]
        parts.append((base, base.scan().select(columns).collect()))
    _check_memory(sum(len(rows) for _, rows in parts), dataset.pixels)
    images = [read_images(source.folder, rows, dataset.pixels) for source, rows in parts]
    captions = [rows["caption"].to_numpy() for _, rows in parts]
    texts, caption_ids = np.unique(np.concatenate(captions), return_inverse=True)
    ids = [name for _, rows in parts for name in rows["id"]]
    return Pairs(
        torch.from_numpy(np.concatenate(images) if base else images[0]).permute(0, 3, 1, 2),
        vocabulary.encode(list(texts)),
        caption_ids,
        sample_keys(ids),
    )


def _rows(dataset: Dataset, mixture: Mixture) -> pl.DataFrame:
    """The mixture's rows of the sample table, its captions as `caption`."""
    columns = {"id": pl.col("id"), "caption": pl.col(mixture.caption)}
    table = dataset.samples.select(*IMAGE_COLUMNS, **columns)
    rows = pl.DataFrame({"id": mixture.ids}).join(table, on="id", how="left", maintain_order="left")
    if rows["shard"].null_count():
        missing = rows.filter(pl.col("shard").is_null())["id"]
        raise UserError(
            f"{len(missing)} samples of the mixture are not in the dataset, first `{missing[0]}`",
            where=str(dataset.folder),
            fix="build the mixtures again: clipgen split build STUDY",
        )
    return rows


def _check_memory(samples: int, pixels: int) -> None:
    """Refuse before reading what does not fit."""
    needed = 3 * samples * pixels**2
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed > free:
        raise UserError(
            f"the images need {needed / 2**30:.0f} GiB of memory, of which {free / 2**30:.0f} are "
            "free",
            expected=f"room for {samples:,} images of {pixels} × {pixels} pixels",
            fix="import the dataset with fewer `pixels`, take a smaller base, or a larger machine",
        )
