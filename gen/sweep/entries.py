"""Entries of a study's `exclude` and `include`: which runs of which arms they speak of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

from gen.runs import Target
from gen.sweep.ways import Load, Values, check_key, checked_value
from splits.errors import UserError, unknown

Place = tuple[str, Target]
"""a setting, and a target to which it applies"""


class Combination(NamedTuple):
    """What an arm is trained for; the fields are the keys by which an entry chooses runs."""

    setting: str
    test_domain: str
    draw: int
    seed: int


@dataclass(frozen=True)
class Entry:
    """Values by key, of arms and of their runs; who has one of the values for every key, fits.

    Attributes:
        where: the entry stands, for errors.
    """

    arms: dict[str, list[Any]]
    runs: dict[str, list[Any]]
    where: str

    def fits_arm(self, values: Values) -> bool:
        """Whether it speaks of an arm of these values."""
        return all(values[key] in wanted for key, wanted in self.arms.items())

    def fits_run(self, combination: Combination) -> bool:
        """Whether it speaks of what is trained for that."""
        return all(getattr(combination, key) in wanted for key, wanted in self.runs.items())


def combinations_of(places: Iterable[Place], seeds: Iterable[int]) -> list[Combination]:
    """Every place with every seed."""
    pairs = product(places, seeds)
    return [Combination(setting, *target, seed) for (setting, target), seed in pairs]


def read_entry(
    content: Mapping[str, Any], own: Values, places: Iterable[Place], load: Load, where: str
) -> Entry:
    """Read and check an entry.

    Args:
        content: what stands in the study.
        own: the study's own values of the keys in which arms may differ.
        places: of the study.
        load: the study with other values.
        where: the entry stands.

    Raises:
        UserError: a key or a value is unknown, or there is none.
    """
    if not content:
        raise UserError("the entry is empty", expected=f"some of {_keys(own)}", where=where)
    known = _known(places)
    arms: dict[str, list[Any]] = {}
    runs: dict[str, list[Any]] = {}
    for key, value in content.items():
        values = value if isinstance(value, list) else [value]
        if not values:
            raise UserError(f"key `{key}` is []", expected="at least one value", where=where)
        if key in Combination._fields:
            runs[key] = [_checked(key, value, known, where) for value in values]
        else:
            check_key(key, [*Combination._fields, *own], where)
            arms[key] = [checked_value(key, value, load, where) for value in values]
    return Entry(arms, runs, where)


def _keys(own: Values) -> str:
    return ", ".join([*Combination._fields, *own])


def _known(places: Iterable[Place]) -> dict[str, list[Any]]:
    """The values of all keys of runs, but seeds: an entry may bring one of its own."""
    columns = zip(*((setting, *target) for setting, target in places), strict=True)
    fields = ("setting", "test_domain", "draw")
    return {key: list(dict.fromkeys(column)) for key, column in zip(fields, columns, strict=True)}


def _checked(key: str, value: Any, known: Mapping[str, list[Any]], where: str) -> Any:
    """A value by which an entry chooses runs."""
    if key == "seed":
        if type(value) is not int or value < 0:
            raise UserError(f"key `seed` is {value}", expected="whole numbers from 0", where=where)
    elif type(value) is bool or value not in known[key]:
        raise unknown(key.replace("_", " "), value, map(str, known[key]), where=where)
    return value
