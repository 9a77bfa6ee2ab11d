"""A contact sheet: one image of every domain (rows) and class (columns), to be looked at."""

from __future__ import annotations

import numpy as np
import polars as pl
from PIL import Image, ImageDraw, ImageFont

from gen.datasets.samples import Dataset
from gen.datasets.shards import read_images

CELL = 64
LABEL = 96
GAP = 4


def contact_sheet(dataset: Dataset, *, classes: int) -> Image.Image:
    """The first training image of every cell for `classes` classes spread evenly over the list."""
    count = min(classes, len(dataset.classes))
    chosen = np.linspace(0, len(dataset.classes) - 1, count).round().astype(int)
    names = [dataset.classes[number] for number in chosen]
    step = CELL + GAP
    size = (LABEL + len(names) * step, LABEL // 2 + len(dataset.domains) * step)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(11)
    for column, name in enumerate(names):
        draw.text((LABEL + column * step, 12), name.replace(" ", "\n"), "black", font, spacing=0)
    for row, domain in enumerate(dataset.domains):
        top = LABEL // 2 + row * step
        draw.text((6, top + CELL // 2 - 6), domain, "black", font)
        for column, tile in enumerate(_tiles(dataset, domain, names)):
            sheet.paste(tile, (LABEL + column * step, top))
    return sheet


def _tiles(dataset: Dataset, domain: str, names: list[str]) -> list[Image.Image]:
    cells = dataset.samples.filter(
        (pl.col("split") == "train")
        & (pl.col("domain") == domain)
        & pl.col("class_name").is_in(names)
    )
    first = cells.sort("class_name", "id").unique("class_name", keep="first", maintain_order=True)
    images = read_images(dataset.folder, first)
    return [
        Image.fromarray(image).resize((CELL, CELL), Image.Resampling.NEAREST) for image in images
    ]
