"""Named settings: how much of every (domain, class) cell a model may see.

Every setting shows the whole natural domain. It differs in three blocks of cells: the other
domains, the seen classes of the test domain, and the held-out classes of the test domain.
The settings are those of Kempf et al. (ICML 2025).

Legend: D domains, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splits.errors import UserError, unknown
from splits.held_out import check_held_out


@dataclass(frozen=True)
class World:
    """The domains and classes of a dataset.

    Attributes:
        domains: names of the D domains.
        classes: names of the C classes.
        natural: the domain of photographs (or what stands for them), which every setting shows.
    """

    domains: tuple[str, ...]
    classes: tuple[str, ...]
    natural: str

    def __post_init__(self) -> None:
        for kind, names in (("domain", self.domains), ("class", self.classes)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise UserError(f"{kind} `{twice[0]}` is listed more than once")
        if self.natural not in self.domains:
            raise unknown("natural domain", self.natural, self.domains)


@dataclass(frozen=True)
class Setting:
    """Exposure, from 0 (never seen) to 1 (all of it), of the three blocks of cells.

    Attributes:
        description: one line for people.
        others: the domains that are neither natural nor the test domain, all classes.
        seen: the test domain's seen classes.
        held_out: the test domain's held-out classes.
    """

    description: str
    others: float
    seen: float
    held_out: float


SETTINGS: dict[str, Setting] = {
    "natural_only": Setting("the natural domain alone", 0, 0, 0),
    "leave_out_domain": Setting("every domain but the test domain", 1, 0, 0),
    "cg_low_diversity": Setting(
        "the natural domain, and the test domain without its held-out classes", 0, 1, 0
    ),
    "cg_high_diversity": Setting(
        "every domain, the test domain without its held-out classes", 1, 1, 0
    ),
    "upper_bound_low": Setting("the natural domain and the whole test domain", 0, 1, 1),
    "upper_bound_high": Setting("every domain, the test domain whole", 1, 1, 1),
}


def exposure(setting: str, world: World, test_domain: str, held_out: Sequence[str]) -> np.ndarray:
    """How much of every cell a setting shows.

    Args:
        setting: a name in SETTINGS.
        world: its domains and classes are the rows and columns of the result.
        test_domain: the domain that is tested; not the natural one.
        held_out: classes that the test domain keeps back, at least one and not all.

    Returns:
        Float64 [D, C] in [0, 1].

    Raises:
        UserError: a name is unknown, or the setting asks for more than the world has.
    """
    _check(setting, world, test_domain, held_out)
    rule = SETTINGS[setting]
    exposure_DC = np.full((len(world.domains), len(world.classes)), float(rule.others))
    exposure_DC[world.domains.index(world.natural)] = 1.0
    is_held_out_C = np.isin(world.classes, held_out)
    exposure_DC[world.domains.index(test_domain)] = np.where(
        is_held_out_C, rule.held_out, rule.seen
    )
    return exposure_DC


def _check(setting: str, world: World, test_domain: str, held_out: Sequence[str]) -> None:
    if setting not in SETTINGS:
        raise unknown("setting", setting, SETTINGS)
    if test_domain not in world.domains:
        raise unknown("test domain", test_domain, world.domains)
    others = [name for name in world.domains if name not in (world.natural, test_domain)]
    if test_domain == world.natural:
        raise UserError(
            f"test domain `{test_domain}` is the natural domain, which every setting shows",
            expected=f"one of {', '.join(others)}" if others else "a second domain",
        )
    check_held_out(held_out, world.classes)
    if SETTINGS[setting].others and not others:
        raise UserError(
            f"setting `{setting}` needs a domain beside `{world.natural}` and `{test_domain}`",
            expected=f"at least 3 domains; there are {len(world.domains)}",
        )
