"""Settings: how much of every (domain, class) cell a model may see, as data.

Every setting but an explicit matrix shows the whole natural domain. It differs in three blocks of
cells: the other domains, the seen classes of the test domain, and its held-out classes. The six
named settings are those of Kempf et al. (ICML 2025); `splits.variants` makes further ones of them.

Legend: D domains, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from splits.errors import UserError, unknown
from splits.held_out import check_held_out, seeded_key

EVERY = "*"
"""stands for every domain or class in an explicit matrix"""


@dataclass(frozen=True)
class World:
    """The domains and classes of a dataset.

    Attributes:
        domains: names of the D domains.
        classes: names of the C classes.
        natural: the domain of photographs (or what stands for them), which every setting shows.
        trim_order: all domains, in the order in which mixtures are trimmed; empty means the
            largest first.
    """

    domains: tuple[str, ...]
    classes: tuple[str, ...]
    natural: str
    trim_order: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for kind, names in (("domain", self.domains), ("class", self.classes)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise UserError(f"{kind} `{twice[0]}` is listed more than once")
        if self.natural not in self.domains:
            raise unknown("natural domain", self.natural, self.domains)
        if self.trim_order and sorted(self.trim_order) != sorted(self.domains):
            raise UserError(
                f"the trim order is {', '.join(self.trim_order)}",
                expected=f"every domain once: {', '.join(self.domains)}",
            )


@dataclass(frozen=True)
class Setting:
    """Exposure, from 0 (never seen) to 1 (all of it), of the cells of any test domain.

    Attributes:
        name: unique in a study; nothing is read out of it.
        description: one line for people.
        others: exposure of the domains that are neither natural nor the test domain.
        seen: exposure of the test domain's seen classes.
        held_out: exposure of the test domain's held-out classes.
        domains: the other domains that are shown; None means all.
        seen_classes: share of the seen classes that the test domain shows at all. Smaller shares
            are part of larger ones; the order is drawn by `seed`.
        seed: of the order of the seen classes.
        cells: (domain, class, exposure), later ones before earlier ones, `*` for every domain or
            class: replaces everything above. What no line names is not shown.
    """

    name: str
    description: str
    others: float = 0.0
    seen: float = 0.0
    held_out: float = 0.0
    domains: tuple[str, ...] | None = None
    seen_classes: float = 1.0
    seed: int = 0
    cells: tuple[tuple[str, str, float], ...] = ()

    def __post_init__(self) -> None:
        shares = {key: getattr(self, key) for key in ("others", "seen", "held_out", "seen_classes")}
        shares |= {f"cell ({domain}, {name})": share for domain, name, share in self.cells}
        for key, share in shares.items():
            if not 0 <= share <= 1:  # also refuses NaN
                raise UserError(
                    f"exposure of {key.replace('_', '-')} is {share}",
                    expected="a share from 0 to 1",
                    where=f"setting `{self.name}`",
                )


SETTINGS: dict[str, Setting] = {
    setting.name: setting
    for setting in (
        Setting("natural_only", "the natural domain alone"),
        Setting("leave_out_domain", "every domain but the test domain", others=1),
        Setting(
            "cg_low_diversity",
            "the natural domain, and the test domain without its held-out classes",
            seen=1,
        ),
        Setting(
            "cg_high_diversity",
            "every domain, the test domain without its held-out classes",
            others=1,
            seen=1,
        ),
        Setting(
            "upper_bound_low", "the natural domain and the whole test domain", seen=1, held_out=1
        ),
        Setting(
            "upper_bound_high",
            "every domain, the test domain whole",
            others=1,
            seen=1,
            held_out=1,
        ),
    )
}


def exposure(
    setting: Setting, world: World, test_domain: str, held_out: Sequence[str]
) -> np.ndarray:
    """How much of every cell a setting shows.

    Args:
        setting: one of SETTINGS, or a variant.
        world: its domains and classes are the rows and columns of the result.
        test_domain: the domain that is tested; not the natural one.
        held_out: classes that the test domain keeps back, at least one and not all.

    Returns:
        Float64 [D, C] in [0, 1].

    Raises:
        UserError: a name is unknown, or the setting asks for more than the world has.
    """
    check_test_domain(world, test_domain)
    check_held_out(held_out, world.classes)
    if setting.cells:
        return _matrix(setting, world)
    exposure_DC = np.zeros((len(world.domains), len(world.classes)))
    for domain in _other_domains(setting, world, test_domain):
        exposure_DC[world.domains.index(domain)] = setting.others
    exposure_DC[world.domains.index(world.natural)] = 1.0
    shown_C = np.isin(world.classes, _shown_classes(setting, world, held_out))
    row_C = np.where(shown_C, setting.seen, 0.0)
    row_C[np.isin(world.classes, held_out)] = setting.held_out
    exposure_DC[world.domains.index(test_domain)] = row_C
    return exposure_DC


def check_test_domain(world: World, test_domain: str) -> None:
    """Check that a domain can be tested.

    Raises:
        UserError: it is unknown, or the natural one.
    """
    if test_domain not in world.domains:
        raise unknown("test domain", test_domain, world.domains)
    if test_domain == world.natural:
        others = [name for name in world.domains if name != world.natural]
        raise UserError(
            f"test domain `{test_domain}` is the natural domain, which every setting shows",
            expected=f"one of {', '.join(others)}" if others else "a second domain",
        )


def _other_domains(setting: Setting, world: World, test_domain: str) -> list[str]:
    """The domains beside the natural and the test domain that a setting shows."""
    others = [name for name in world.domains if name not in (world.natural, test_domain)]
    if not setting.others:
        return []
    if setting.domains is None:
        if not others:
            raise UserError(
                f"setting `{setting.name}` needs a domain beside `{world.natural}` and "
                f"`{test_domain}`",
                expected=f"at least 3 domains; there are {len(world.domains)}",
            )
        return others
    for name in setting.domains:
        if name not in others:
            raise unknown("other domain", name, others, where=f"setting `{setting.name}`")
    return list(setting.domains)


def _shown_classes(setting: Setting, world: World, held_out: Sequence[str]) -> list[str]:
    """The seen classes that the test domain shows: the first of a seeded order."""
    seen = [name for name in world.classes if name not in set(held_out)]
    if setting.seen_classes == 1:
        return seen
    seen.sort(key=lambda name: seeded_key(setting.seed, name))
    return seen[: ceil(setting.seen_classes * len(seen) - 1e-9)]


def _matrix(setting: Setting, world: World) -> np.ndarray:
    exposure_DC = np.zeros((len(world.domains), len(world.classes)))
    where = f"the matrix of setting `{setting.name}`"
    for domain, name, share in setting.cells:
        if domain not in (EVERY, *world.domains):
            raise unknown("domain", domain, world.domains, where=where)
        if name not in (EVERY, *world.classes):
            raise unknown("class", name, world.classes, where=where)
        rows = slice(None) if domain == EVERY else world.domains.index(domain)
        columns = slice(None) if name == EVERY else world.classes.index(name)
        exposure_DC[rows, columns] = share
    return exposure_DC
