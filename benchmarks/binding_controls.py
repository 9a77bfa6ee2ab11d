"""Does the binding function tell encoders apart whose answers are known?

    python benchmarks/binding_controls.py [--quick]

Planted encoders (`analysis.binding.planted`: 16 values of each of two concepts, 32 dimensions, all
scenes of two objects without a value in common) are fitted by every class of functions on 70 % of
the objects, in three splits, and the forest beside them. How often are the objects of scenes of
unseen objects recognised? Goals: the product is carried by per-object products and not by sums, the
bag and what was learned by heart by nothing, and half of each shows its concepts and not its
objects. Then the product alone in the other worlds and widths of the shipped configs, and in a
smaller one, whose few values may not tell it from a table: where products do not find it there,
they say little of models. (Symbols of the coverage sweep have the world of the controls.) Then one
chain of one encoder, 5 classes × 5 shares of the objects × 3 splits: less than four minutes of
one core.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)  # the packages, not this folder

from benchmarks.measured import finish

SHARE = 0.7
SEEDS, SEEDS_QUICK = (0, 1, 2), (0,)
GOAL_SECONDS = 240.0
WORLDS = {
    "smaller": ((10, 10), 32, 0.7),
    "coverage small: pictures": ((24, 6), 32, 0.7),
    "study binding": ((12, 12), 64, 0.7),
    "study binding, at most": ((12, 12), 64, 0.9),
}
"""number of values of every concept, dimensions, and the share of the objects that is fitted"""
CLOSE = 0.7
"""of the ceiling, which per-object products must reach for the product"""
LITTLE = 0.2
"""objects recognised, above which a rule has been found"""
CONCEPTS = 0.8
"""concepts recognised of an encoder that shows them"""


def control(name: str, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
    """Points of the curves of a planted encoder's images, at one share of the objects."""
    from analysis.binding.approximators import FOREST, LADDER
    from analysis.binding.binding_function import binding_rows
    from analysis.binding.complexity import curves

    ladder = (*LADDER, FOREST)
    return curves(
        binding_rows(planted(name), "images", approximators=ladder, fractions=(SHARE,), seeds=seeds)
    )


def planted(name: str) -> Any:
    """All scenes of two objects without a value in common, embedded."""
    from analysis.binding.planted import PLANTED, plant, planted_space
    from gen.scenes.space import pair_scenes

    space = planted_space()
    return plant(PLANTED[name], space, None, pair_scenes(space), seed=0)


def world(name: str, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
    """Points of the curves of the planted product in one of `WORLDS`."""
    from analysis.binding.binding_function import binding_rows
    from analysis.binding.complexity import curves
    from analysis.binding.planted import PLANTED, plant
    from gen.scenes.space import ConceptSpace, pair_scenes

    sizes, width, share = WORLDS[name]
    values = {
        letter: tuple(map(str, range(size))) for letter, size in zip("ab", sizes, strict=True)
    }
    space = ConceptSpace(values)
    scenes = pair_scenes(space)
    embedded = plant(PLANTED["product"], space, None, scenes, seed=0, width=width)
    return curves(binding_rows(embedded, "images", fractions=(share,), seeds=seeds))


def chain_seconds(seeds: tuple[int, ...]) -> float:
    """Processor time of all classes, shares and splits of one encoder, in one thread."""
    import torch

    from analysis.binding.binding_function import binding_rows

    torch.set_num_threads(1)
    start = time.process_time()
    binding_rows(planted("product"), "images", seeds=seeds)
    return time.process_time() - start


def score(
    points: list[dict[str, Any]], kind: str, bank: str | None, name: str, key: str = "value"
) -> float:
    """One number of scenes of unseen objects."""
    (found,) = (
        point[key]
        for point in points
        if (point["part"], point["kind"], point["bank"]) == ("unseen", kind, bank)
        and f"{point['class']}{point['width'] or ''}" == name
    )
    return float(found)


def told_apart(points: dict[str, list[dict[str, Any]]], classes: list[str]) -> dict[str, bool]:
    """The goals, by what they say."""

    def objects(encoder: str, name: str) -> float:
        return score(points[encoder], "object", "full", name)

    ceiling = score(points["product"], "object", "full", "per_object", "ceiling")
    half = points["half_memorised"]
    return {
        "product: carried by per-object products": objects("product", "per_object")
        >= CLOSE * ceiling,
        "product: not carried by sums": objects("product", "additive") <= 0.05,
        "memorised: carried by nothing": max(objects("memorised", c) for c in classes) <= 0.05,
        "half memorised: no objects": max(objects("half_memorised", c) for c in classes) <= LITTLE,
        "half memorised: concepts": min(score(half, "concept", None, c) for c in classes[:3])
        >= CONCEPTS,
        "bag: no class above what a bag may reach": max(objects("bag", c) for c in classes)
        <= score(points["bag"], "object", "full", "additive", "bag_best"),
    }


def print_worlds(points: dict[str, list[dict[str, Any]]], classes: list[str]) -> None:
    """Objects recognised in scenes of unseen objects: the second table of the docs."""
    print("| world | d | ceiling |", " | ".join(classes), "|")
    print("|---|---|---|" + "---|" * len(classes))
    for name, rows in points.items():
        sizes, width, share = WORLDS[name]
        cells = " | ".join(f"{score(rows, 'object', 'full', label):.2f}" for label in classes)
        ceiling = score(rows, "object", "full", classes[0], "ceiling")
        values = " × ".join(map(str, sizes))
        print(f"| {name}: {values}, {share:.0%} fitted | {width} | {ceiling:.2f} | {cells} |")


def print_table(points: dict[str, list[dict[str, Any]]], classes: list[str]) -> None:
    """Objects / concepts recognised in scenes of unseen objects: the table of the docs."""
    print("| encoder | ceiling |", " | ".join(classes), "|")
    print("|---|---|" + "---|" * len(classes))
    for encoder, rows in points.items():
        cells = []
        for name in classes:
            found = [score(rows, "object", "full", name), score(rows, "concept", None, name)]
            cells.append(" / ".join(f"{value:.2f}" for value in found))
        ceiling = [
            score(rows, kind, bank, classes[0], "ceiling")
            for kind, bank in (("object", "full"), ("concept", None))
        ]
        print(
            f"| {encoder} |", " / ".join(f"{v:.2f}" for v in ceiling), "|", " | ".join(cells), "|"
        )


def main() -> int:
    from analysis.binding.approximators import FOREST, LADDER
    from analysis.binding.planted import PLANTED

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one split, and no chain")
    quick = parser.parse_args().quick
    seeds = SEEDS_QUICK if quick else SEEDS
    points = {name: control(name, seeds) for name in PLANTED}
    classes = [approximator.name for approximator in (*LADDER, FOREST)]
    print_table(points, classes)
    goals = told_apart(points, classes)
    for goal, reached in goals.items():
        print(f"  {'yes' if reached else 'NO '} {goal}")
    worlds = {name: world(name, seeds) for name in WORLDS}
    print_worlds(worlds, [approximator.name for approximator in LADDER])
    seconds = None if quick else chain_seconds(seeds)
    verdict = f"binding controls: {sum(goals.values())} of {len(goals)} known answers"
    if seconds is not None:
        verdict += f", {seconds:.0f} s of one core per model (goal: < {GOAL_SECONDS:.0f} s)"
    fine = all(goals.values()) and (seconds is None or seconds < GOAL_SECONDS)
    results = {"goals": goals, "seconds of a chain": seconds, "curves": points, "worlds": worlds}
    return finish("binding_controls", results, verdict, fine=fine, quick=quick)


if __name__ == "__main__":
    sys.exit(main())
