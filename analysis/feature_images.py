"""Features of an autoencoder that are worth a look, and the images that show them."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from analysis.sae_features import DOMAIN, SHARED
from gen.datasets.shards import encode_png, read_images

MOST_SHOWN = 5
"""features of a kind that are shown by their images"""
SHOWN_KINDS = (SHARED, DOMAIN)
SAE_IMAGES: dict[str, type[pl.DataType]] = {"id": pl.String, "png": pl.Binary}


def notable_features(features: pl.DataFrame, kind: str, most: int = MOST_SHOWN) -> pl.DataFrame:
    """The features of a kind that are most of it, of those that fire on enough images to show.

    Shared features by how much more evenly they fire over domains than over classes, others by
    how unevenly over domains; of equals the more frequent ones.

    Args:
        features: of one autoencoder.
        kind: as in the table.
        most: how many.
    """
    order = pl.col("domain_entropy")
    if kind == SHARED:
        order = pl.col("class_entropy") - pl.col("domain_entropy")
    shown = features.filter(kind=kind)
    enough = shown["top_images"].list.len().max() if shown.height else 0
    return (
        shown.filter(pl.col("top_images").list.len() == enough)
        .sort(order, -pl.col("rate"), "feature")
        .head(most)
    )


def feature_images(
    features: pl.DataFrame, samples: pl.DataFrame, folder: Path, pixels: int
) -> pl.DataFrame:
    """The images that show a run's notable features: reports read no dataset.

    Args:
        features: sae.parquet; of it the first autoencoder of the last site is shown.
        samples: the dataset's sample table.
        folder: of the dataset.
        pixels: height and width of an image as the model sees it.

    Returns:
        docs/formats.md: sae_images.parquet.
    """
    last = features.filter(pl.col("depth") == pl.col("depth").max())
    first = last.filter(pl.col("seed") == pl.col("seed").min())
    shown = pl.concat([notable_features(first, kind) for kind in SHOWN_KINDS])
    ids = shown["top_images"].explode().drop_nulls().unique(maintain_order=True)
    rows = samples.filter(pl.col("id").is_in(ids.implode()))
    images = read_images(folder, rows, pixels)
    encoded = [encode_png(image) for image in images]
    return pl.DataFrame({"id": rows["id"], "png": encoded}, schema=SAE_IMAGES)
