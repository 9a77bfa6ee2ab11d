"""What a mixture is made of: samples per cell, diversity of its domains, balance of its classes.

Legend: D domains, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from splits.settings import World

CELL = ["domain", "class_name"]


@dataclass(frozen=True)
class Selection:
    """What a mixture should show, and the samples that it holds.

    Attributes:
        name: of the mixture's folder.
        setting: name of its setting.
        test_domain: the domain that is tested.
        held_out: classes that the test domain keeps back.
        exposure: what the setting shows of every cell, float [D, C]; 0 is hidden.
        ids: of its samples; an id that is shown twice stands twice.
    """

    name: str
    setting: str
    test_domain: str
    held_out: tuple[str, ...]
    exposure: np.ndarray
    ids: pl.Series


def statistics(selection: Selection, world: World, samples: pl.DataFrame) -> dict[str, Any]:
    """Size, diversity and balance of a mixture, one row of the statistics table.

    Returns:
        `samples` (repeats counted), `distinct_samples`, `domains` and `classes` (with samples),
        `effective_domains` and `effective_classes` (Hill numbers of order 1), `class_imbalance`
        (largest by smallest class, of those with samples; NaN where there is none),
        `test_domain_seen` and `test_domain_held_out` (samples of the test domain),
        `held_out_elsewhere` (samples of held-out classes in other domains), `empty_cells`.
    """
    counts_DC = cell_counts(selection, world, samples)
    domains_D, classes_C = counts_DC.sum(axis=1), counts_DC.sum(axis=0)
    row = world.domains.index(selection.test_domain)
    held_out_C = np.isin(world.classes, selection.held_out)
    some = classes_C[classes_C > 0]
    return {
        "mixture": selection.name,
        "setting": selection.setting,
        "test_domain": selection.test_domain,
        "samples": len(selection.ids),
        "distinct_samples": selection.ids.n_unique(),
        "domains": int((domains_D > 0).sum()),
        "effective_domains": effective_number(domains_D),
        "classes": len(some),
        "effective_classes": effective_number(classes_C),
        "class_imbalance": float(some.max() / some.min()) if len(some) else float("nan"),
        "test_domain_seen": int(counts_DC[row, ~held_out_C].sum()),
        "test_domain_held_out": int(counts_DC[row, held_out_C].sum()),
        "held_out_elsewhere": int(np.delete(counts_DC, row, axis=0)[:, held_out_C].sum()),
        "empty_cells": int(((selection.exposure > 0) & (counts_DC == 0)).sum()),
    }


def effective_number(counts: np.ndarray) -> float:
    """exp(entropy) of the shares: the Hill number of order 1 (Hill 1973); 0 where all are 0."""
    shares = counts[counts > 0] / max(1, counts.sum())
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


def cell_counts(selection: Selection, world: World, samples: pl.DataFrame) -> np.ndarray:
    """Samples per cell, repeats counted, int64 [D, C]; ids and cells unknown to it are left out."""
    shape = (len(world.domains), len(world.classes))
    grid = named_cells(np.ones(shape, dtype=bool), world).with_row_index("place")
    rows = selection.ids.alias("id").to_frame().join(samples.select("id", *CELL), on="id")
    places = rows.join(grid, on=CELL)["place"].to_numpy()
    return np.bincount(places, minlength=shape[0] * shape[1]).reshape(shape)


def named_cells(wanted: np.ndarray, world: World) -> pl.DataFrame:
    """Names of the cells that are True in `wanted` [D, C], row by row."""
    rows, columns = np.nonzero(wanted)
    names = {
        "domain": [world.domains[row] for row in rows],
        "class_name": [world.classes[column] for column in columns],
    }
    return pl.DataFrame(names, schema=dict.fromkeys(CELL, pl.String))


def empty_cells(selection: Selection, world: World, samples: pl.DataFrame) -> list[str]:
    """Cells that the setting shows and the mixture has no sample of, as `domain/class`."""
    counts_DC = cell_counts(selection, world, samples)
    places = np.argwhere((selection.exposure > 0) & (counts_DC == 0))
    return [f"{world.domains[row]}/{world.classes[column]}" for row, column in places]
