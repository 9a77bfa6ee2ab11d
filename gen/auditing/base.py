"""What the base of a study tells of its tests: captions and images, read in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl
import pyarrow.parquet as pq

from gen.datasets.samples import Dataset
from gen.progress import progress
from gen.sweep.study import Study
from splits.audit import audit_captions
from splits.base_images import COLUMNS, audit_base_images, find_in_base
from splits.caption_leaks import find_caption_leaks
from splits.composition import CELL
from splits.findings import CHECKS, Finding, not_checked

ROWS_AT_A_TIME = 200_000
NO_BASE = "not applicable: the study has no base"


def audit_base(
    study: Study, samples: pl.DataFrame, distance: int
) -> tuple[list[Finding], pl.DataFrame | None, pl.DataFrame | None]:
    """Audit a study's base.

    Args:
        study: may have a base.
        samples: the sample table of its dataset.
        distance: bits in which the hashes of near duplicates may differ.

    Returns:
        Findings; captions that name held-out classes, by class; pairs of images of the base and
        test images. Both tables are None where there is no base.
    """
    if study.base is None:
        checks = [check for check, meaning in CHECKS.items() if meaning.place == "base"]
        return [not_checked(check, NO_BASE) for check in checks], None, None
    captions = (batch["caption"] for batch in _batches(study.base, ["caption"], "captions"))
    leaks = find_caption_leaks(captions, study.draws)
    images = find_in_base(samples, _batches(study.base, COLUMNS, "image hashes"), distance)
    findings = [
        audit_captions(leaks),
        *_stored_otherwise(study.dataset, study.base),
        *audit_base_images(images, _held_out_cells(study), distance),
    ]
    return findings, leaks.by_class, images.rows


def _batches(base: Dataset, columns: Sequence[str], what: str) -> Iterator[pl.DataFrame]:
    table = pq.ParquetFile(base.folder / "samples.parquet")
    with progress(table.metadata.num_rows, f"reading {what} of {base.name}", "samples") as bar:
        for batch in table.iter_batches(ROWS_AT_A_TIME, columns=list(columns)):
            yield pl.DataFrame(batch)
            bar.update(batch.num_rows)


def _held_out_cells(study: Study) -> pl.DataFrame:
    """Cells in which a class is held out and tested, in any draw."""
    cells = {(m.test_domain, name) for m in study.mixtures.values() for name in m.held_out}
    return pl.DataFrame(sorted(cells), schema=dict.fromkeys(CELL, pl.String), orient="row")


def _stored_otherwise(dataset: Dataset, base: Dataset) -> list[Finding]:
    """Images that are stored at another size are not byte for byte what they were."""
    ours, theirs = (_short_side(one) for one in (dataset, base))
    if ours == theirs:
        return []
    why = (
        f"not found byte for byte: images that were made smaller (short side {ours or 'kept'} in "
        f"the dataset, {theirs or 'kept'} in the base); near_duplicate_in_base compares them"
    )
    return [
        not_checked(name, why) for name in ("held_out_image_in_base", "identical_image_in_base")
    ]


def _short_side(dataset: Dataset) -> int:
    """Pixels to which stored images were made smaller; 0: they are as they were."""
    return int(dataset.manifest["config"].get("short_side", 0))
