"""Image–caption pairs in memory: images stay uint8, captions are tokenised once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from gen.datasets.samples import Dataset
from gen.datasets.shards import empty_images, read_images
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
    images = empty_images(sum(len(rows) for _, rows in parts), dataset.pixels)
    start = 0
    for source, rows in parts:
        read_images(source.folder, rows, dataset.pixels, images[start : start + len(rows)])
        start += len(rows)
    captions = [rows["caption"].to_numpy() for _, rows in parts]
    texts, caption_ids = np.unique(np.concatenate(captions), return_inverse=True)
    return Pairs(
        torch.from_numpy(images).permute(0, 3, 1, 2),
        vocabulary.encode(list(texts)),
        caption_ids,
        sample_keys([name for _, rows in parts for name in told_apart(rows["id"])]),
    )


def told_apart(ids: pl.Series) -> list[str]:
    """The ids, with `#1`, `#2`, … at further copies of one: each is augmented in its own way."""
    numbers = pl.DataFrame({"id": ids}).select(pl.int_range(pl.len()).over("id")).to_series()
    pairs = zip(ids, numbers, strict=True)
    return [f"{name}#{number}" if number else name for name, number in pairs]


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
