"""One controlled training: everything that decides its weights and scores, and its name.

Two conditions are the same if their fields are; a hash of the fields names the files of results, so
that a changed setting is another result and never an old one under a new name.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from gen.scenes.coverage import train_count
from gen.schema.binding import ControlledTraining, CoverageConfig, CoverageGrid, Variant
from splits.errors import UserError

RECIPE = 3
"""of drawing, training and scoring; a change of what they give makes another number here"""


@dataclass(frozen=True)
class Condition:
    """One cell of a grid: a world, a mixture of scenes, a seed."""

    variant: Variant
    sizes: tuple[int, ...]
    """numbers of values of the concepts"""
    coverage: float
    """share of the objects that training shows"""
    swap_share: float
    """share of the scenes of a step that come in pairs with their attribute swap"""
    seed: int
    """of weights and batches"""
    split_seed: int
    """of the draw of objects that training shows"""
    training: ControlledTraining

    def content(self) -> dict[str, Any]:
        """The fields as plain values that JSON holds."""
        return asdict(self) | {"variant": self.variant.name, "sizes": list(self.sizes)}

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits of the hash of the fields and of the recipe."""
        text = json.dumps([RECIPE, self.content()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def title(self) -> str:
        """What to call it in a line for people."""
        sizes = "×".join(map(str, self.sizes))
        return (
            f"{self.variant.name} {sizes}, coverage {self.coverage:g}, "
            f"swaps {self.swap_share:g}, seed {self.seed}, split {self.split_seed}"
        )


def conditions(config: CoverageConfig) -> dict[str, list[Condition]]:
    """The conditions of every grid, by its name.

    Raises:
        UserError: a grid is empty, or a setting has no meaning.
    """
    grids = {name: list(_of_grid(grid)) for name, grid in config.grids.items()}
    for name, grid in config.grids.items():
        _check(grid, f"grids.{name} of the coverage sweep `{config.name}`")
    if not any(grids.values()):
        raise UserError(
            f"the coverage sweep `{config.name}` has no condition",
            expected="grids, each with coverages, swap_shares and seeds",
            where="grids",
        )
    return grids


def _of_grid(grid: CoverageGrid) -> Iterator[Condition]:
    for coverage, share, seed in product(grid.coverages, grid.swap_shares, grid.seeds):
        for split_seed in grid.split_seeds or [seed]:
            yield Condition(
                variant=grid.variant,
                sizes=tuple(grid.sizes),
                coverage=float(coverage),
                swap_share=float(share),
                seed=seed,
                split_seed=split_seed,
                training=grid.training,
            )


def _check(grid: CoverageGrid, where: str) -> None:
    """Refuse what no training can do, before any is started."""
    training = grid.training
    if len(grid.sizes) < 2 or min(grid.sizes) < 2:
        raise UserError(
            f"concepts of {', '.join(map(str, grid.sizes)) or 'no'} values",
            expected="two concepts or more, each of two values or more",
            where=where,
        )
    for coverage in grid.coverages:
        try:
            train_count(grid.sizes, coverage)
        except UserError as error:
            raise UserError(
                error.found, expected=error.expected, where=where, fix=error.fix
            ) from None
    for seed in [*grid.seeds, *grid.split_seeds]:
        if seed < 0:
            raise UserError(f"a seed of {seed}", expected="0 or more", where=where)
    for share in [training.single_share, *grid.swap_shares]:
        if not 0 <= share <= 1:
            raise UserError(f"a share of {share:g}", expected="from 0 to 1", where=where)
    if max([0.0, *grid.swap_shares]) + training.single_share > 1:
        raise UserError(
            f"{max(grid.swap_shares):g} of the scenes in swapped pairs and "
            f"{training.single_share:g} of one object",
            expected="together at most 1",
            where=where,
        )
    _check_training(training, where)


def _check_training(training: ControlledTraining, where: str) -> None:
    for name in ("steps", "batch", "width", "layers", "heads", "dimensions"):
        if (count := getattr(training, name)) < 1:
            raise UserError(f"training.{name} is {count}", expected="1 or more", where=where)
    if not 0 < training.learning_rate < math.inf:
        raise UserError(
            f"training.learning_rate is {training.learning_rate:g}",
            expected="a number above 0",
            where=where,
        )
    for name in ("weight_decay", "concept_weight", "swap_weight"):
        if not 0 <= (weight := getattr(training, name)) < math.inf:
            raise UserError(
                f"training.{name} is {weight:g}", expected="a number, 0 or more", where=where
            )
    if not 0 <= training.warmup <= 1:
        raise UserError(
            f"training.warmup is {training.warmup:g}", expected="a share from 0 to 1", where=where
        )
    if training.width % (2 * training.heads):
        raise UserError(
            f"a width of {training.width} with {training.heads} heads",
            expected="a multiple of twice the heads",
            where=where,
        )
