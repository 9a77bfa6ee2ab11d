"""Prompts that are written in another way than training wrote them: typos, case, other fonts.

What is disturbed is the text alone; it still means the same. docs/text_robustness.md lists them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from gen.evaluation.score import CLEAN, TYPOS
from gen.models.rendering import GROUND, Renderer
from gen.models.texts import Texts
from gen.randomness import generator
from splits.errors import UserError

EDITS = (1, 2)
"""character edits of a class name"""
TEXT_DRAWS = 3
"""ways to misspell all class names"""
SHIFTS = (4, 8)
"""pixels by which a drawn text is moved down: a quarter and a half of a row"""
FONTS = ("DejaVuSans", "DejaVuSerif", "DejaVuSansMono")
"""of matplotlib's own, with which a text is drawn that training drew with another"""
KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
NEIGHBOURS = {
    key: row[max(place - 1, 0) : place] + row[place + 1 : place + 2]
    for row in KEYS
    for place, key in enumerate(row)
}
"""the keys left and right of a letter on an English keyboard"""


@dataclass(frozen=True)
class Disturbance:
    """One way to write all prompts.

    Attributes:
        name: what is disturbed; CLEAN where nothing is.
        strength: edits of a class name, or pixels; None where there is but one.
        draw: which of several ways; 0 where there is but one.
        texts: what encodes them.
        names: how a class is called, by its name.
        case: how a sentence is written: `upper`, `title`, or empty for as it is.
    """

    name: str
    strength: int | None
    draw: int
    texts: Texts
    names: Mapping[str, str]
    case: str = ""

    def written(self, sentence: str) -> str:
        """The sentence in its case."""
        return {"upper": sentence.upper(), "title": sentence.title()}.get(self.case, sentence)


@dataclass(frozen=True)
class Shifted:
    """Draws texts lower than a renderer does.

    Attributes:
        renderer: draws them.
        rows: pixels by which they are moved down.
    """

    renderer: Renderer
    rows: int

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        """Canvases as of the renderer, uint8 [N, S, S].

        Raises:
            UserError: a text does not fit, moved or not.
        """
        drawn = self.renderer.encode(texts)
        cut = (drawn[:, -self.rows :] != GROUND).any(dim=(1, 2))
        if cut.any():
            text = texts[int(cut.nonzero()[0])]
            raise UserError(f"the text {text!r} does not fit where it is {self.rows} pixels lower")
        moved = torch.full_like(drawn, GROUND)
        moved[:, self.rows :] = drawn[:, : -self.rows]
        return moved


def disturbances(texts: Texts, classes: Sequence[str]) -> list[Disturbance]:
    """All ways to write the prompts of a model, the undisturbed one first.

    Args:
        texts: what encodes its texts; other fonts and places are for what draws them.
        classes: names of all classes.
    """
    names = {name: name for name in classes}
    found = [Disturbance(CLEAN, None, 0, texts, names)]
    for edits in EDITS:
        for draw in range(TEXT_DRAWS):
            found.append(Disturbance(TYPOS, edits, draw, texts, misspelt(classes, edits, draw)))
    for case in ("upper", "title"):
        found.append(Disturbance(f"{case}_case", None, 0, texts, names, case))
    if isinstance(texts, Renderer):
        for font, drawing in _other_fonts(texts):
            found.append(Disturbance(f"font_{font}", None, 0, drawing, names))
        for rows in SHIFTS:
            found.append(Disturbance("moved_down", rows, 0, Shifted(texts, rows), names))
    return found


def misspelt(classes: Sequence[str], edits: int, draw: int) -> dict[str, str]:
    """Every class name with so many typos; more edits of one draw go on from fewer.

    No name becomes its own again or another class's. A name that no edit changes stays.
    """
    taken, found = set(classes), {}
    for name in classes:
        rng, text = generator("typos", draw, name), name
        for _ in range(edits):
            text = _mistyped(text, taken, rng)
        found[name] = text
    return found


def _mistyped(text: str, taken: Collection[str], rng: np.random.Generator) -> str:
    """One typo: a kind that applies, then one of the results that it may have, by lot."""
    kinds = list(edits_of(text).values())
    for kind in rng.permutation(len(kinds)):
        allowed = [other for other in kinds[kind] if other not in taken]
        if allowed:
            return allowed[rng.integers(len(allowed))]
    return text


def edits_of(text: str) -> dict[str, list[str]]:
    """The texts that one typo of every kind makes, each once; only letters are mistyped.

    `swap`: two neighbours are exchanged; `drop`: a letter is left out; `double`: it is typed
    twice; `neighbour`: the key left or right of it is hit.
    """
    letters = [place for place, character in enumerate(text) if character.isalpha()]
    pairs = [i for i in letters if i + 1 in letters and text[i] != text[i + 1]]
    droppable = letters if len(letters) > 1 else []
    made = {
        "swap": [text[:i] + text[i + 1] + text[i] + text[i + 2 :] for i in pairs],
        "drop": [text[:i] + text[i + 1 :] for i in droppable],
        "double": [text[:i] + text[i] + text[i:] for i in letters],
        "neighbour": [
            text[:i] + key + text[i + 1 :]
            for i in letters
            for key in NEIGHBOURS.get(text[i].lower(), "")
        ],
    }
    return {kind: list(dict.fromkeys(texts)) for kind, texts in made.items()}


def _other_fonts(renderer: Renderer) -> Iterator[tuple[str, Renderer]]:
    """By name the fonts that the model's own is none of."""
    import matplotlib  # slow to import

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    paths = {font: str(folder / f"{font}.ttf") for font in FONTS} | {"unifont": "unifont"}
    own = Path(renderer.font).stem
    for font, path in paths.items():
        if font != own:
            yield font, replace(renderer, font=path)
