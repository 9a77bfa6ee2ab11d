"""A contact sheet: one image of every domain (rows) and class (columns), to be looked at.

Of a base, which has no classes: its first images in one row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from matplotlib import get_data_path
from PIL import Image, ImageDraw, ImageFont

from gen.datasets.samples import Dataset
from gen.datasets.shards import read_images

CELL = 64
LABEL = 96
GAP = 4
FONT = Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
"""matplotlib's: it has the letters of most alphabets, which Pillow's own has not"""


def contact_sheet(dataset: Dataset, *, classes: int) -> Image.Image:
    """The first training image of every cell for `classes` classes spread evenly over the list."""
    names = _spread(dataset.classes, classes) or [str(number + 1) for number in range(classes)]
    step = CELL + GAP
    size = (LABEL + len(names) * step, LABEL // 2 + len(dataset.domains) * step)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.truetype(FONT, 10)
    for column, name in enumerate(names):
        draw.text((LABEL + column * step, 12), name.replace(" ", "\n"), "black", font, spacing=0)
    for row, domain in enumerate(dataset.domains):
        top = LABEL // 2 + row * step
        draw.text((6, top + CELL // 2 - 6), domain, "black", font)
        for name, tile in _tiles(dataset, domain, names).items():
            sheet.paste(tile, (LABEL + names.index(name) * step, top))
    return sheet


def _spread(classes: Sequence[str], count: int) -> list[str]:
    chosen = np.linspace(0, len(classes) - 1, min(count, len(classes))).round().astype(int)
    return [classes[number] for number in chosen]


def _tiles(dataset: Dataset, domain: str, names: list[str]) -> dict[str, Image.Image]:
    """A tile for every column that has an image; a cell of the dataset may be empty."""
    train = dataset.scan().filter((pl.col("split") == "train") & (pl.col("domain") == domain))
    if dataset.is_base:
        rows = train.head(len(names)).collect()
        columns = names[: rows.height]
    else:
        cells = train.filter(pl.col("class_name").is_in(names)).collect()
        cells = cells.sort("class_name", "position", "id")
        rows = cells.unique("class_name", keep="first", maintain_order=True)
        columns = rows["class_name"].to_list()
    images = read_images(dataset.folder, rows, dataset.pixels)
    way = Image.Resampling.NEAREST if dataset.pixels <= CELL else Image.Resampling.LANCZOS
    tiles = [Image.fromarray(image).resize((CELL, CELL), way) for image in images]
    return dict(zip(columns, tiles, strict=True))
