"""Image–caption pairs in memory: images stay uint8, captions are tokenised once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from gen.datasets.samples import Dataset
from gen.datasets.shards import read_images
from gen.models.vocabulary import Vocabulary
from gen.randomness import sample_keys
from splits.errors import UserError


@dataclass(frozen=True)
class Pairs:
    """The training pairs of a mixture, in the order of its ids.

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
    dataset: Dataset, ids: tuple[str, ...], caption: str, vocabulary: Vocabulary
) -> Pairs:
    """Read the pairs with these ids.

    Raises:
        UserError: the dataset lacks one of the ids.
    """
    wanted = pl.DataFrame({"id": ids})
    rows = wanted.join(dataset.samples, on="id", how="left", maintain_order="left")
    if rows["shard"].null_count():
        missing = rows.filter(pl.col("shard").is_null())["id"]
        raise UserError(
            f"{len(missing)} samples of the mixture are not in the dataset, first `{missing[0]}`",
            where=str(dataset.folder),
            fix="build the mixtures again: clipgen split build STUDY",
        )
    texts, caption_ids = np.unique(rows[caption].to_numpy(), return_inverse=True)
    images = torch.from_numpy(read_images(dataset.folder, rows)).permute(0, 3, 1, 2)
    return Pairs(images, vocabulary.encode(list(texts)), caption_ids, sample_keys(list(ids)))
