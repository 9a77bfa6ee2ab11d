"""Captions that name a held-out class: what a base dataset tells a model about it.

A caption names a class where the class's words stand in it as words: whatever the case, in the
singular or the regular plural, with any blanks, hyphens or underscores between the words. Letters
with accents are equal whether they are one sign or two (both are made NFC). Synonyms and irregular
plurals are not found, other meanings of a word are: the counts are a first look.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

EXAMPLES = 3
"""captions that are shown for every class"""
EXAMPLE_LENGTH = 120
"""characters of a caption that are shown"""

LEAKS: dict[str, Any] = {
    "draw": pl.Int64,
    "class_name": pl.String,
    "captions": pl.Int64,
    "share": pl.Float64,
    "examples": pl.List(pl.String),
}
BETWEEN_WORDS = r"[\s_-]+"
BEFORE, AFTER = r"(?:^|[^\p{L}\p{N}])", r"(?:$|[^\p{L}\p{N}])"


@dataclass(frozen=True)
class CaptionLeaks:
    """Captions that name held-out classes.

    Attributes:
        captions: captions that were read.
        by_class: one row per draw and held-out class: `captions` that name it, their `share` of
            all captions, and the first `examples`.
        by_draw: per draw the captions that name at least one of its classes.
        of_any_draw: captions that name at least one class of any draw.
    """

    captions: int
    by_class: pl.DataFrame
    by_draw: tuple[int, ...]
    of_any_draw: int


def class_pattern(name: str) -> str:
    """Regular expression, in Polars' dialect, that finds a class's name in a caption (in NFC).

    Raises:
        ValueError: the name has no word in it.
    """
    words = _words(name)
    parts = [*map(re.escape, words[:-1]), _singular_or_plural(words[-1])]
    return f"(?i){BEFORE}{BETWEEN_WORDS.join(parts)}{AFTER}"


def find_caption_leaks(
    batches: Iterable[pl.Series], draws: Sequence[Sequence[str]]
) -> CaptionLeaks:
    """Count the captions that name a held-out class.

    Args:
        batches: captions, in parts that fit in memory.
        draws: the held-out classes of every draw.
    """
    classes = sorted({name for draw in draws for name in draw})
    flag_of = {name: f"flag_{number}" for number, name in enumerate(classes)}
    flags = {flag_of[n]: pl.col("caption").str.contains(class_pattern(n)) for n in classes}
    groups = [*draws, classes]  # the last one is of any draw
    total, by_class, by_group = 0, dict.fromkeys(classes, 0), [0] * len(groups)
    examples: dict[str, list[str]] = {name: [] for name in classes}
    for batch in batches:
        total += len(batch)
        named = _candidates(batch.str.normalize("NFC"), classes).with_columns(**flags)
        for name in classes:
            hits = named.filter(pl.col(flag_of[name]))["caption"]
            by_class[name] += len(hits)
            more = hits.head(EXAMPLES - len(examples[name])).str.slice(0, EXAMPLE_LENGTH)
            examples[name] += more.to_list()
        for number, group in enumerate(groups):
            any_of_group = pl.any_horizontal(flag_of[name] for name in group)
            by_group[number] += named.filter(any_of_group).height
    rows = [
        (number, name, by_class[name], by_class[name] / max(1, total), examples[name])
        for number, draw in enumerate(draws)
        for name in sorted(draw)
    ]
    table = pl.DataFrame(rows, schema=LEAKS, orient="row")
    return CaptionLeaks(total, table, tuple(by_group[:-1]), by_group[-1])


def _candidates(batch: pl.Series, classes: Sequence[str]) -> pl.DataFrame:
    """The captions that hold the first word of any class somewhere: most captions do not.

    One pass for all words is many times faster than a regular expression for each class.
    """
    stems = sorted({re.sub("y$", "", _words(name)[0].lower()) for name in classes})  # cherr|ies
    found = pl.col("caption").str.to_lowercase().str.contains_any(stems)
    return batch.rename("caption").to_frame().filter(found)


def _words(name: str) -> list[str]:
    words = [word for word in re.split(BETWEEN_WORDS, unicodedata.normalize("NFC", name)) if word]
    if not words:
        raise ValueError(f"class name {name!r} has no word")
    return words


def _singular_or_plural(word: str) -> str:
    stem = re.escape(word)
    if re.search(r"[^aeiou]y$", word, flags=re.IGNORECASE):
        return rf"(?:{stem}s?|{re.escape(word[:-1])}ies)"
    if re.search(r"(?:s|x|z|ch|sh|o)$", word, flags=re.IGNORECASE):
        return rf"{stem}(?:e?s)?"
    return rf"{stem}s?"
