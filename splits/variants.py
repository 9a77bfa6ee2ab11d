"""Variants: families of settings made by changing a named one, and matrices read from files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import polars as pl

from splits.errors import UserError
from splits.held_out import seeded_key
from splits.settings import Setting, World

MATRIX_COLUMNS = {"domain": pl.String, "class_name": pl.String, "exposure": pl.Float64}


def with_share(setting: Setting, key: str, share: float) -> Setting:
    """The setting with another exposure of one block of cells.

    Args:
        setting: to vary.
        key: `held_out` (interpolates between compositional generalization, 0, and its upper
            bound, 1), `seen`, or `seen_classes` (exposure to the test domain through classes
            that are not tested; from 0, leave-out-domain, to 1).
        share: from 0 to 1.
    """
    words = {
        "held_out": f"{share:.4g} of the held-out classes' samples in the test domain",
        "seen": f"{share:.4g} of the seen classes' samples in the test domain",
        "seen_classes": f"{share:.4g} of the seen classes in the test domain",
    }
    return replace(
        setting,
        name=f"{setting.name}-{key}_{share:.4g}",
        description=f"{setting.description}; {words[key]}",
        **{key: share},  # type: ignore[arg-type]
    )


def with_domains(setting: Setting, domains: Sequence[str]) -> Setting:
    """The setting with these domains as the others that it shows."""
    shown = tuple(domains)
    return replace(
        setting,
        name=f"{setting.name}-{'_'.join(shown) if shown else 'no_others'}",
        description=f"{setting.description}; of the others: {', '.join(shown) or 'none'}",
        others=setting.others or 1.0,
        domains=shown,
    )


def subsets_of_size(
    world: World, test_domain: str, size: int, count: int, seed: int
) -> list[tuple[str, ...]]:
    """Subsets of the other domains: one rung of a diversity ladder.

    Args:
        world: of the domains.
        test_domain: is in no subset, nor is the natural domain.
        size: domains in a subset.
        count: how many to draw; 0 means all. Fewer are a part of more.
        seed: of the draw.

    Raises:
        UserError: there are not that many other domains, or subsets.
    """
    others = [name for name in world.domains if name not in (world.natural, test_domain)]
    every = list(combinations(others, size)) if size >= 0 else []
    if not every or not 0 <= count <= len(every):
        raise UserError(
            f"{count or 'all'} subsets of {size} other domains are asked for, of {len(every)}",
            expected=f"0 to {len(others)} domains beside `{world.natural}` and `{test_domain}`, "
            "and no more subsets than there are",
            fix="change `diversity` or `subsets`",
        )
    if count == 0:
        return every
    drawn = sorted(every, key=lambda subset: seeded_key(seed, "+".join(subset)))[:count]
    return sorted(drawn, key=every.index)


def read_matrix(path: Path) -> tuple[tuple[str, str, float], ...]:
    """The cells of an exposure matrix: a CSV file with domain, class_name (or `*`), exposure.

    Raises:
        UserError: the file is missing, or not such a table.
    """
    expected = "a CSV file with the columns domain, class_name, exposure; * stands for every one"
    if not path.is_file():
        raise UserError(f"there is no file {path}", expected=expected)
    try:
        table = pl.read_csv(path, infer_schema=False, glob=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} cannot be read ({reason})", expected=expected) from None
    if set(table.columns) != set(MATRIX_COLUMNS):
        raise UserError(f"{path} has the columns {', '.join(table.columns)}", expected=expected)
    if table.is_empty() or table.null_count().sum_horizontal()[0]:
        raise UserError(f"{path} has no rows, or empty fields", expected=expected)
    shares = table["exposure"].str.strip_chars().cast(pl.Float64, strict=False)
    for number, share in enumerate(shares, start=2):
        if share is None:
            raise UserError(
                f"line {number} of {path} has the exposure {table['exposure'][number - 2]!r}",
                expected="a share from 0 to 1",
            )
    columns = table.with_columns(exposure=shares).select(*MATRIX_COLUMNS)
    return tuple(columns.iter_rows())
