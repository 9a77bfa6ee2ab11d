"""How complex a model's binding is: the smallest class of functions that carries it.

A class reaches a model where what it predicts for scenes of unseen objects is recognised nearly as
often as the true embeddings are: at least `SHARE` of their score, the ceiling. The classes stand in
the order of `approximators`; within one, fewer fitted objects are simpler. This is complexity
relative to these classes and their fit, not description length (Uselis et al. 2026).

Intervals are over splits of the objects, Student's t; each split's own scenes stand in the rows of
`binding_function`, and the two are never merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.report.spread import t_interval
from analysis.statistics import Refused
from gen.scenes.coverage import Part

SHARE = 0.8
"""of the ceiling"""
FRACTION = 0.7
"""of the objects, at which models are compared: far fewer than a table needs, enough left to ask"""
KEYS = ("side", "class", "width", "part", "bank", "kind")

Row = dict[str, Any]


@dataclass(frozen=True)
class Reached:
    """The first share of the objects from which a class carries a model's binding.

    Attributes:
        kind, width: the class.
        fraction: of the objects; None where the class does not reach the share of the ceiling.
        value: at that fraction, or the best at any; mean over splits.
        lo, hi: over splits; None for fewer than three.
        ceiling: at the same fraction, of the true embeddings.
        splits: behind the value.
    """

    kind: str
    width: int | None
    fraction: float | None
    value: float
    lo: float | None
    hi: float | None
    ceiling: float
    splits: int


@dataclass(frozen=True)
class Complexity:
    """What it takes to predict a model's binding.

    Attributes:
        simplest: the smallest class that reaches the share of the ceiling; None where none does:
            the binding is more complex than all of them.
        classes: every class, in rising order.
        share: of the ceiling that counts as reached.
    """

    simplest: Reached | None
    classes: tuple[Reached, ...]
    share: float


@dataclass(frozen=True)
class Carried:
    """What the best class of functions carries of a model's objects, and what there is to carry.

    Attributes:
        kind, width: the class whose predictions show most objects.
        held: objects that probes find in true embeddings: value, lo and hi.
        carried: that they find in its predictions.
        bag: the most that a bag of concepts can reach.
        n: scenes, over all splits.

    Intervals are over splits, Student's t, None for two and for equal ones; of a single split over
    its scenes.
    """

    kind: str
    width: int | None
    held: tuple[float, float | None, float | None]
    carried: tuple[float, float | None, float | None]
    bag: float | None
    n: int


def curves(rows: Sequence[Row]) -> list[Row]:
    """Scores over the shares of the objects that were fitted: means over splits.

    Args:
        rows: of `binding_function.binding_rows`, of one model.

    Returns:
        A row per class, part, bank, kind and fraction, in the order in which they first come:
        `value`, `lo`, `hi`, `splits`; `ceiling`, `floor` and `bag_best`, also means over these
        splits, and `ceiling_lo`, of a single split over its scenes; `missing`, how many splits have
        no value, and the first `reason`.
    """
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((*(row[key] for key in KEYS), row["fraction"]), []).append(row)
    return [
        dict(zip((*KEYS, "fraction"), key, strict=True)) | _over_splits(group)
        for key, group in groups.items()
    ]


def complexity(
    rows: Sequence[Row],
    *,
    kind: str = "object",
    bank: str | None = "full",
    share: float = SHARE,
) -> Complexity | Refused:
    """The smallest class, and the fewest objects, that reach a share of the ceiling.

    Args:
        rows: of `binding_function.binding_rows`, of one model and one side.
        kind: "object", which is binding, or "concept", which a bag of concepts has, too.
        bank: objects that are told apart; None for concepts.
        share: of the ceiling.

    Returns:
        The complexity; or why it cannot be told: nothing was scored, or true embeddings are
        not clearly recognised more often than a bag of concepts may be, so there is no binding to
        carry.
    """
    asked = {"part": Part.unseen.name, "kind": kind, "bank": bank}
    points = [
        point
        for point in curves([row for row in rows if asked.items() <= row.items()])
        if point["value"] is not None
    ]
    if not points:
        return Refused("no split leaves scenes of unseen objects")
    told = [point for point in points if _above_bag(point)]
    if not told:
        best = max(points, key=lambda point: point["ceiling"] - (point["bag_best"] or 0))
        lowest = best["ceiling_lo"]
        interval = "" if lowest is None else f" (95%: from {max(lowest, 0):.1%})"
        return Refused(
            f"true embeddings are recognised in {best['ceiling']:.1%} of the scenes{interval}, "
            f"where a bag of concepts may reach {best['bag_best']:.1%}"
        )
    groups: dict[tuple[str, int | None], list[Row]] = {}
    for point in told:
        groups.setdefault((point["class"], point["width"]), []).append(point)
    classes = tuple(_reached(group, share) for group in groups.values())
    simplest = next((found for found in classes if found.fraction is not None), None)
    return Complexity(simplest, classes, share)


def best_carried(rows: Sequence[Row], fraction: float = FRACTION) -> Carried | None:
    """What the best class of functions carries of a model's objects.

    Args:
        rows: of `binding_function.binding_rows`, of one model and one side.
        fraction: of the objects that were fitted.

    Returns:
        None where nothing was scored at this fraction.
    """
    asked = {"part": Part.unseen.name, "kind": "object", "bank": "full", "fraction": fraction}
    own = [row for row in rows if asked.items() <= row.items() and row["value"] is not None]
    points = curves(own)
    if not points:
        return None
    best = max(points, key=lambda point: point["value"])
    chosen = [row for row in own if (row["class"], row["width"]) == (best["class"], best["width"])]
    return Carried(
        kind=best["class"],
        width=best["width"],
        held=_over_rows(chosen, "ceiling", ("ceiling_lo", "ceiling_hi")),
        carried=_over_rows(chosen, "value", ("lo", "hi")),
        bag=best["bag_best"],
        n=sum(row["n"] for row in chosen),
    )


def _over_rows(rows: Sequence[Row], key: str, ends: tuple[str, str]) -> tuple[float, Any, Any]:
    """Mean and interval: over splits, or over the scenes of a single one."""
    if len(rows) == 1:
        return (rows[0][key], rows[0][ends[0]], rows[0][ends[1]])
    values = [row[key] for row in rows]
    return (float(np.mean(values)), *t_interval(values))


def _above_bag(point: Row) -> bool:
    """Whether there is something to carry: clearly more than a bag of concepts has."""
    return point["bag_best"] is None or _lowest_ceiling(point) > point["bag_best"]


def _lowest_ceiling(point: Row) -> float:
    """The lower end of the ceiling's interval; the ceiling where there is no interval."""
    lowest = point["ceiling_lo"]
    return float(point["ceiling"] if lowest is None else lowest)


