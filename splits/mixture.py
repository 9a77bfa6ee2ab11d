"""A mixture: the ids that a model trains on, and the counts, seeds and hash that explain them.

Legend: N samples, D domains, C classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from splits.budget import PUBLISHED_RULE, Allocation, Budget, allocate, check_cells
from splits.errors import UserError
from splits.files import replacing, write_json
from splits.pool import Pool, cell_numbers, named_rows
from splits.settings import Setting, World, exposure

TABLE, MANIFEST = "mixture.parquet", "manifest.json"


@dataclass(frozen=True)
class Base:
    """An image–caption dataset of which a mixture holds everything."""

    name: str
    sha256: str
    samples: int


@dataclass(frozen=True, eq=False)
class Recipe:
    """What a mixture is made of, beside the setting's exposure of the cells.

    Attributes:
        setting: what may be shown.
        test_domain: the domain that is tested.
        held_out: classes that the test domain keeps back, sorted.
        draw: number of the draw that gave the held-out classes.
        budget: how much is shown.
        caption: column of the sample table that holds the captions.
        dataset_sha256: hash of the dataset that the ids belong to.
        base: what is always included.
        allow_empty_cells: go on where a cell that is shown has no sample.
    """

    setting: Setting
    test_domain: str
    held_out: tuple[str, ...]
    budget: Budget
    caption: str
    dataset_sha256: str
    draw: int = 0
    base: Base | None = None
    allow_empty_cells: bool = False

    @property
    def choice_seed(self) -> int | None:
        """Seed of the choice within the cells; None takes the first of the official list."""
        return None if self.budget.rule == PUBLISHED_RULE else self.budget.seed


@dataclass(frozen=True, eq=False)
class Mixture:
    """The realised samples of one recipe.

    Attributes:
        recipe: what was asked for.
        world: the domains and classes of the dataset.
        ids: sorted, shape [N]; an id may stand several times where a small pool was topped up.
        cells: number of each sample's cell (row x C + column), shape [N].
        exposure: what the setting shows of every cell, float64 [D, C].
        available: training samples that the dataset has, int64 [D, C].
        allocation: samples per cell that were asked for and that the mixture holds, and why.
    """

    recipe: Recipe
    world: World
    ids: pl.Series
    cells: np.ndarray
    exposure: np.ndarray
    available: np.ndarray
    allocation: Allocation

    @property
    def setting(self) -> Setting:
        return self.recipe.setting

    @property
    def test_domain(self) -> str:
        return self.recipe.test_domain

    @property
    def held_out(self) -> tuple[str, ...]:
        return self.recipe.held_out

    @property
    def draw(self) -> int:
        return self.recipe.draw

    @property
    def caption(self) -> str:
        return self.recipe.caption

    @property
    def base(self) -> Base | None:
        return self.recipe.base

    @property
    def budget(self) -> Budget:
        return self.recipe.budget

    @property
    def requested(self) -> np.ndarray:
        return self.allocation.requested

    @property
    def realised(self) -> np.ndarray:
        return self.allocation.realised

    @property
    def size(self) -> int:
        return len(self.ids)

    @cached_property
    def sha256(self) -> str:
        """Hash of what a model sees: recipes that select the same samples share it."""
        return hash_of(self.recipe, [self.ids]).hexdigest()


def build_mixture(pool: Pool, recipe: Recipe) -> Mixture:
    """Realise a recipe on a dataset's training samples.

    Raises:
        UserError: a name is unknown, a cell that the setting shows is empty, or the budget cannot
            be met.
    """
    shown_DC, allocation = plan_cells(pool, recipe)
    ids, cells = pool.take(allocation.realised, recipe.choice_seed)
    return Mixture(recipe, pool.world, ids, cells, shown_DC, pool.available, allocation)


def plan_cells(
    pool: Pool, recipe: Recipe, order_DC: np.ndarray | None = None
) -> tuple[np.ndarray, Allocation]:
    """Exposure of the cells, float64 [D, C], and samples per cell of a recipe.

    Args:
        pool: of which `available` is asked, and `order` where none is given.
        recipe: what to realise.
        order_DC: place of every class in the list of its domain, for trimming.
    """
    shown_DC = exposure(recipe.setting, pool.world, recipe.test_domain, recipe.held_out)
    if not recipe.allow_empty_cells:
        check_cells(shown_DC, pool.available, pool.world)
    allocation = allocate(
        shown_DC,
        pool.available,
        pool.order if order_DC is None else order_DC,
        recipe.budget,
        world=pool.world,
        test_domain=recipe.test_domain,
        held_out=recipe.held_out,
    )
    if not allocation.realised.any():
        raise UserError(
            f"setting `{recipe.setting.name}` shows no sample",
            expected="at least one sample in a mixture",
            where=f"test domain {recipe.test_domain}",
        )
    return shown_DC, allocation


def hash_of(recipe: Recipe, ids: Iterable[pl.Series]) -> hashlib._Hash:
    """Hash of the samples that a recipe selected, given in pieces, in sorted order."""
    state = hashlib.sha256(f"{recipe.dataset_sha256}\n{recipe.caption}".encode())
    if recipe.base:
        state.update(f"\nbase {recipe.base.sha256}".encode())
    for piece in ids:
        if len(piece):
            state.update(b"\n" + str(piece.str.join("\n")[0]).encode())
    return state


def save_mixture(mixture: Mixture, folder: Path) -> None:
    """Write mixture.parquet, then manifest.json: a folder with a manifest is complete.

    Args:
        mixture: to write.
        folder: is created if it is not there.
    """
    with replacing(folder / TABLE) as temporary:
        named_rows(mixture.ids, mixture.cells, mixture.world).write_parquet(temporary)
    write_json(folder / MANIFEST, manifest_of(mixture))


def load_mixture(folder: Path) -> Mixture:
    """Read a mixture and check its table against its manifest.

    Raises:
        UserError: a file is missing or broken, or the two do not fit each other.
    """
    manifest = _read_manifest(folder / MANIFEST)
    rows = _read_table(folder / TABLE)
    try:
        mixture = _mixture_of(manifest, rows)
        sha256, size = manifest["sha256"], manifest["size"]
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(folder / MANIFEST, f"is not a mixture's manifest ({error!r})") from None
    except UserError as error:
        raise _broken(folder, f"holds a mixture that contradicts itself: {error.found}") from None
    if (mixture.sha256, mixture.size) != (sha256, size):
        raise _broken(folder / TABLE, f"holds other samples than {MANIFEST} says (sha256 differs)")
    counted = np.bincount(mixture.cells, minlength=mixture.realised.size)
    if not np.array_equal(counted, mixture.realised.ravel()):
        raise _broken(folder / TABLE, f"has other counts per cell than {MANIFEST} says")
    return mixture


def manifest_of(mixture: Mixture) -> dict[str, Any]:
    """Content of manifest.json; docs/formats.md lists it."""
    return describe(
        mixture.recipe, mixture.world, mixture.exposure, mixture.available, mixture.allocation
    ) | {"size": mixture.size, "sha256": mixture.sha256}


def describe(
    recipe: Recipe,
    world: World,
    exposure_DC: np.ndarray,
    available_DC: np.ndarray,
    allocation: Allocation,
) -> dict[str, Any]:
    """A manifest, but for the size and hash of the realised samples."""
    return {
        "setting": recipe.setting.name,
        "rule": asdict(recipe.setting),
        "test_domain": recipe.test_domain,
        "draw": recipe.draw,
        "held_out": list(recipe.held_out),
        "natural": world.natural,
        "trim_order": list(world.trim_order),
        "domains": list(world.domains),
        "classes": list(world.classes),
        "budget": asdict(recipe.budget) | {"size": allocation.size},
        "caption": recipe.caption,
        "base": asdict(recipe.base) if recipe.base else None,
        "allow_empty_cells": recipe.allow_empty_cells,
        "notes": list(allocation.notes),
        "exposure": exposure_DC.tolist(),
        "available": available_DC.tolist(),
        "requested": allocation.requested.tolist(),
        "realised": allocation.realised.tolist(),
        "trimmed": allocation.trimmed.tolist(),
        "dataset_sha256": recipe.dataset_sha256,
    }


def _mixture_of(manifest: dict[str, Any], rows: pl.DataFrame) -> Mixture:
    """The mixture that a manifest and a table describe."""
    names = {key: tuple(manifest[key]) for key in ("domains", "classes", "trim_order")}
    world = World(natural=str(manifest["natural"]), **names)
    budget = dict(manifest["budget"])
    size = budget.pop("size")
    base = manifest["base"]
    recipe = Recipe(
        setting=_setting_of(manifest["rule"]),
        test_domain=manifest["test_domain"],
        held_out=tuple(manifest["held_out"]),
        draw=manifest["draw"],
        budget=Budget(**budget),
        caption=manifest["caption"],
        dataset_sha256=manifest["dataset_sha256"],
        base=Base(**base) if base else None,
        allow_empty_cells=manifest["allow_empty_cells"],
    )
    counts = {
        key: np.array(manifest[key], dtype=np.int64)
        for key in ("available", "requested", "realised", "trimmed")
    }
    allocation = Allocation(
        size=size,
        requested=counts["requested"],
        realised=counts["realised"],
        trimmed=counts["trimmed"],
        notes=tuple(manifest["notes"]),
    )
    shown_DC = np.array(manifest["exposure"], dtype=np.float64)
    cells = cell_numbers(rows, world)
    return Mixture(recipe, world, rows["id"], cells, shown_DC, counts["available"], allocation)


def _setting_of(rule: dict[str, Any]) -> Setting:
    """A setting from the lists that JSON makes of its tuples."""
    domains = rule["domains"]
    return Setting(
        **(
            rule
            | {
                "domains": None if domains is None else tuple(domains),
                "cells": tuple(tuple(cell) for cell in rule["cells"]),
            }
        )
    )


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _broken(path, "is not there") from None
    except (OSError, ValueError) as error:
        raise _broken(path, f"cannot be read ({error})") from None
    if not isinstance(manifest, dict):
        raise _broken(path, "is not a mixture's manifest")
    return manifest


def _read_table(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, columns=["id", "domain", "class_name"])
    except FileNotFoundError:
        raise _broken(path, "is not there") from None
    except (OSError, pl.exceptions.PolarsError) as error:
        raise _broken(path, f"cannot be read ({error})") from None


def _broken(path: Path, what: str) -> UserError:
    return UserError(
        f"{path} {what}",
        expected=f"{TABLE} and {MANIFEST} as one build wrote them",
        fix="delete the mixture's folder and build it again: clipgen split build STUDY",
    )
