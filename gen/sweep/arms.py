"""Arms of a study, the ways to train that it compares, and which runs each of them has.

The lists of `grid` name arms, `exclude` leaves runs out, and then `include` adds some.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import product
from typing import Any

from gen.config import load_config
from gen.schema import ModelConfig, StudyConfig
from gen.sweep.entries import Combination, Entry, Place, combinations_of, read_entry
from gen.sweep.ways import (
    MODEL,
    STREAM,
    TEXT_SHARE,
    Load,
    Values,
    check_key,
    checked_value,
    label_of,
    loaded,
    values_of,
)
from splits.errors import UserError, unknown


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        label: for people, run names and folders; empty where the study names no arms.
        config: the study as if this were its only arm: with the arm's model, training and seeds.
        model: that is trained.
        combinations: for which the study has a run of this arm.
    """

    label: str
    config: StudyConfig
    model: ModelConfig
    combinations: frozenset[Combination] = frozenset()


def planned_arms(config: StudyConfig, load: Load, places: Sequence[Place]) -> tuple[Arm, ...]:
    """Every arm of which runs are left, those of the grid first.

    Args:
        config: of the study.
        load: loads the same study with `key=value` pairs besides.
        places: every setting with every target to which it applies.

    Raises:
        UserError: a key or a value is unknown or stands twice, an entry changes nothing, two arms
            would be called the same, or no run is left.
    """
    plan = _Plan(config, load, places)
    excludes, includes = plan.entries("exclude"), plan.entries("include")
    plan.take_grid(names_arms=any(entry.arms for entry in includes))
    plan.leave_out(excludes)
    for entry in includes:
        plan.add(entry)
    return plan.arms()


@dataclass
class _Draft:
    """An arm while it is planned."""

    config: StudyConfig
    values: Values
    chosen: set[Combination] = field(default_factory=set)