def _reached(points: list[Row], share: float) -> Reached:
    """The smallest fraction that reaches the share, or else the best one."""
    reaching = [point for point in points if point["value"] >= share * point["ceiling"]]
    if reaching:
        found = min(reaching, key=lambda point: point["fraction"])
    else:
        found = max(points, key=lambda point: point["value"] / max(point["ceiling"], 1e-12))
    return Reached(
        kind=found["class"],
        width=found["width"],
        fraction=found["fraction"] if reaching else None,
        value=found["value"],
        lo=found["lo"],
        hi=found["hi"],
        ceiling=found["ceiling"],
        splits=found["splits"],
    )


def _over_splits(rows: list[Row]) -> Row:
    """Means over the splits that have a value."""
    told = [row for row in rows if row["value"] is not None]
    reasons = [row["reason"] for row in rows if row["value"] is None]
    values = [row["value"] for row in told]
    lo, hi = t_interval(values)
    return {
        "value": _mean(values),
        "lo": lo,
        "hi": hi,
        "splits": len(told),
        "missing": len(reasons),
        "reason": reasons[0] if reasons else None,
        "ceiling_lo": _over_rows(told, "ceiling", ("ceiling_lo", "ceiling_hi"))[1]
        if told
        else None,
        **{key: _mean([row[key] for row in told]) for key in ("ceiling", "floor", "bag_best")},
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """Mean of the values that there are; None where there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
