"""The training pairs of a mixture: images, captions encoded once, labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from gen.datasets.samples import Dataset
from gen.machine import available_memory
from gen.models.rendering import Renderer
from gen.models.texts import Texts
from gen.randomness import sample_keys
from gen.schema import TrainingConfig
from gen.training.distributed import Ranks
from gen.training.images import Images, place_images
from splits.errors import UserError
from splits.mixture import Mixture

IMAGE_COLUMNS = ("id", "shard", "offset", "size", "height", "width")


@dataclass(frozen=True)
class Pairs:
    """The training pairs of a mixture, in the order of its ids, and then those of its base.

    Attributes:
        images: of every pair.
        texts: the distinct captions, encoded, [T, ...]; None where the model reads no text.
        caption_ids: row of `texts` for every pair, int64 of shape [N].
        caption_keys: 64-bit number of every distinct caption, uint64 of shape [T].
        keys: 64-bit number of every pair, by which it is augmented, uint64 of shape [N].
        ids: of every pair's sample.
        labels: class ids, int64 of shape [N]; None with a base, which has none.
        pixels: P, height and width of the images.
    """

    images: Images
    texts: torch.Tensor | None
    caption_ids: np.ndarray
    caption_keys: np.ndarray
    keys: np.ndarray
    ids: pl.Series
    labels: np.ndarray | None
    pixels: int

    def __len__(self) -> int:
        return len(self.keys)


def load_pairs(
    dataset: Dataset,
    mixture: Mixture,
    texts: Texts | None,
    base: Dataset | None,
    config: TrainingConfig,
    ranks: Ranks,
) -> tuple[Pairs, str]:
    """Read the pairs of a mixture, and all of its base.

    Args:
        dataset: of the mixture's ids.
        mixture: an id that stands several times gives as many pairs.
        texts: encodes the captions; None where the model reads none.
        base: the image–caption dataset that the mixture includes.
        config: says where the images wait.
        ranks: the processes of the run.

    Returns:
        The pairs, and where their images wait, for people.

    Raises:
        UserError: the dataset lacks one of the ids, or the images do not fit where they shall be.
    """
    parts = [(dataset, _rows(dataset, mixture))]
    if base is not None:
        parts.append((base, base.scan().select("caption", *IMAGE_COLUMNS).collect()))
    images, place = place_images(
        [(source.folder, rows.select(IMAGE_COLUMNS)) for source, rows in parts],
        dataset.pixels,
        ranks.device,
        config.images,
        config.readers,
        processes=ranks.local_size,
    )
    captions = np.concatenate([rows["caption"].to_numpy() for _, rows in parts])
    distinct, caption_ids = np.unique(captions, return_inverse=True)
    if isinstance(texts, Renderer):
        _check_renderings(texts, list(distinct))
    ids = pl.concat([rows["id"] for _, rows in parts])
    keys = sample_keys([name for _, rows in parts for name in told_apart(rows["id"])])
    return Pairs(
        images=images,
        texts=None if texts is None else texts.encode(list(distinct)),
        caption_ids=caption_ids,
        caption_keys=sample_keys(list(distinct)),
        keys=keys,
        ids=ids,
        labels=None if base is not None else parts[0][1]["class_id"].to_numpy(),
        pixels=dataset.pixels,
    ), place


def _check_renderings(renderer: Renderer, captions: list[str]) -> None:
    """Refuse captions that fill the memory when drawn; tell of characters that are boxes."""
    needed, available = len(captions) * renderer.pixels**2, available_memory()
    if needed > available:
        raise UserError(
            f"{len(captions):,} distinct captions need {needed / 2**30:.1f} GiB of memory when "
            f"drawn, of which {available / 2**30:.1f} are available",
            expected="room for all of them",
            fix="a smaller base, smaller images, or a model of kind clip",
        )
    boxes = renderer.unknown_glyphs(captions)
    if boxes:
        most = ", ".join(f"{name!r} {count} times" for name, count in list(boxes.items())[:5])
        warnings.warn(
            f"the font lacks characters of captions, drawn as boxes: {most}", stacklevel=3
        )


def told_apart(ids: pl.Series) -> list[str]:
    """The ids, with `#1`, `#2`, … at further copies of one: each is augmented in its own way."""
    numbers = pl.DataFrame({"id": ids}).select(pl.int_range(pl.len()).over("id")).to_series()
    pairs = zip(ids, numbers, strict=True)
    return [f"{name}#{number}" if number else name for name, number in pairs]


def _rows(dataset: Dataset, mixture: Mixture) -> pl.DataFrame:
    """The mixture's rows of the sample table, its captions as `caption`."""
    columns = {"caption": pl.col(mixture.caption)}
    table = dataset.samples.select(*IMAGE_COLUMNS, "class_id", **columns)
    rows = pl.DataFrame({"id": mixture.ids}).join(table, on="id", how="left", maintain_order="left")
    if rows["shard"].null_count():
        missing = rows.filter(pl.col("shard").is_null())["id"]
        raise UserError(
            f"{len(missing)} samples of the mixture are not in the dataset, first `{missing[0]}`",
            where=str(dataset.folder),
            fix="build the mixtures again: clipgen split build STUDY",
        )
    return rows
