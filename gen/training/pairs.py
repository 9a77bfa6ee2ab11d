"""The training pairs of a mixture: images, captions encoded once, labels."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from gen.datasets.samples import Dataset
from gen.machine import available_memory
from gen.models.rendering import Renderer, warn_of_cut
from gen.models.texts import Texts
from gen.randomness import sample_keys
from gen.schema import TrainingConfig
from gen.training.distributed import Ranks
from gen.training.images import Images, place_images
from gen.training.schedule import teaches_texts
from gen.training.text_pairs import TextPairs, read_text_pairs
from splits.errors import UserError
from splits.mixture import Mixture

IMAGE_COLUMNS = ("id", "shard", "offset", "size", "height", "width")


@dataclass(frozen=True)
class Pairs:
    """The training pairs of a mixture, in the order of its ids, and then those of its base.

    Attributes:
        images: of every pair.
        texts: the distinct captions, and the texts of `text_pairs`, encoded, [T, ...]; None where
            the model reads no text.
        caption_ids: row of `texts` for every pair, int64 of shape [N].
        caption_keys: 64-bit number of every row of `texts`, uint64 of shape [T].
        keys: 64-bit number of every pair, by which it is augmented, uint64 of shape [N].
        ids: of every pair's sample.
        labels: class ids, int64 of shape [N]; None with a base, which has none.
        pixels: P, height and width of the images.
        text_pairs: related texts, as rows of `texts`; None where none are trained.
    """

    images: Images
    texts: torch.Tensor | None
    caption_ids: np.ndarray
    caption_keys: np.ndarray
    keys: np.ndarray
    ids: pl.Series
    labels: np.ndarray | None
    pixels: int
    text_pairs: TextPairs | None = None

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
        config: says where the images wait, and which pairs of texts stand beside them.
        ranks: the processes of the run.

    Returns:
        The pairs, and where their images wait, for people.

    Raises:
        UserError: the dataset lacks one of the ids, the images do not fit where they shall be, or
            there are no pairs of texts.
    """
    parts = [(dataset, _rows(dataset, mixture))]
    if base is not None:
        parts.append((base, base.scan().select("caption", *IMAGE_COLUMNS).collect()))
    captions = np.concatenate([rows["caption"].to_numpy() for _, rows in parts])
    related: list[str] = []
    text_pairs = None
    if isinstance(texts, Renderer) and teaches_texts(config):
        source = config.text_pairs.source
        related, text_pairs = read_text_pairs(source, dataset, parts[0][1], texts)
    # one list: a caption that stands in pairs of texts, too, is drawn once
    every = np.concatenate([captions, np.array(related, object)])
    distinct, rows_of = np.unique(every, return_inverse=True)
    caption_ids, related_ids = np.split(rows_of, [len(captions)])
    if isinstance(texts, Renderer):
        _check_renderings(texts, list(distinct))
    images, place = place_images(
        [(source.folder, rows.select(IMAGE_COLUMNS)) for source, rows in parts],
        dataset.pixels,
        ranks.device,
        config.images,
        config.readers,
        processes=ranks.local_size,
    )
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
        text_pairs=text_pairs and text_pairs.renumbered(related_ids),
    ), place


def _check_renderings(renderer: Renderer, texts: list[str]) -> None:
    """Refuse texts that fill the memory when drawn; tell of those that are cut, and of boxes."""
    needed, available = len(texts) * renderer.pixels**2, available_memory()
    if needed > available:
        raise UserError(
            f"{len(texts):,} distinct texts need {needed / 2**30:.1f} GiB of memory when "
            f"drawn, of which {available / 2**30:.1f} are available",
            expected="room for all of them",
            fix="a smaller base, fewer pairs of texts, smaller images, or a model of kind clip",
        )
    warn_of_cut(renderer, texts, "captions and other texts of training")
    boxes = renderer.unknown_glyphs(texts)
    if boxes:
        most = ", ".join(f"{name!r} {count} times" for name, count in list(boxes.items())[:5])
        warnings.warn(
            f"the font lacks characters of these texts, drawn as boxes: {most}", stacklevel=3
        )


def told_apart(ids: pl.Series) -> list[str]:
    """The ids, with `#1`, `#2`, … at further copies of one: each is augmented in its own way."""
    numbers = pl.DataFrame({"id": ids}).select(pl.int_range(pl.len()).over("id")).to_series()
    pairs = zip(ids, numbers, strict=True)
    return [f"{name}#{number}" if number else name for name, number in pairs]


def _rows(dataset: Dataset, mixture: Mixture) -> pl.DataFrame:
    """The mixture's rows of the sample table, its captions as `caption`."""
    columns = {"caption": pl.col(mixture.caption)}
    table = dataset.samples.select(*IMAGE_COLUMNS, "domain", "class_name", "class_id", **columns)
    rows = pl.DataFrame({"id": mixture.ids}).join(table, on="id", how="left", maintain_order="left")
    if rows["shard"].null_count():
        missing = rows.filter(pl.col("shard").is_null())["id"]
        raise UserError(
            f"{len(missing)} samples of the mixture are not in the dataset, first `{missing[0]}`",
            where=str(dataset.folder),
            fix="build the mixtures again: clipgen split build STUDY",
        )
    return rows
