"""The sets of classes over which a number is made: all, or a draw's seen and held-out ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class ClassSet(NamedTuple):
    """A set of classes that has a name in tables.

    Attributes:
        name: `all`, `seen` or `held_out` (the column `classes` of a table).
        draw: of the held-out classes; None for `all`, which is the same in every draw.
        members: positions along C, ascending.
    """

    name: str
    draw: int | None
    members: tuple[int, ...]


def class_sets(classes: Sequence[str], draws: Mapping[int, Sequence[str]]) -> list[ClassSet]:
    """All classes; then of every draw the seen and the held-out ones.

    Args:
        classes: names along C.
        draws: names of the held-out classes of every draw; names that are not among `classes`
            (classes without enough images) are in no set.
    """
    sets = [ClassSet("all", None, tuple(range(len(classes))))]
    for draw, names in sorted(draws.items()):
        held_out = set(names)
        is_held_out = [name in held_out for name in classes]
        seen = tuple(i for i, out in enumerate(is_held_out) if not out)
        gone = tuple(i for i, out in enumerate(is_held_out) if out)
        sets += [ClassSet("seen", draw, seen), ClassSet("held_out", draw, gone)]
    return sets
