"""Bitmap glyphs of fonts: of `.hex` files as they are, of TrueType and OpenType fonts drawn."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

from splits.errors import UserError

HEIGHT = 16
"""pixels of a glyph, in both directions"""

Font = Callable[[str], np.ndarray | None]
"""character → its ink, bool of shape [16, 16]; None where the font has no such glyph"""

UNIFONT = Path(__file__).with_name("unifont-latin.hex")
HEX_LINE = re.compile(r"([0-9A-Fa-f]{4,6}):([0-9A-Fa-f]{32}|[0-9A-Fa-f]{64})")


@cache
def load_font(name: str) -> Font:
    """The font `unifont`, or the one in a `.hex`, `.ttf` or `.otf` file.

    Raises:
        UserError: there is no such font, or its file cannot be read.
    """
    if name == "unifont":
        return _hex_font(UNIFONT)
    readers = {".hex": _hex_font, ".ttf": _outline_font, ".otf": _outline_font}
    read = readers.get(Path(name).suffix.lower())
    if read is None:
        raise UserError(
            f"font `{name}` is unknown",
            expected="`unifont`, or the path of a .ttf, .otf or .hex file",
            where="key `font` of the model",
        )
    try:
        return read(Path(name))
    except OSError as error:
        raise UserError(f"font {name} cannot be read ({error})") from None


def _hex_font(path: Path) -> Font:
    """A font in Unifont's format; glyphs of 8 columns are the left half of one of 16."""
    digits: dict[int, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").split(), 1):
        match = HEX_LINE.fullmatch(line)
        if match is None:
            raise UserError(
                f"glyph {number} is {line[:40]!r}",
                expected="a code point, a colon, and 32 or 64 hexadecimal digits",
                where=str(path),
            )
        digits[int(match[1], 16)] = match[2]

    def glyph(character: str) -> np.ndarray | None:
        if ord(character) not in digits:
            return None
        rows = np.frombuffer(bytes.fromhex(digits[ord(character)]), np.uint8).reshape(HEIGHT, -1)
        ink = np.unpackbits(rows, axis=1).astype(bool)
        return np.pad(ink, ((0, 0), (0, HEIGHT - ink.shape[1])))

    return glyph


def _outline_font(path: Path) -> Font:
    """A TrueType or OpenType font in black and white, at the largest size that fits 16 rows.

    Ink begins in the second column. A glyph that is too large even so counts as missing.
    """
    from matplotlib.ft2font import FT2Font  # slow to import; tells which characters are there
    from PIL import Image, ImageDraw, ImageFont

    def at(size: int) -> ImageFont.FreeTypeFont:
        return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)

    sizes = [size for size in range(1, HEIGHT + 1) if sum(at(size).getmetrics()) <= HEIGHT]
    if not sizes:
        raise OSError("no size has lines of at most 16 pixels")
    face = at(sizes[-1])
    there = FT2Font(str(path)).get_charmap()

    def glyph(character: str) -> np.ndarray | None:
        if ord(character) not in there:
            return None
        # the margin of a glyph's size on every side shows ink that would be cut off
        image = Image.new("1", (3 * HEIGHT, 3 * HEIGHT))
        ImageDraw.Draw(image).text((HEIGHT, HEIGHT), character, fill=1, font=face)
        drawn = np.asarray(image)
        first = int(drawn.any(axis=0).argmax())
        ink = np.zeros((HEIGHT, HEIGHT), bool)
        ink[:, 1:] = drawn[HEIGHT : 2 * HEIGHT, first : first + HEIGHT - 1]
        return ink if ink.sum() == drawn.sum() else None

    return glyph
