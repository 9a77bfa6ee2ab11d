"""A mixture: the ids that a model trains on, and the counts, seeds and hash that explain them.

Legend: D domains, C classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from splits.budget import choose, count_cells, published_size, realise, request, trim_order
from splits.errors import UserError, unknown
from splits.files import replacing, write_json
from splits.settings import World, exposure

TABLE, MANIFEST = "mixture.parquet", "manifest.json"
COLUMNS = ["id", "domain", "class_name"]


@dataclass(frozen=True)
class Mixture:
    """The realised samples of one setting for one test domain.

    Attributes:
        setting: a name in `splits.settings.SETTINGS`.
        test_domain: the domain that is tested.
        world: the domains and classes of the dataset.
        held_out: classes that the test domain keeps back, sorted.
        budget_seed: seed of the choice of samples within the cells.
        caption: column of the sample table that holds the captions.
        dataset_sha256: hash of the dataset that the ids belong to.
        ids: sorted.
        requested: samples per cell that the setting asks for before the budget, int64 [D, C].
        realised: samples per cell that the mixture holds, int64 [D, C].
    """

    setting: str
    test_domain: str
    world: World
    held_out: tuple[str, ...]
    budget_seed: int
    caption: str
    dataset_sha256: str
    ids: tuple[str, ...]
    requested: np.ndarray = field(compare=False)  # arrays have no single truth value; both
    realised: np.ndarray = field(compare=False)  # follow from the dataset and the fields above

    @property
    def size(self) -> int:
        return len(self.ids)

    @cached_property
    def sha256(self) -> str:
        """Hash of what a model sees: settings that select the same samples share it."""
        lines = (self.dataset_sha256, self.caption, *self.ids)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def build_mixture(
    samples: pl.DataFrame,
    *,
    setting: str,
    world: World,
    test_domain: str,
    held_out: Sequence[str],
    seed: int,
    caption: str,
    dataset_sha256: str,
) -> Mixture:
    """Realise a setting on a table of samples, within the published budget.

    Args:
        samples: the sample table, of which only the rows with split `train` are used; the order
            of its rows does not matter.
        setting, world, test_domain, held_out: as in `splits.settings.exposure`.
        seed: of the choice of samples within the cells.
        caption: column that holds the captions.
        dataset_sha256: hash of the dataset.

    Raises:
        UserError: a name is unknown, an id stands twice, or a cell that the setting shows is empty.
    """
    exposure_DC = exposure(setting, world, test_domain, held_out)
    _check_table(samples, caption)
    train = samples.filter(pl.col("split") == "train")
    available_DC = count_cells(train, world)
    requested_DC = request(exposure_DC, available_DC, world)
    budget = published_size(available_DC, world, test_domain, held_out)
    realised_DC = realise(requested_DC, budget, trim_order(available_DC, world))
    return Mixture(
        setting=setting,
        test_domain=test_domain,
        world=world,
        held_out=tuple(sorted(held_out)),
        budget_seed=seed,
        caption=caption,
        dataset_sha256=dataset_sha256,
        ids=tuple(choose(train, realised_DC, world, seed)),
        requested=requested_DC,
        realised=realised_DC,
    )


def save_mixture(mixture: Mixture, folder: Path, samples: pl.DataFrame) -> None:
    """Write mixture.parquet, then manifest.json: a folder with a manifest is complete.

    Args:
        mixture: to write.
        folder: is created if it is not there.
        samples: the sample table from which the mixture was built.

    Raises:
        UserError: `samples` is not the table that the mixture was built from.
    """
    rows = samples.filter(pl.col("id").is_in(list(mixture.ids))).select(COLUMNS).sort("id")
    if tuple(rows["id"]) != mixture.ids:
        raise UserError(
            f"the sample table has {len(rows)} of the mixture's {mixture.size} samples",
            expected="the table that the mixture was built from",
            where=str(folder),
        )
    with replacing(folder / TABLE) as temporary:
        rows.write_parquet(temporary)
    write_json(folder / MANIFEST, _manifest(mixture))


def load_mixture(folder: Path) -> Mixture:
    """Read a mixture and check its table against its manifest.

    Raises:
        UserError: a file is missing or broken, or the two do not fit each other.
    """
    manifest = _read_manifest(folder / MANIFEST)
    rows = _read_table(folder / TABLE)
    try:
        world = World(
            tuple(manifest["domains"]), tuple(manifest["classes"]), str(manifest["natural"])
        )
        mixture = Mixture(
            setting=manifest["setting"],
            test_domain=manifest["test_domain"],
            world=world,
            held_out=tuple(manifest["held_out"]),
            budget_seed=manifest["budget"]["seed"],
            caption=manifest["caption"],
            dataset_sha256=manifest["dataset_sha256"],
            ids=tuple(rows["id"]),
            requested=np.array(manifest["requested"], dtype=np.int64),
            realised=np.array(manifest["realised"], dtype=np.int64),
        )
        counted = count_cells(rows, world)
        sha256, size = manifest["sha256"], manifest["size"]
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(folder / MANIFEST, f"is not a mixture's manifest ({error!r})") from None
    except UserError as error:
        raise _broken(folder, f"holds a mixture that contradicts itself: {error.found}") from None
    if (mixture.sha256, mixture.size) != (sha256, size):
        raise _broken(folder / TABLE, f"holds other samples than {MANIFEST} says (sha256 differs)")
    if not np.array_equal(counted, mixture.realised):
        raise _broken(folder / TABLE, f"has other counts per cell than {MANIFEST} says")
    return mixture


def _check_table(samples: pl.DataFrame, caption: str) -> None:
    if caption not in samples.columns:
        known = [name for name in samples.columns if name.startswith("caption")]
        raise unknown("caption column", caption, known, where="the sample table")
    twice = samples["id"].filter(samples["id"].is_duplicated())
    if len(twice):
        raise UserError(
            f"id `{min(twice)}` stands more than once",
            expected="one row per sample",
            where="the sample table",
        )


def _manifest(mixture: Mixture) -> dict[str, Any]:
    """Content of manifest.json; docs/formats.md lists it."""
    return {
        "setting": mixture.setting,
        "test_domain": mixture.test_domain,
        "natural": mixture.world.natural,
        "domains": list(mixture.world.domains),
        "classes": list(mixture.world.classes),
        "held_out": list(mixture.held_out),
        "budget": {"rule": "published", "seed": mixture.budget_seed},
        "caption": mixture.caption,
        "requested": mixture.requested.tolist(),
        "realised": mixture.realised.tolist(),
        "size": mixture.size,
        "dataset_sha256": mixture.dataset_sha256,
        "sha256": mixture.sha256,
    }


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
        return pl.read_parquet(path, columns=COLUMNS)
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
