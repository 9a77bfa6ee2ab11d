"""A contact sheet: one image of every domain (rows) and class (columns), to be looked at.

Of a base, which has no classes, and of scenes, which show several: images from all over the table,
with their captions.
"""

from __future__ import annotations

import textwrap
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
PICTURE = 128
"""side of a base's image"""
LINES = 2
"""of a caption"""
LINE = 13
"""height of a line in pixels"""
PER_ROW = 8
FONT = Path(get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
"""matplotlib's: it has the letters of most alphabets, which Pillow's own has not"""


def contact_sheet(dataset: Dataset, *, classes: int) -> Image.Image:
    """The first training image of every cell for `classes` classes spread evenly over the list.

    Of a base and of scenes: so many images, spread evenly over the table.
    """
    if dataset.is_base or dataset.is_scenes:
        return _captioned_sheet(dataset, classes)
    names, font = _spread(dataset.classes, classes), ImageFont.truetype(FONT, 10)
    step = CELL + GAP
    size = (LABEL + len(names) * step, LABEL // 2 + len(dataset.domains) * step)
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    for column, name in enumerate(names):
        draw.text((LABEL + column * step, 12), name.replace(" ", "\n"), "black", font, spacing=0)
    for row, domain in enumerate(dataset.domains):
        top = LABEL // 2 + row * step
        draw.text((6, top + CELL // 2 - 6), domain, "black", font)
        for name, tile in _tiles(dataset, domain, names).items():
            sheet.paste(tile, (LABEL + names.index(name) * step, top))
    return sheet


def _spread(classes: Sequence[str], count: int) -> list[str]:
    return [classes[place] for place in _places(len(classes), count)]


def _places(length: int, count: int) -> list[int]:
    """At most `count` places, evenly over a list of that length."""
    return np.linspace(0, length - 1, min(count, length)).round().astype(int).tolist()


def _tiles(dataset: Dataset, domain: str, names: list[str]) -> dict[str, Image.Image]:
    """A tile for every class that has an image; a cell of the dataset may be empty."""
    train = dataset.scan().filter((pl.col("split") == "train") & (pl.col("domain") == domain))
    cells = train.filter(pl.col("class_name").is_in(names)).collect()
    cells = cells.sort("class_name", "position", "id")
    rows = cells.unique("class_name", keep="first", maintain_order=True)
    return dict(zip(rows["class_name"], _pictures(dataset, rows, CELL), strict=True))


def _pictures(dataset: Dataset, rows: pl.DataFrame, side: int) -> list[Image.Image]:
    """Images as models see them, `side` pixels high and wide."""
    images = read_images(dataset.folder, rows, dataset.pixels)
    way = Image.Resampling.NEAREST if dataset.pixels <= side else Image.Resampling.LANCZOS
    return [Image.fromarray(image).resize((side, side), way) for image in images]


def _captioned_sheet(dataset: Dataset, count: int) -> Image.Image:
    places = _places(int(dataset.manifest["samples"]), count)
    # One slice at a time: the table of a base need not fit the memory.
    rows = pl.concat([dataset.scan().slice(place, 1).collect() for place in places])
    height, font = PICTURE + LINES * LINE, ImageFont.truetype(FONT, 10)
    step = (PICTURE + GAP, height + GAP)
    size = (GAP + min(len(places), PER_ROW) * step[0], GAP - (-len(places) // PER_ROW) * step[1])
    sheet = Image.new("RGB", size, "white")
    pictures = _pictures(dataset, rows, PICTURE)
    for place, (picture, caption) in enumerate(zip(pictures, rows["caption"], strict=True)):
        tile = Image.new("RGB", (PICTURE, height), "white")  # cuts off what is too long
        tile.paste(picture, (0, 0))
        text = "\n".join(_wrapped(caption, font))
        ImageDraw.Draw(tile).text((0, PICTURE), text, "black", font, spacing=1)
        sheet.paste(tile, (GAP + place % PER_ROW * step[0], GAP + place // PER_ROW * step[1]))
    return sheet


def _wrapped(caption: str, font: ImageFont.FreeTypeFont) -> list[str]:
    """The first lines of a caption that fit below a picture."""
    text = " ".join(caption.split())
    letters = int(PICTURE * len(text) / max(font.getlength(text), 1))
    return textwrap.wrap(text, max(letters, 2), max_lines=LINES, placeholder="…")
