"""Captions as pictures, for a model that has no text tower: text is drawn, row by row.

The layout is that of CLIPPO (Tschannen et al. 2023, "CLIPPO: Image-and-Language Understanding from
Pixels Only", section 3 and the authors' code): lower-case letters of a bitmap font, each cut down
to the columns of its ink, in rows of 16 pixels that are wrapped between characters.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby

import numpy as np
import torch

from gen.models.fonts.glyphs import HEIGHT, load_font
from gen.schema import ModelConfig
from splits.errors import UserError

GROUND, INK = 127, 0
"""grey levels of a canvas"""

SPACING, MIN_WIDTH = 1, 4
"""pixels left of a glyph's ink; smallest width of a glyph, so that spaces stay"""

MIN_PIXELS = 64
"""of a canvas: smaller ones hold fewer than 20 characters in rows of 16 pixels"""

CACHED_TEXTS = 1024

SHOWN = 80
"""characters of a text that does not fit, in errors and warnings"""

MAX_LETTERS = 768
"""that the authors' code draws of a text at most; what follows is not looked at"""

BOX = np.pad(np.pad(np.zeros((9, 4), bool), 1, constant_values=True), ((2, 3), (1, 9)))
"""what stands for a character that the font lacks"""


@dataclass(frozen=True)
class Renderer:
    """Draws texts on square canvases.

    Attributes:
        pixels: height and width of a canvas.
        font: `unifont`, or the path of a .ttf, .otf or .hex file.
        cut: whether the rows of a text for which there is no room are left off, as in the authors'
            code, and its letters after MAX_LETTERS; else such a text is an error.

    Raises:
        UserError: canvases are too small for text, or there is no such font.
    """

    pixels: int
    font: str
    cut: bool = False

    def __post_init__(self) -> None:
        check_canvas(self.pixels)
        load_font(self.font)

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Canvases of `texts`, uint8 of shape [N, S, S], S being `pixels`.

        Raises:
            UserError: a text does not fit on a canvas, and is not cut; names the smallest canvas
                that it fits on.
        """
        canvases = np.empty((len(texts), self.pixels, self.pixels), np.uint8)
        for row, text in enumerate(texts):
            canvases[row] = _draw(text, self)
        return torch.from_numpy(canvases)

    def check(self, text: str) -> None:
        """Raise the error of `encode` for a text that cannot be encoded."""
        if not (self.cut or self.fits(text)):
            raise UserError(
                f"the text {_beginning(text)!r} does not fit on a canvas of {self.pixels} × "
                f"{self.pixels} pixels",
                expected=f"at most {self.pixels // HEIGHT} rows of text",
                fix=f"a dataset with pixels={smallest_canvas(text, self.font)} or more, or shorter "
                "texts; or cut_texts: true in the model's file, which leaves off their ends",
            )

    def fits(self, text: str) -> bool:
        """Whether all of a text is drawn."""
        if self.cut and len(text.lower()) > MAX_LETTERS:
            return False
        widths = [letter.shape[1] for letter in _letters(text, self.font)]
        return _rows_needed(widths, self.pixels) <= self.pixels // HEIGHT

    def unknown_glyphs(self, texts: Sequence[str]) -> dict[str, int]:
        """Characters that are drawn as boxes, and how often they stand in `texts`; most first."""
        has = load_font(self.font)
        counts = Counter(character for text in texts for character in text.lower())
        return {name: count for name, count in counts.most_common() if has(name) is None}


def renderer_of(config: ModelConfig, pixels: int) -> Renderer:
    """What draws the texts of a clippo for images of `pixels` × `pixels`."""
    return Renderer(pixels, config.font, config.cut_texts)


def warn_of_cut(renderer: Renderer, texts: Sequence[str], what: str) -> None:
    """Warn of texts whose ends are left off: how many, and which is the longest.

    Args:
        renderer: of the texts.
        texts: each once.
        what: they are, in the plural.
    """
    surplus = [text for text in texts if not renderer.fits(text)] if renderer.cut else []
    if surplus:
        longest = max(surplus, key=len)
        warnings.warn(
            f"{len(surplus)} of {len(texts)} {what} do not fit on a canvas of {renderer.pixels} × "
            f"{renderer.pixels} pixels, and their ends are not drawn; the longest has "
            f"{len(longest)} characters: {_beginning(longest)!r}",
            stacklevel=3,
        )


def check_canvas(pixels: int) -> None:
    """Raise a `UserError` if canvases of `pixels` × `pixels` are too small for text."""
    if pixels < MIN_PIXELS:
        raise UserError(
            f"captions would be drawn on canvases of {pixels} × {pixels} pixels",
            expected=f"at least {MIN_PIXELS} × {MIN_PIXELS}: a letter is {HEIGHT} pixels high, so "
            "that smaller canvases hold fewer than 20",
            fix=f"a dataset with pixels={MIN_PIXELS} or more, or a model of kind clip",
        )


def smallest_canvas(text: str, font: str) -> int:
    """Pixels, a multiple of 16, of the smallest canvas on which `text` fits."""
    widths = [letter.shape[1] for letter in _letters(text, font)]
    pixels = MIN_PIXELS
    while _rows_needed(widths, pixels) > pixels // HEIGHT:
        pixels += HEIGHT
    return pixels


@lru_cache(CACHED_TEXTS)
def _draw(text: str, renderer: Renderer) -> np.ndarray:
    """The canvas of a text, uint8 of shape [S, S]."""
    renderer.check(text)
    pixels = renderer.pixels
    letters = _letters(text, renderer.font)[: MAX_LETTERS if renderer.cut else None]
    rows = _rows([letter.shape[1] for letter in letters], pixels)
    canvas = np.full((pixels, pixels), GROUND, np.uint8)
    for row, group in groupby(zip(rows, letters, strict=True), key=lambda pair: pair[0]):
        if row >= pixels // HEIGHT:  # of a text that is cut
            break
        line = np.concatenate([letter for _, letter in group], axis=1)
        canvas[row * HEIGHT : (row + 1) * HEIGHT, : line.shape[1]][line] = INK
    return canvas


def _beginning(text: str) -> str:
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _rows(widths: Sequence[int], pixels: int) -> np.ndarray:
    """Row of every letter, int64 of shape [N].

    Rows are cut where the width so far passes a multiple of the canvas less the widest letter:
    wherever a row begins, it then cannot be wider than the canvas.
    """
    return np.cumsum(widths, dtype=np.int64) // (pixels - max(widths, default=0))


def _rows_needed(widths: Sequence[int], pixels: int) -> int:
    return int(_rows(widths, pixels)[-1]) + 1 if widths else 0


def _letters(text: str, font: str) -> list[np.ndarray]:
    return [_letter(character, font) for character in text.lower()]


@cache
def _letter(character: str, font: str) -> np.ndarray:
    """Ink of a character, bool of shape [16, W]: a column left of its ink if there is one, then
    its ink, then empty columns up to the smallest width or the end of the glyph."""
    glyph = load_font(font)(character)
    glyph = BOX if glyph is None else glyph
    columns = np.flatnonzero(glyph.any(axis=0))
    first = max(int(columns[0]) - SPACING, 0) if len(columns) else 0
    last = int(columns[-1]) if len(columns) else 0
    return glyph[:, first : max(last + SPACING, first + MIN_WIDTH)]
