"""What sets a run's configuration apart from an earlier one: the keys that differ, for people."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

HASH = re.compile(r"[0-9a-f]{64}")
LETTERS = 8
"""of a hash that are told"""
TOLD = 6
"""changes that are spelled out"""


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, with the values; `nothing` stands for an absent key."""
    old, new = dict(_leaves(before)), dict(_leaves(after))
    keys = [*new, *(key for key in old if key not in new)]
    pairs = {key: (old.get(key, "nothing"), new.get(key, "nothing")) for key in keys}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def told(changes: Mapping[str, tuple[Any, Any]]) -> str:
    """The changes as one line: `training.learning_rate 0.0007 → 0.001, seed 0 → 1`."""
    parts = [f"{key} {_short(old)} → {_short(new)}" for key, (old, new) in changes.items()]
    more = [f"and {len(parts) - TOLD} more keys"] if len(parts) > TOLD else []
    return ", ".join([*parts[:TOLD], *more])


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:LETTERS]}…" if HASH.fullmatch(text) else text


def _leaves(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested mappings; a list is one value."""
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
