"""The audit of a study: collect what the checks need, run them, write what they found."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from gen.datasets.samples import Dataset, load_dataset
from gen.progress import progress
from gen.runs import Run
from gen.sweep.study import Study
from splits.audit import (
    CHECKS,
    Finding,
    audit_captions,
    audit_dataset,
    audit_embeddings,
    audit_near_duplicates,
    audit_plan,
    audit_selection,
    findings_table,
    not_checked,
)
from splits.caption_leaks import CaptionLeaks, find_caption_leaks
from splits.composition import Selection, statistics
from splits.errors import UserError
from splits.files import replacing, write_text
from splits.mixture import TABLE, Mixture
from splits.near_duplicates import (
    MAX_DISTANCE,
    ROWS,
    NearDuplicates,
    centred,
    find_near_duplicates,
    nearest,
    steps,
)
from splits.settings import exposure

COLUMNS = ["id", "split", "domain", "class_name", "instance", "drawing", "sha256", "phash"]
CAPTIONS_AT_A_TIME = 200_000
IMAGES_AT_A_TIME = 2_000
NOT_BUILT = "not checked: the mixture is not built; it is audited as planned"
ORDER = ["error", "warning", "not_checked", "ok"]
MOST_DETAILS = 50
"""findings that audit.md and the terminal spell out; findings.csv has them all"""


@dataclass(frozen=True)
class Audit:
    """What an audit found.

    Attributes:
        findings: `splits.audit.FINDINGS`.
        statistics: one row per mixture (`splits.composition.statistics`).
        near_duplicates: pairs of samples; kind `embedding` has a cosine, the others a distance.
        counts: pairs of near hashes by kind, splits and domains; None: there are no hashes.
        leaks: captions of the base that name held-out classes; None where there is no base.
    """

    findings: pl.DataFrame
    statistics: pl.DataFrame
    near_duplicates: pl.DataFrame
    counts: pl.DataFrame | None
    leaks: pl.DataFrame | None


def audit_study(study: Study, *, distance: int, run: Run | None, cosine: float) -> Audit:
    """Audit every mixture of a study and its dataset.

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
    rows = [*audit_dataset(samples), *audit_near_duplicates(near, samples.height, distance)]
    twins = pl.DataFrame(schema=ROWS | {"cosine": pl.Float64})
    if run is None:
        why = "not checked: give a trained run with --embeddings RUN"
        rows.append(not_checked("near_duplicate_embedding", "", why))
    else:
        twins, tests = find_twins(run, study.dataset, cosine)
        rows.append(audit_embeddings(twins, tests, cosine))
    leaks = _caption_leaks(study)
    if leaks is None:
        rows.append(not_checked("caption_leak", "", "not applicable: the study has no base"))
    else:
        rows += audit_captions(leaks)
    has_hashes = near.without_hash < samples.height
    found, table = _audit_mixtures(study, samples, near if has_hashes else None)
    return Audit(
        findings=findings_table(rows + found),
        statistics=table,
        near_duplicates=pl.concat([near.rows, twins], how="diagonal"),
        counts=near.counts if has_hashes else None,
        leaks=leaks.by_class if leaks else None,
    )


def _check_numbers(distance: int, cosine: float) -> None:
    if not 0 <= distance <= MAX_DISTANCE:
        raise UserError(f"--distance is {distance}", expected=f"bits, 0 to {MAX_DISTANCE}")
    if not -1 <= cosine <= 1:
        raise UserError(f"--cosine is {cosine:g}", expected="a cosine, for example 0.99")


def _near_duplicates(samples: pl.DataFrame, distance: int) -> NearDuplicates:
    with progress(steps(distance), "comparing perceptual hashes", "passes") as bar:
        return find_near_duplicates(samples, distance, advance=bar.update)


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
                found.append(not_checked("other_than_planned", name, NOT_BUILT))
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


def _caption_leaks(study: Study) -> CaptionLeaks | None:
    """Captions of the base that name held-out classes, read in batches."""
    if not study.config.base:
        return None
    base = load_dataset(study.config.base, study.dataset.folder.parent)
    return find_caption_leaks(_caption_batches(base), study.draws)


def _caption_batches(base: Dataset) -> Iterator[pl.Series]:
    table = pq.ParquetFile(base.folder / "samples.parquet")
    with progress(table.metadata.num_rows, f"reading captions of {base.name}", "captions") as bar:
        for batch in table.iter_batches(CAPTIONS_AT_A_TIME, columns=["caption"]):
            yield pl.Series(batch.column(0))
            bar.update(batch.num_rows)


# ---------------------------------------------------------------------------- embeddings


def find_twins(run: Run, dataset: Dataset, cosine: float) -> tuple[pl.DataFrame, int]:
    """Test images whose nearest training image, as a trained model sees it, is near.

    Args:
        run: a trained run.
        dataset: all its images are embedded, also those that the run did not train on.
        cosine: of centred embeddings, from which two images are near.

    Returns:
        One row per such test image, the nearest first: `a` is the training image, `b` the test
        image; and the number of test images.

    Raises:
        UserError: the run is not trained.
    """
    if not run.final_weights.is_file():
        raise UserError(f"run {run.name} is not trained", where=str(run.folder))
    samples = dataset.samples
    train = samples.filter(pl.col("split") == "train")
    test = samples.filter(pl.col("split") != "train")
    keys, queries = _embeddings(run, dataset, [train, test])
    place, value = nearest(*centred(queries, keys))
    sides = {"a": train[place], "b": test}
    columns = {"id": "id", "split": "split", "domain": "domain", "class": "class_name"}
    columns |= {"phash": "phash"}
    twins = pl.DataFrame(
        {
            f"{name}_{side}": table[column]
            for side, table in sides.items()
            for name, column in columns.items()
        }
        | {"kind": ["embedding"] * test.height, "cosine": value.astype(np.float64)}
    )
    return twins.filter(pl.col("cosine") >= cosine).sort("cosine", descending=True), test.height


