"""Held-out classes: the classes that the test domain keeps back from training."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from splits.errors import UserError, unknown


def seeded_key(seed: int, name: str) -> bytes:
    """Sort key that puts names into an order drawn by `seed`, the same on every machine.

    A hash and not a random generator: the place of a name depends on no other name, and the
    streams of random generators may change between versions of their library.
    """
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()


def draw_held_out(super_categories: Mapping[str, str], count: int, seed: int) -> tuple[str, ...]:
    """Draw `count` classes so that every super-category gives its proportional share.

    Shares are allocated by largest remainder, ties in seeded order; within a super-category every
    class is as likely as any other.

    Args:
        super_categories: super-category of every class; its order does not matter.
        count: classes to draw, from 1 to one less than there are.
        seed: of the draw.

    Returns:
        The drawn classes, sorted.

    Raises:
        UserError: `count` is out of range.
    """
    if not 1 <= count < len(super_categories):
        raise UserError(
            f"{count} held-out classes are asked for, of {len(super_categories)} classes",
            expected=f"a count from 1 to {len(super_categories) - 1}",
            fix="change held_out.count",
        )
    strata: dict[str, list[str]] = defaultdict(list)
    for name, category in super_categories.items():
        strata[category].append(name)
    shares = _shares({category: len(names) for category, names in strata.items()}, count, seed)
    drawn = []
    for category, names in strata.items():
        drawn += sorted(names, key=lambda name: seeded_key(seed, name))[: shares[category]]
    return tuple(sorted(drawn))


def check_held_out(names: Sequence[str], classes: Sequence[str]) -> None:
    """Check an explicit list of held-out classes.

    Raises:
        UserError: a name is not among `classes`, stands twice, or none or all classes are named.
    """
    known = set(classes)
    for name in names:
        if name not in known:
            raise unknown("held-out class", name, classes)
    twice = sorted(name for name, n in Counter(names).items() if n > 1)
    if twice:
        raise UserError(
            f"held-out class `{twice[0]}` is listed more than once", fix="list every class once"
        )
    if not 1 <= len(names) < len(classes):
        raise UserError(
            f"{len(names)} of {len(classes)} classes are held out",
            expected=f"1 to {len(classes) - 1} held-out classes",
        )


def _shares(sizes: Mapping[str, int], count: int, seed: int) -> dict[str, int]:
    """Proportional shares of `count`, by largest remainder; no share exceeds its size."""
    total = sum(sizes.values())
    shares, remainders = {}, {}
    for category, size in sizes.items():
        shares[category], remainders[category] = divmod(count * size, total)
    ranked = sorted(sizes, key=lambda category: (-remainders[category], seeded_key(seed, category)))
    for category in ranked[: count - sum(shares.values())]:
        shares[category] += 1
    return shares
