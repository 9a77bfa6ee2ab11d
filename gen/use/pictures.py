"""What a search found, to be looked at: one PNG, or a page that needs nothing else."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jinja2
import polars as pl
from PIL import Image, ImageDraw, ImageFont, ImageOps

from gen.datasets.contact_sheet import FONT
from gen.datasets.images import BadImage
from gen.use.photos import read_photo, shown
from splits.files import replacing, write_text

SIDE = 160
GAP = 8
LINE = 16
PER_ROW = 5
JPEG_QUALITY = 85
GROUND = "#eeeeee"


class Picture(NamedTuple):
    """An image that was found; `image` is None where it can be read no more."""

    rank: int
    path: str
    similarity: str
    image: Image.Image | None


def write_grid(found: pl.DataFrame, photos: Path, path: Path) -> None:
    """Write the images that were found as one PNG, with rank, similarity and file name.

    Args:
        found: of `neighbours.nearest`.
        photos: the folder that was searched.
        path: of the PNG.
    """
    step, height = SIDE + GAP, SIDE + 2 * LINE + GAP
    columns, rows = min(PER_ROW, found.height), -(-found.height // PER_ROW)
    sheet = Image.new("RGB", (GAP + columns * step, GAP + rows * height), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.truetype(FONT, 11)
    for place, picture in enumerate(_pictures(found, photos)):
        left, top = GAP + place % PER_ROW * step, GAP + place // PER_ROW * height
        sheet.paste(GROUND, (left, top, left + SIDE, top + SIDE))
        if (image := picture.image) is not None:
            corner = (left + (SIDE - image.width) // 2, top + (SIDE - image.height) // 2)
            sheet.paste(image, corner)
        text = f"{picture.rank}.  {picture.similarity}\n{_cut(picture.path, font)}"
        draw.text((left, top + SIDE + 2), text, "black", font, spacing=1)
    with replacing(path) as temporary:
        sheet.save(temporary, "PNG")


def write_page(found: pl.DataFrame, photos: Path, path: Path, *, title: str, note: str) -> None:
    """Write the images that were found as one HTML file with small images in it.

    Args:
        found: of `neighbours.nearest`.
        photos: the folder that was searched.
        path: of the page.
        title, note: what was looked for, and by what.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    pictures = [
        {**picture._asdict(), "data": _encoded(picture.image)}
        for picture in _pictures(found, photos)
    ]
    content = {"title": title, "note": note, "side": SIDE, "pictures": pictures}
    write_text(path, environment.get_template("results.html.j2").render(content))


def _pictures(found: pl.DataFrame, photos: Path) -> Iterator[Picture]:
    for rank, name, similarity in found.select("rank", "path", "similarity").iter_rows():
        try:
            image = _fitted(Image.fromarray(read_photo(photos / name)))
        except BadImage:  # gone since it was indexed
            image = None
        yield Picture(rank, shown(Path(name)), f"{similarity:.3f}", image)


def _fitted(image: Image.Image) -> Image.Image:
    """An image that is SIDE pixels high or wide; of a smaller one the pixels show."""
    way = Image.Resampling.NEAREST if max(image.size) <= SIDE else Image.Resampling.LANCZOS
    return ImageOps.contain(image, (SIDE, SIDE), way)


def _encoded(image: Image.Image | None) -> str:
    if image is None:
        return ""
    page = io.BytesIO()
    image.save(page, "JPEG", quality=JPEG_QUALITY)
    return base64.b64encode(page.getvalue()).decode()


def _cut(text: str, font: ImageFont.FreeTypeFont) -> str:
    """The end of a file's name that fits below an image."""
    if font.getlength(text) <= SIDE:
        return text
    while text and font.getlength(f"…{text}") > SIDE:
        text = text[1:]
    return f"…{text}"
