"""Captions of scenes: "a red cat and a blue key", "a photo of a cat and a sketch of a key"."""

from __future__ import annotations

from collections.abc import Sequence

from gen.scenes.space import ConceptSpace

DOMAIN = "domain"
"""name of the concept whose values are words for a medium, said as `MEDIUM of a …`"""


def scene_caption(space: ConceptSpace, scene: Sequence[int]) -> str:
    """The sentence that names the objects of a scene in the order given."""
    named = [object_caption(space, int(number)) for number in scene]
    if len(named) < 3:
        return " and ".join(named)
    return ", ".join(named[:-1]) + " and " + named[-1]


def object_caption(space: ConceptSpace, number: int) -> str:
    """An object with its article; its domain, which comes first, as the medium of the others."""
    words = space.name(number)
    if space.concepts[0] != DOMAIN:
        return _with_article(words)
    medium = space.values[DOMAIN][int(space.table[number, 0])]
    return f"{_with_article(medium)} of {_with_article(words.removeprefix(medium).strip())}"


def _with_article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"