class _Plan:
    """The arms of a study while they are planned; arguments as in `planned_arms`."""

    def __init__(self, config: StudyConfig, load: Load, places: Sequence[Place]) -> None:
        self._config, self._load, self._places = config, cache(load), places
        self._where = f"study {config.name}"
        self._own = values_of(config)
        self._grid = {key: self._values(key, values) for key, values in config.grid.items()}
        self._label_keys = list(self._grid)
        self._drafts: dict[str, _Draft] = {}
        self._kept: list[_Draft] = []

    def entries(self, name: str) -> list[Entry]:
        """The entries of `exclude` or `include`."""
        return [
            read_entry(entry, self._own, self._places, self._load, f"{self._where}, {name}[{n}]")
            for n, entry in enumerate(getattr(self._config, name))
        ]

    def take_grid(self, *, names_arms: bool) -> None:
        """Every combination of the lists, for everything; without a grid the study's own arm.

        Args:
            names_arms: whether further arms follow, so that this one needs a name.
        """
        if names_arms and not self._grid:
            self._label_keys = [MODEL]
        everything = combinations_of(self._places, self._config.seeds)
        for values in product(*self._grid.values()):
            named = dict(zip(self._grid, values, strict=True))
            self._draft(named, f"{self._where}, grid").chosen.update(everything)

    def leave_out(self, entries: Iterable[Entry]) -> None:
        """Take from the grid what fits an entry."""
        fitting: list[tuple[_Draft, set[Combination]]] = []
        for entry in entries:
            self._check_in_grid(entry)
            drafts = [draft for draft in self._drafts.values() if entry.fits_arm(draft.values)]
            found = [(draft, set(filter(entry.fits_run, draft.chosen))) for draft in drafts]
            if not any(chosen for _, chosen in found):
                raise UserError("the entry fits no run", where=entry.where, fix="leave it out")
            fitting += found
        for draft, chosen in fitting:
            draft.chosen -= chosen
        self._kept = [draft for draft in self._drafts.values() if draft.chosen]

    def add(self, entry: Entry) -> None:
        """Give runs to the arm of an entry's values, or to every arm that the grid still has."""
        drafts = [self._of_entry(entry)] if entry.arms else self._kept
        if not drafts:
            raise UserError(
                "the entry adds runs to every arm of the grid, and `exclude` leaves none of them",
                expected="an entry that names an arm (`model`, or keys of `training`)",
                where=entry.where,
            )
        seeds = entry.runs.get("seed", self._config.seeds)
        asked = set(filter(entry.fits_run, combinations_of(self._places, seeds)))
        if all(asked <= draft.chosen for draft in drafts):
            raise UserError(
                "the entry adds no run" + " that is not there already" * bool(asked),
                where=entry.where,
                fix="leave it out",
            )
        for draft in drafts:
            draft.chosen |= asked

    def arms(self) -> tuple[Arm, ...]:
        """The arms of which there are runs."""
        arms = [_arm(label, draft) for label, draft in self._drafts.items() if draft.chosen]
        if not arms:
            raise UserError(
                "`exclude` leaves no run",
                expected="at least one run that no entry fits",
                where=self._where,
            )
        return tuple(arms)

    def _values(self, key: str, values: Sequence[Any]) -> list[Any]:
        """The values that the grid gives a key."""
        where = f"{self._where}, grid"
        check_key(key, self._own, where)
        checked = [checked_value(key, value, self._load, where) for value in values]
        if not checked or len(set(checked)) < len(checked):
            raise UserError(
                f"key `{key}` is {checked}", expected="one or more values, each once", where=where
            )
        return checked

    def _of_entry(self, entry: Entry) -> _Draft:
        """The arm of an entry's values, all others being the study's own."""
        for key, values in entry.arms.items():
            if len(values) > 1:
                raise UserError(
                    f"key `{key}` is {list(values)}",
                    expected="one value: an entry of `include` with values of arms is one arm",
                    where=entry.where,
                )
        return self._draft({key: values[0] for key, values in entry.arms.items()}, entry.where)

    def _draft(self, named: Values, where: str) -> _Draft:
        """The arm of these values, which may be there already."""
        for key in named:
            if key.startswith(STREAM) and not self._config.training.stream.shards:
                raise UserError(
                    f"key `{key}` tells no arms apart where nothing is streamed",
                    expected="shards in training.stream.shards",
                    where=where,
                )
        config = loaded(named, self._load, where)
        if TEXT_SHARE in named and not config.training.text_pairs.source:
            raise UserError(
                f"key `{TEXT_SHARE}` tells no arms apart where there are no pairs of texts",
                expected="their source in training.text_pairs.source",
                where=where,
            )
        values = values_of(config)
        changed = [key for key in named if values[key] != self._own[key]]
        label = label_of(values, [*self._label_keys, *changed])
        draft = self._drafts.setdefault(label, _Draft(config, values))
        if draft.values != values:
            raise UserError(
                f"two arms would be called `{label}`",
                expected="models in files of different names",
                where=where,
            )
        return draft

    def _check_in_grid(self, entry: Entry) -> None:
        """An entry of `exclude` speaks of values that an arm has, and of the study's seeds."""
        known = {key: [draft.values[key] for draft in self._drafts.values()] for key in entry.arms}
        known["seed"] = self._config.seeds
        for key, values in (entry.arms | entry.runs).items():
            for value in values:
                if value not in known.get(key, [value]):
                    names = map(str, dict.fromkeys(known[key]))
                    raise unknown(key, value, names, where=entry.where)


def _arm(label: str, draft: _Draft) -> Arm:
    used = {combination.seed for combination in draft.chosen}
    seeds = [seed for seed in draft.config.seeds if seed in used]
    seeds += sorted(used.difference(seeds))
    config = replace(draft.config, seeds=seeds, grid={}, exclude=[], include=[])
    return Arm(label, config, load_config("models", config.model), frozenset(draft.chosen))