def _embeddings(run: Run, dataset: Dataset, tables: list[pl.DataFrame]) -> list[np.ndarray]:
    """Image embeddings of the rows of each table, float32 of shape [N, E], each of length 1."""
    from gen.datasets.shards import read_images
    from gen.device import pick_device
    from gen.evaluation.embed import embed_images
    from gen.models.trained import load_trained, run_vocabulary

    model, device = load_trained(run, dataset, run_vocabulary(run, dataset)), pick_device()
    embedded = []
    with progress(sum(table.height for table in tables), "embedding", "images") as bar:
        for table in tables:
            parts = []
            for rows in table.iter_slices(IMAGES_AT_A_TIME):
                images = read_images(dataset.folder, rows, dataset.pixels)
                parts.append(embed_images(model, images, device).numpy())
                bar.update(rows.height)
            embedded.append(np.concatenate(parts))
    return embedded


# ---------------------------------------------------------------------------- files


def write_audit(audit: Audit, folder: Path, figure: str) -> None:
    """Write the tables, the figure (SVG) and audit.md into `folder`."""
    tables = {"findings": audit.findings, "statistics": audit.statistics}
    if audit.leaks is not None:
        examples = pl.col("examples").list.join(" | ")
        tables["caption_leaks"] = audit.leaks.with_columns(examples)
    for name, table in tables.items():
        write_text(folder / f"{name}.csv", table.write_csv())
    for name, table in (tables | {"near_duplicates": audit.near_duplicates}).items():
        with replacing(folder / f"{name}.parquet") as temporary:
            table.write_parquet(temporary)
    write_text(folder / "audit.svg", figure)
    write_text(folder / "audit.md", audit_markdown(audit))


def summary(findings: pl.DataFrame) -> pl.DataFrame:
    """One row per check and severity, the worst first: mixtures, sum of counts, what to do."""
    rank = pl.col("severity").replace_strict({name: place for place, name in enumerate(ORDER)})
    return (
        findings.group_by("check", "severity", maintain_order=True)
        .agg(
            mixtures=(pl.col("mixture") != "").sum(),
            count=pl.col("count").sum(),
            detail=pl.col("detail").first(),
        )
        .with_columns(todo=pl.col("check").replace_strict({k: c.advice for k, c in CHECKS.items()}))
        .with_columns(
            todo=pl.when(severity="not_checked")
            .then("detail")
            .when(severity="ok")
            .then(pl.lit(""))
            .otherwise("todo")
        )
        .sort(rank, maintain_order=True)
        .select("severity", "check", "mixtures", "count", "todo")
    )


def summary_lines(audit: Audit) -> list[str]:
    """The summary as lines for a terminal."""
    lines = [f"{'':<12} {'check':<28} {'mixtures':>8} {'count':>10}  what to do"]
    for severity, check, mixtures, count, todo in summary(audit.findings).iter_rows():
        where = mixtures or "dataset"
        line = f"{severity.replace('_', ' '):<12} {check:<28} {where:>8} {count:>10,}  {todo}"
        lines.append(line.rstrip())
    return lines


def audit_markdown(audit: Audit) -> str:
    """The audit as a page: summary, findings, figure, statistics."""
    noted = audit.findings.filter(pl.col("severity").is_in(["error", "warning"]))
    noted = noted.sort("severity", maintain_order=True)
    lines = ["# Audit", "", _verdict(noted), "", *_table(summary(audit.findings)), ""]
    lines += ["## Findings", ""]
    for row in noted.head(MOST_DETAILS).iter_rows(named=True):
        where = row["mixture"] or "dataset"
        lines.append(f"- **{row['severity']}** `{row['check']}` in {where}: {row['count']} ")
        lines[-1] += row["detail"] + (f" (for example {row['example']})" if row["example"] else "")
    if noted.height > MOST_DETAILS:
        lines.append(f"- and {noted.height - MOST_DETAILS} more: findings.csv has them all")
    lines += ["- none"] * noted.is_empty()
    lines += ["", "![Diversity, balance and near duplicates](audit.svg)", "", "## Mixtures", ""]
    return "\n".join([*lines, *_table(audit.statistics), ""])


def refuse_errors(audit: Audit, folder: Path) -> None:
    """Raise where a finding makes the study invalid.

    Raises:
        UserError: names the first findings of severity `error`, and how to mend the first.
    """
    errors = audit.findings.filter(pl.col("severity") == "error")
    if errors.is_empty():
        return
    first = [
        f"\n    {row['check']} in {row['mixture'] or 'the dataset'}: {row['count']} {row['detail']}"
        + (f" ({row['example']})" if row["example"] else "")
        for row in errors.head(5).iter_rows(named=True)
    ]
    raise UserError(
        f"findings of the audit that make the study invalid: {errors.height}" + "".join(first),
        where=str(folder / "audit.md"),
        fix=CHECKS[errors["check"][0]].advice,
    )


def _verdict(noted: pl.DataFrame) -> str:
    counts = dict(noted.group_by("severity").len().iter_rows())
    errors, warnings = counts.get("error", 0), counts.get("warning", 0)
    first = f"Errors that make the study invalid: {errors}" if errors else "No error was found"
    return f"{first}. Warnings to look at: {warnings}."


def _table(table: pl.DataFrame) -> list[str]:
    """A table in Markdown."""
    rows = [list(table.columns), ["---"] * table.width]
    for row in table.iter_rows():
        rows.append([f"{v:.2f}" if isinstance(v, float) else str(v) for v in row])
    return [f"| {' | '.join(cells)} |" for cells in rows]
