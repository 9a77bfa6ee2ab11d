"""The audit of a study: collect what the checks need, and run them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from gen.auditing.base import audit_base
from gen.auditing.embeddings import find_twins
from gen.progress import progress
from gen.runs import Run
from gen.sweep.study import Study
from splits.audit import (
    audit_dataset,
    audit_embeddings,
    audit_near_duplicates,
    audit_plan,
    audit_selection,
    audit_testable,
)
from splits.composition import Selection, statistics
from splits.errors import UserError
from splits.findings import Finding, findings_table, not_checked
from splits.mixture import TABLE, Mixture
from splits.near_duplicates import (
    MAX_DISTANCE,
    ROWS,
    NearDuplicates,
    find_near_duplicates,
    steps,
)
from splits.settings import exposure

COLUMNS = ["id", "split", "domain", "class_name", "instance", "drawing", "sha256", "phash"]
NOT_BUILT = "not checked: the mixture is not built; it is audited as planned"


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        findings: `splits.findings.FINDINGS`.
        statistics: one row per mixture (`splits.composition.statistics`).
        near_duplicates: pairs of samples; kind `embedding` has a cosine, the others a distance.
        counts: pairs of near hashes by kind, splits and domains; None: there are no hashes.
        leaks: captions of the base that name held-out classes; None where there is no base.
        base_duplicates: pairs of images of the base and test images; None where there is no base.
    """

    findings: pl.DataFrame
    statistics: pl.DataFrame
    near_duplicates: pl.DataFrame
    counts: pl.DataFrame | None
    leaks: pl.DataFrame | None
    base_duplicates: pl.DataFrame | None


def audit_study(study: Study, *, distance: int, run: Run | None, cosine: float) -> Audit:
    """Audit every mixture of a study, its dataset and its base.

    Args:
        study: mixtures that are built are read from their files, others are audited as planned.
        distance: bits in which the hashes of near duplicates may differ.
        run: a trained run whose image embeddings are compared too.
        cosine: from which the centred embeddings of two images are near.

    Raises:
        UserError: a number is out of range, a mixture's table or the run is not readable.
    """
    _check_numbers(distance, cosine)
    samples = study.dataset.scan().select(COLUMNS).collect()
    near = _near_duplicates(samples, distance)
    has_hashes = near.without_hash < samples.height
    embedded, twins = _embeddings(study, run, cosine)
    of_base, leaks, base_duplicates = audit_base(study, samples, distance)
    of_mixtures, table = _audit_mixtures(study, samples, near if has_hashes else None)
    rows = [
        *audit_dataset(samples),
        *audit_near_duplicates(near, samples.height, distance),
        embedded,
        *_untestable(study, samples),
        *of_base,
        *of_mixtures,
    ]
    return Audit(
        findings=findings_table(rows),
        statistics=table,
        near_duplicates=pl.concat([near.rows, twins], how="diagonal"),
        counts=near.counts if has_hashes else None,
        leaks=leaks,
        base_duplicates=base_duplicates,
    )


def _check_numbers(distance: int, cosine: float) -> None:
    if not 0 <= distance <= MAX_DISTANCE:
        raise UserError(f"--distance is {distance}", expected=f"bits, 0 to {MAX_DISTANCE}")
    if not -1 <= cosine <= 1:
        raise UserError(f"--cosine is {cosine:g}", expected="a cosine, for example 0.99")


def _near_duplicates(samples: pl.DataFrame, distance: int) -> NearDuplicates:
    with progress(steps(distance), "comparing perceptual hashes", "passes") as bar:
        return find_near_duplicates(samples, distance, advance=bar.update)


def _embeddings(study: Study, run: Run | None, cosine: float) -> tuple[Finding, pl.DataFrame]:
    if run is None:
        why = "not checked: give a trained run with --embeddings RUN"
        twins = pl.DataFrame(schema=ROWS | {"cosine": pl.Float64})
        return not_checked("near_duplicate_embedding", why), twins
    twins, tests = find_twins(run, study.dataset, cosine)
    return audit_embeddings(twins, tests, cosine), twins


def _untestable(study: Study, samples: pl.DataFrame) -> list[Finding]:
    """One finding per test domain and draw of held-out classes."""
    targets = {(m.test_domain, m.draw): m.held_out for m in study.mixtures.values()}
    return [audit_testable(samples, *target, held_out) for target, held_out in targets.items()]


def _audit_mixtures(
    study: Study, samples: pl.DataFrame, near: NearDuplicates | None
) -> tuple[list[Finding], pl.DataFrame]:
    found: list[Finding] = []
    rows: list[dict[str, Any]] = []
    world = study.dataset.world
    with progress(len(study.mixtures), "auditing mixtures", "mixtures") as bar:
        for name, mixture in study.mixtures.items():
            selection = _planned(name, mixture)
            table = study.folder / "mixtures" / name / TABLE
            if table.is_file():
                selection = replace(selection, ids=_written_ids(table))
                found.append(audit_plan(selection, mixture.ids))
            else:
                found.append(not_checked("other_than_planned", NOT_BUILT, mixture=name))
            found += audit_selection(selection, world, samples, near)
            rows.append(statistics(selection, world, samples))
            bar.update()
    return found, pl.DataFrame(rows)


def _planned(name: str, mixture: Mixture) -> Selection:
    """The mixture as the study plans it; the exposure is worked out anew from the setting."""
    return Selection(
        name=name,
        setting=mixture.setting.name,
        test_domain=mixture.test_domain,
        held_out=mixture.held_out,
        exposure=exposure(mixture.setting, mixture.world, mixture.test_domain, mixture.held_out),
        ids=mixture.ids,
    )


def _written_ids(path: Path) -> pl.Series:
    try:
        return pl.read_parquet(path, columns=["id"])["id"]
    except (OSError, pl.exceptions.PolarsError) as error:
        raise UserError(
            f"{path} cannot be read ({error})",
            fix="delete the mixture's folder and build it again: clipgen split build STUDY",
        ) from None
