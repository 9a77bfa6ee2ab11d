"""Faithfulness of a growing part of a network, and what its curve comes to (docs/circuits.md).

Legend: K sizes, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from analysis.jackknife import Scored, jackknife
from analysis.statistics import Refused

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""of all nodes: the sizes of MIB (Mueller et al. 2025)"""
ENOUGH = 0.8
"""faithfulness from which a part of the network stands for the whole"""


@dataclass(frozen=True)
class Curve:
    """Margins of a network of which more and more nodes are kept, or taken away.

    Attributes:
        shares: of all nodes, K of them, ascending.
        margins_KC: mean margin of every class's images at every share.
        empty_C, full_C: with all nodes replaced by their baselines, and with none.
    """

    shares: tuple[float, ...]
    margins_KC: np.ndarray
    empty_C: np.ndarray
    full_C: np.ndarray

    @property
    def classes(self) -> int:
        return len(self.full_C)

    def of_classes(self, chosen: np.ndarray) -> Curve:
        """That of some classes, by position."""
        return Curve(
            self.shares, self.margins_KC[:, chosen], self.empty_C[chosen], self.full_C[chosen]
        )

    def faithfulness(self) -> np.ndarray | Refused:
        """f(k) = (m(C_k) − m(∅)) / (m(N) − m(∅)), [K], m the mean over classes, all alike.

        0 is a network without any node of its own, 1 the whole one; values may lie outside.
        """
        gains = (np.vstack([self.margins_KC, self.full_C]) - self.empty_C).mean(axis=1)
        if not gains[-1] > 0:
            return Refused("the whole network is no better than its baselines")
        return gains[:-1] / gains[-1]


def area(shares: tuple[float, ...], values: np.ndarray, log: bool) -> float:
    """∫ values dk by the trapezoidal rule of MIB (`evaluate_area_under_curve`).

    From the smallest share to the largest, neither 0 nor a division by the range: 1 everywhere
    gives 0.999 from 0.1 % to 100 %.

    Args:
        shares: k, ascending, [K].
        values: [K].
        log: over ln k instead; 1 everywhere then gives ln 1000 = 6.91.
    """
    axis = np.log(shares) if log else np.asarray(shares)
    return float(np.sum(np.diff(axis) * (values[1:] + values[:-1]) / 2))


def smallest_share(shares: tuple[float, ...], values: np.ndarray) -> float | None:
    """The smallest share, of those tried, at which faithfulness is ENOUGH; None: none but the last.

    Nothing is read between two sizes. That larger ones fall short again does not count.

    Args:
        shares: [K], the last of which is the whole network.
        values: f(k), [K].
    """
    return next((k for k, f in zip(shares[:-1], values[:-1], strict=True) if f >= ENOUGH), None)


SUMMARIES: dict[str, Callable[[tuple[float, ...], np.ndarray], float]] = {
    "cpr": lambda k, f: area(k, f, log=False),
    "cmd": lambda k, f: area(k, np.abs(1 - f), log=False),
    "cpr_log": lambda k, f: area(k, f, log=True),
    "cmd_log": lambda k, f: area(k, np.abs(1 - f), log=True),
}
"""∫ f dk (more is better) and ∫ |1 − f| dk (0 is best)"""
SIZE = "size_80"
QUANTITIES = ("f", *SUMMARIES, SIZE)


def curve_rows(curve: Curve) -> Iterator[dict[str, Any]]:
    """What a curve says: `quantity`, `k`, and the numbers of `Scored`, one row each.

    First f at every share; then, where the last share is the whole network, what the curve comes
    to. All numbers are null where the whole network is not clearly better than its baselines: a
    ratio to what may be 0 has no bounded interval (Fieller 1954).
    """
    whole = curve.shares[-1] == 1
    refused = no_effect(curve)
    if refused:
        nothing = Scored(None, None, None, refused)._asdict()
        yield from ({"quantity": "f", "k": share, **nothing} for share in curve.shares)
        if whole:
            yield from ({"quantity": name, "k": None, **nothing} for name in QUANTITIES[1:])
        return
    ratios = _Ratios(curve)
    found = [ratios.scored(partial(_at, place)) for place in range(len(curve.shares))]
    for share, score in zip(curve.shares, found, strict=True):
        yield {"quantity": "f", "k": share, **score._asdict()}
    if whole:
        for name, summary in SUMMARIES.items():
            yield {"quantity": name, "k": None, **ratios.scored(summary)._asdict()}
        yield {"quantity": SIZE, "k": None, **_size(curve.shares, found)._asdict()}


def no_effect(curve: Curve) -> str:
    """Why a curve has no faithfulness; nothing where it has.

    m(N) − m(∅) has to be above 0 by more than its jackknife's interval over classes; with fewer
    classes than have an interval, above 0.
    """
    if not curve.classes:
        return "no test image of these classes"
    gains_C = curve.full_C - curve.empty_C
    gain = jackknife(lambda kept: float(gains_C[kept].mean()), curve.classes)
    least = gain.value if gain.lo is None else gain.lo
    if least is not None and least > 0:
        return ""
    span = "" if gain.lo is None else f" [{gain.lo:.3g}, {gain.hi:.3g}]"
    return f"m(N) - m(none) = {gain.value:.3g}{span} is not clearly above 0"


class _Ratios:
    """Faithfulness of a curve with all classes and without each, computed once."""

    def __init__(self, curve: Curve) -> None:
        self._curve = curve
        self._known: dict[bytes, np.ndarray | Refused] = {}

    def scored(self, statistic: Callable[[tuple[float, ...], np.ndarray], float]) -> Scored:
        """A statistic of shares and faithfulness, with its interval over classes."""

        def value(kept: np.ndarray) -> float | Refused:
            values = self._of(kept)
            if isinstance(values, Refused):
                return values
            return statistic(self._curve.shares, values)

        return jackknife(value, self._curve.classes)

    def _of(self, kept: np.ndarray) -> np.ndarray | Refused:
        key = kept.tobytes()
        if key not in self._known:
            self._known[key] = self._curve.of_classes(kept).faithfulness()
        return self._known[key]


def _at(place: int, _shares: tuple[float, ...], values: np.ndarray) -> float:
    return float(values[place])


def _size(shares: tuple[float, ...], found: list[Scored]) -> Scored:
    """The smallest share with f ≥ ENOUGH; its interval are those of f's upper and lower ends.

    A size out of ten is a step function of the classes, which a jackknife cannot see move.
    """

    def of(ends: list[float | None]) -> float | None:
        known = np.array([-np.inf if end is None else end for end in ends])
        return smallest_share(shares, known)

    size = of([score.value for score in found])
    lo, hi = of([score.hi for score in found]), of([score.lo for score in found])
    reasons = [score.note for score in found if score.note][:1]
    if size is None:
        reasons = [f"f is below {ENOUGH} at all sizes but the whole network"]
    elif hi is None and not reasons:
        reasons = [f"no upper end: f is not certainly {ENOUGH} at any size but the whole network"]
    return Scored(size, lo if size is not None else None, hi, "".join(reasons))
