"""Which object classes the icon fonts draw, which glyphs draw them, and what a glyph looks like.

The classes stand in `classes.csv` beside this file: one row per class, one column per artist
family, each cell a space-separated list of base names. A base name stands for one glyph in
`fontawesome` and `material`; in `phosphor` it stands for the fill, bold and regular weights and
in `remix` for the fill and line styles. The fonts come from the package `qtawesome`, whose files
are located and read but which is never imported, because importing it needs Qt.

Legend of dimension letters: S side of an image in pixels.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import json
import math
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from splits.errors import UserError, unknown

INK_FRACTION = 0.8  # longer side of a glyph's ink box, as a fraction of S
REFERENCE_SIZE = 256  # font size at which a glyph is measured
MIN_FAMILIES = 2  # fewer would tie a class to one artist's hand
CLASSES_CSV = Path(__file__).with_name("classes.csv")


@dataclass(frozen=True)
class Font:
    """An icon font: its two files in `qtawesome/fonts`, its glyph styles and its provenance."""

    file: str
    charmap: str
    styles: tuple[str, ...]  # suffixes that a base name is expanded with
    title: str
    licence: str  # SPDX identifier of the font (not of the code that ships it)
    authors: str
    source: str


FONTS = {
    "fontawesome": Font(
        file="fontawesome6-solid-webfont-6.7.2.ttf",
        charmap="fontawesome6-solid-webfont-charmap-6.7.2.json",
        styles=("",),
        title="Font Awesome 6 Free Solid 6.7.2",
        licence="OFL-1.1",
        authors="Font Awesome",
        source="https://fontawesome.com",
    ),
    "material": Font(
        file="materialdesignicons6-webfont-6.9.96.ttf",
        charmap="materialdesignicons6-webfont-charmap-6.9.96.json",
        styles=("",),
        title="Material Design Icons 6.9.96",
        licence="Apache-2.0",
        authors="Pictogrammers",
        source="https://pictogrammers.com",
    ),
    "phosphor": Font(
        file="phosphor-1.3.0.ttf",
        charmap="phosphor-charmap-1.3.0.json",
        styles=("-fill", "-bold", ""),
        title="Phosphor Icons 1.3.0",
        licence="MIT",
        authors="Tobias Fried and Helena Zhang",
        source="https://phosphoricons.com",
    ),
    "remix": Font(
        file="remixicon-2.5.0.ttf",
        charmap="remixicon-charmap-2.5.0.json",
        styles=("-fill", "-line"),
        title="Remix Icon 2.5.0",
        licence="Apache-2.0",
        authors="Remix Design",
        source="https://remixicon.com",
    ),
}
FAMILIES: tuple[str, ...] = tuple(FONTS)
COLUMNS = ("class_name", "super_category", *FAMILIES)


@dataclass(frozen=True)
class Drawing:
    """One glyph of one artist family, for example `phosphor:cat-bold`."""

    family: str
    glyph: str

    @property
    def name(self) -> str:
        """`family:glyph`, unique over all drawings."""
        return f"{self.family}:{self.glyph}"


@dataclass(frozen=True)
class IconClass:
    """An object class with every drawing of it, ordered by family as in `FAMILIES`."""

    name: str
    super_category: str
    drawings: tuple[Drawing, ...]

    @property
    def families(self) -> tuple[str, ...]:
        """The families that draw this class, in the order of `FAMILIES`."""
        present = {drawing.family for drawing in self.drawings}
        return tuple(family for family in FAMILIES if family in present)


@lru_cache(maxsize=1)
def load_classes() -> tuple[IconClass, ...]:
    """Read and check `classes.csv`.

    Returns:
        All classes, sorted by name.

    Raises:
        UserError: see `parse_classes`; also if `qtawesome` is not installed.
    """
    return parse_classes(CLASSES_CSV.read_text(encoding="utf-8"), where=CLASSES_CSV.name)


def parse_classes(text: str, *, where: str) -> tuple[IconClass, ...]:
    """Turn the text of a class table into classes and check them against the fonts.

    Args:
        text: comma-separated table with the columns `COLUMNS`.
        where: name of the table in error messages.

    Returns:
        The classes, sorted by name.

    Raises:
        UserError: on wrong columns, an incomplete row, a class given twice, a glyph that its font
            lacks or that is used twice, or a class with fewer than `MIN_FAMILIES` families.
    """
    reader = csv.DictReader(text.splitlines())
    if tuple(reader.fieldnames or ()) != COLUMNS:
        raise UserError(
            f"the columns are {', '.join(reader.fieldnames or ()) or 'missing'}",
            expected=", ".join(COLUMNS),
            where=where,
        )
    classes = [_parse_row(row, f"{where}, line {reader.line_num}") for row in reader]
    _reject_duplicates(classes, where)
    return tuple(sorted(classes, key=lambda icon_class: icon_class.name))


def _parse_row(row: dict[str, str | None], where: str) -> IconClass:
    """Build one class from one row of the table; a family without a drawing has an empty cell."""
    cells = {column: (row[column] or "").strip() for column in COLUMNS}
    if len(row) != len(COLUMNS) or None in row.values():
        raise UserError(
            f"the row of `{cells['class_name']}` has too few or too many cells",
            expected=f"{len(COLUMNS)} cells",
            where=where,
        )
    if not (cells["class_name"] and cells["super_category"]):
        raise UserError("a row lacks its class_name or super_category", where=where)
    drawings = tuple(
        _drawing(family, base + style, where)
        for family in FAMILIES
        for base in cells[family].split()
        for style in FONTS[family].styles
    )
    icon_class = IconClass(cells["class_name"], cells["super_category"], drawings)
    if len(icon_class.families) < MIN_FAMILIES:
        raise UserError(
            f"class `{icon_class.name}` is drawn by {len(icon_class.families)} families",
            expected=f"at least {MIN_FAMILIES} of {', '.join(FAMILIES)}",
            where=where,
            fix="add glyphs of another family or delete the row",
        )
    return icon_class


def _drawing(family: str, glyph: str, where: str) -> Drawing:
    """Build the drawing, or raise if its font lacks the glyph."""
    known = _code_points(family)
    if glyph not in known:
        # Only close names are listed: a font has thousands of glyphs.
        near = get_close_matches(glyph, known, n=5)
        raise unknown(f"{family} glyph", glyph, near, where=where)
    return Drawing(family, glyph)


def _reject_duplicates(classes: list[IconClass], where: str) -> None:
    """Raise if two classes share a name, or if two listed glyphs are one glyph of the font."""
    seen_names: set[str] = set()
    seen_glyphs: dict[tuple[str, int], str] = {}
    for icon_class in classes:
        if icon_class.name in seen_names:
            raise UserError(f"class `{icon_class.name}` stands in two rows", where=where)
        seen_names.add(icon_class.name)
        for drawing in icon_class.drawings:
            # By code point, because one glyph may go by several names.
            key = (drawing.family, _code_points(drawing.family)[drawing.glyph])
            if key in seen_glyphs:
                raise UserError(
                    f"glyph `{drawing.name}` is used twice",
                    expected="every glyph in one class, once",
                    where=f"{where}, classes `{seen_glyphs[key]}` and `{icon_class.name}`",
                )
            seen_glyphs[key] = icon_class.name


def font_licences() -> dict[str, dict[str, str]]:
    """Say under which licence each family's font is used and which file exactly it is.

    Returns:
        For each family: `font` (name and version), `licence` (SPDX), `authors`, `source` (the
        project's home page), `file` (name of the font file) and `sha256` of that file. Titles,
        authors and licences are as the projects state them; the Phosphor font also carries its
        authors and licence in its own name table, the other fonts carry no licence there.
    """
    return {
        family: {
            "font": font.title,
            "licence": font.licence,
            "authors": font.authors,
            "source": font.source,
            "file": font.file,
            "sha256": hashlib.sha256(_font_path(font.file).read_bytes()).hexdigest(),
        }
        for family, font in FONTS.items()
    }


@lru_cache(maxsize=4096)
def ink(drawing: Drawing, size: int) -> np.ndarray:
    """Rasterise a glyph, centred by its ink box, whose longer side spans 0.8 of the image.

    Args:
        drawing: a glyph of one of the `FAMILIES`.
        size: side S of the image in pixels.

    Returns:
        uint8 `[S, S]`, 0 background to 255 ink, anti-aliased; read-only, since it is cached.
    """
    measured = _ink_box(drawing, REFERENCE_SIZE)
    glyph = _ink_box(drawing, REFERENCE_SIZE * INK_FRACTION * size / max(measured.size))
    image = Image.new("L", (size, size), 0)
    image.paste(glyph, ((size - glyph.width) // 2, (size - glyph.height) // 2))
    pixels = np.array(image)
    pixels.flags.writeable = False
    return pixels


def _ink_box(drawing: Drawing, font_size: float) -> Image.Image:
    """Draw a glyph at a (possibly fractional) font size and crop it to its ink.

    The box is taken from the pixels, since Pillow's `getbbox` also counts the glyph's advance.
    """
    font = ImageFont.truetype(str(_font_path(FONTS[drawing.family].file)), font_size)
    side = math.ceil(3 * font_size)  # no glyph reaches further than this from its origin
    image = Image.new("L", (side, side), 0)
    text = chr(_code_points(drawing.family)[drawing.glyph])
    ImageDraw.Draw(image).text((font_size, font_size), text, fill=255, font=font)
    return image.crop(image.getbbox())


@lru_cache(maxsize=len(FAMILIES))
def _code_points(family: str) -> dict[str, int]:
    """Map glyph names of a family to code points; the charmaps write `0xf101` or bare `f101`."""
    charmap = json.loads(_font_path(FONTS[family].charmap).read_text(encoding="utf-8"))
    return {glyph: int(code, 16) for glyph, code in charmap.items()}


@lru_cache(maxsize=2 * len(FAMILIES))
def _font_path(file: str) -> Path:
    """Locate a file of `qtawesome/fonts` without importing the package."""
    try:
        files = importlib.metadata.files("qtawesome") or []
    except importlib.metadata.PackageNotFoundError:
        raise UserError(
            "the package `qtawesome` is not installed",
            expected="its icon fonts, from which the icons dataset is drawn",
            fix="pip install qtawesome==1.4.0",
        ) from None
    for entry in files:
        if entry.as_posix() == f"qtawesome/fonts/{file}":
            return Path(str(entry.locate()))
    raise UserError(
        f"the installed `qtawesome` has no font file `{file}`",
        expected="qtawesome 1.4.0",
        fix="pip install qtawesome==1.4.0",
    )
