"""Numbers and reasons in messages for people."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

LINE_OF_A_LIST = re.compile(r"listed in .*?:\d+,")


def counted(number: int, noun: str) -> str:
    """A number of things: `1 image`, `2 images`, `0 classes`."""
    ending = "" if number == 1 else "es" if noun.endswith("s") else "s"
    return f"{number} {noun}{ending}"


def kind_of(reason: str) -> str:
    """Why a sample was left out, without the places and numbers behind the first colon."""
    return LINE_OF_A_LIST.sub("listed,", reason).split(": ")[0]


def count_kinds(reasons: Iterable[str]) -> dict[str, int]:
    """Number of samples that were left out by the kind of reason, sorted by its name."""
    return dict(sorted(Counter(map(kind_of, reasons)).items()))
