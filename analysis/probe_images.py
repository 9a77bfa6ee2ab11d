"""Which images a probe is fitted on: a pure function of their ids, the same for every run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from gen.randomness import batch_uniforms, sample_keys
from splits.errors import UserError

VALIDATION_SHARE = 1 / 3
SEED = 0
POOL, VALIDATION, SHOTS = 0, 1, 2
"""streams of random numbers; those of the n-th draw of shots are SHOTS + n"""


def probe_pool(samples: pl.DataFrame, domains: Sequence[str], per_cell: int) -> pl.DataFrame:
    """Training images that probes may see: at most `per_cell` of every (domain, class) cell.

    Args:
        samples: a dataset's sample table.
        domains: of the images.
        per_cell: images of a cell; a cell that has fewer gives all.
    """
    training = samples.filter(pl.col("split") == "train", pl.col("domain").is_in(list(domains)))
    return capped(training, per_cell)


def capped(samples: pl.DataFrame, per_cell: int) -> pl.DataFrame:
    """At most `per_cell` samples of every (domain, class) cell, the same whatever the table."""
    return samples.filter(_places(samples, POOL) < per_cell)


def validation_part(pool: pl.DataFrame) -> np.ndarray:
    """Which images of one domain's pool choose the penalty: a third per class, bool [N].

    Images of one instance (one photo, one drawing) stay together, so that the penalty is not
    chosen on pictures of what was fitted; of every class one instance at least is fitted on.

    Raises:
        UserError: no class has images of two instances.
    """
    instances = pool.group_by("class_id", "instance", maintain_order=True).len()
    lot = pl.Series("lot", _lots(instances["instance"], VALIDATION))
    ordered = instances.with_columns(lot).sort("class_id", "lot")
    before = (pl.col("len").cum_sum() - pl.col("len")).over("class_id")
    share = VALIDATION_SHARE * pl.col("len").sum().over("class_id")
    is_last = pl.int_range(pl.len()).over("class_id") == pl.len().over("class_id") - 1
    chosen = ordered.select("class_id", "instance", chosen=(before < share) & ~is_last)
    if not chosen["chosen"].any():
        raise _no_validation(pool)
    keys = ["class_id", "instance"]
    return pool.join(chosen, on=keys, how="left", maintain_order="left")["chosen"].to_numpy()


def shots_part(pool: pl.DataFrame, shots: int, draw: int) -> np.ndarray:
    """Which images of one domain's pool are the `shots` per class of a draw, bool [N].

    Of one draw the smaller sets are parts of the larger ones.
    """
    return (_places(pool, SHOTS + draw) < shots).to_numpy()


def most_shots(pool: pl.DataFrame) -> int:
    """Images that every class of a domain's pool has."""
    return int(pool.group_by("class_id").len()["len"].to_numpy().min())


def _no_validation(pool: pl.DataFrame) -> UserError:
    domains = ", ".join(pool["domain"].unique(maintain_order=True))
    return UserError(
        f"probes cannot choose a penalty in domain {domains}: no class has two training instances",
        expected="images of two photos, drawings or scenes of a class",
        fix="`evaluation.probes=false`, or more `evaluation.probe_images`",
    )


def _places(images: pl.DataFrame, stream: int) -> pl.Series:
    """Place of every image, from 0, in a random order of its cell."""
    lots = images.select("domain", "class_id", lot=pl.Series(_lots(images["id"], stream)))
    order = pl.col("lot").rank("ordinal").over("domain", "class_id") - 1
    return lots.select(order.cast(pl.Int64))["lot"]


def _lots(names: pl.Series, stream: int) -> np.ndarray:
    """A uniform number for every name."""
    streams = np.full(len(names), stream)
    return batch_uniforms(SEED, streams, sample_keys(names.to_list()), 1)[:, 0]
