"""What a lister says: the images there are, and what it had to refuse."""

from __future__ import annotations

import unicodedata
from typing import Any

import polars as pl

SPLITS = ("train", "test")

LISTING: dict[str, Any] = {
    "id": pl.String,  # unique
    "domain": pl.String,
    "class_name": pl.String,  # "" without classes
    "split": pl.String,
    "position": pl.Int64,  # place in the list of its (domain, split)
    "path": pl.String,  # the file that holds the image, absolute
    "offset": pl.Int64,  # of a member of a tar; null: the whole file
    "size": pl.Int64,  # bytes of that member; null: the whole file
    "caption": pl.String,  # null: made from the patterns
}
"""columns of a listing, one row per image"""

REJECTED: dict[str, Any] = {"id": pl.String, "path": pl.String, "reason": pl.String}
"""columns of a list of samples that were left out"""


def composed(name: str) -> str:
    """A name in composed form (Unicode NFC): some systems write `ö` as `o` and two dots."""
    return unicodedata.normalize("NFC", name)


def domain_of(image_id: str) -> str:
    """Domain of an image `DOMAIN/CLASS/IMAGE`."""
    return composed(image_id.split("/")[0])


def class_of(image_id: str) -> str:
    """Class of an image `DOMAIN/CLASS/IMAGE`: its folder's name, with spaces for underscores."""
    return composed(image_id.split("/")[1]).replace("_", " ")
