"""The tables of a report as readers see them: numbers → text in rows and columns."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import polars as pl

from analysis.report.study import StudyResults
from analysis.report.summary import MINUS, percent, points, setting_label
from analysis.report.tables import CLASS_SETS, SPLITS, STAGES

MISSING = "missing"
SPLIT_LABELS = {"test": "new instances", "test_unseen_drawing": "unseen drawings"}
CLASS_LABELS = {"held_out": "held-out classes", "seen": "seen classes"}


@dataclass(frozen=True)
class View:
    """A table of text; the first `headers` cells of a row name it."""

    caption: str
    columns: list[str]
    rows: list[list[str]]
    headers: int = 1


def headline_view(table: pl.DataFrame) -> View:
    """`tables.headline` with a column per split and class set."""
    cases = [(split, classes) for split in SPLITS for classes in CLASS_SETS]
    many_seeds = table["seed"].n_unique() > 1
    rows = []
    for key, group in groupby(
        table.iter_rows(named=True), lambda row: (row["test_domain"], row["setting"], row["seed"])
    ):
        test_domain, setting, seed = key
        cells = {(row["split"], row["classes"]): _score(row) for row in group}
        label = setting_label(setting) + (f" (seed {seed})" if many_seeds else "")
        rows.append([test_domain, label, *(cells[case] for case in cases)])
    columns = [f"{CLASS_LABELS[classes]}, {SPLIT_LABELS[split]}" for split, classes in cases]
    caption = (
        "Balanced top-1 accuracy in the test domain, with 95 % interval. New instances: drawings "
        "by artists that training shows; unseen drawings: by artists that it never shows."
    )
    return View(caption, ["Test domain", "Setting", *columns], rows, headers=2)


def contrasts_view(table: pl.DataFrame, split: str) -> View:
    """`tables.contrasts` of one split."""
    rows = [
        [
            row["contrast"],
            row["test_domain"],
            f"{setting_label(row['setting'])} {MINUS} {setting_label(row['baseline'])}",
            *_contrast_cells(row),
        ]
        for row in table.filter(split=split).iter_rows(named=True)
    ]
    caption = (
        f"Differences on the same test samples ({SPLIT_LABELS[split]}, held-out classes of the "
        "test domain), in percentage points of balanced top-1 accuracy."
    )
    columns = ["Question", "Test domain", "Settings", "From → to", "Difference", "95 % interval"]
    return View(caption, [*columns, "p", "p (Holm)", "Samples"], rows, headers=3)


def _contrast_cells(row: dict) -> list[str]:
    if row["value"] is None:
        return [MISSING] * 6
    return [
        f"{percent(row['accuracy_baseline'])} → {percent(row['accuracy_setting'])}",
        points(row["value"]),
        f"{points(row['lo'])} to {points(row['hi'])}",
        _p(row["p"]),
        _p(row["p_holm"]),
        str(row["n"]),
    ]


def all_domains_view(table: pl.DataFrame, results: StudyResults, split: str) -> View:
    """`tables.all_domains` of one split with a column per domain."""
    labels, domains = _run_labels(results), results.plan.domains
    rows = []
    by_run = groupby(table.filter(split=split).iter_rows(named=True), lambda row: row["run"])
    for run, group in by_run:
        scores = {row["domain"]: row["value"] for row in group}
        cells = [MISSING if scores[name] is None else percent(scores[name]) for name in domains]
        rows.append([*labels[run], *cells])
    caption = f"Balanced top-1 accuracy on all classes of every domain ({SPLIT_LABELS[split]})."
    return View(caption, ["Setting", "Test domain", *domains], rows, headers=2)


def _run_labels(results: StudyResults) -> dict[str, tuple[str, str]]:
    """Setting and test domains of a run in words; the seed where there are several."""
    many_seeds = len(results.plan.seeds) > 1
    return {
        run.name: (
            setting_label(run.setting) + (f" (seed {run.seed})" if many_seeds else ""),
            run.test_domains[0] if len(run.test_domains) == 1 else "shared",
        )
        for run in results.plan.runs
    }


def exposure_view(table: pl.DataFrame, results: StudyResults) -> View:
    """`tables.exposure_counts` summed per domain, seen and held-out classes."""
    plan = results.plan
    sums = table.group_by("test_domain", "setting", "domain", "held_out").agg(
        pl.col("samples").sum()
    )
    found = {tuple(row[:4]): row[4] for row in sums.rows()}
    rows = []
    for test_domain in plan.test_domains:
        for setting in plan.settings:
            if (setting, test_domain) not in results.mixtures:
                rows.append(
                    [test_domain, setting_label(setting), *[MISSING] * (len(plan.domains) + 1)]
                )
                continue
            counts = [
                tuple(found.get((test_domain, setting, domain, flag), 0) for flag in (False, True))
                for domain in plan.domains
            ]
            cells = [f"{_count(seen)} + {_count(held_out)}" for seen, held_out in counts]
            total = _count(sum(map(sum, counts)))
            rows.append([test_domain, setting_label(setting), *cells, total])
    caption = "Training samples of each mixture: of seen + of held-out classes."
    return View(caption, ["Test domain", "Setting", *plan.domains, "All"], rows, headers=2)


def cost_view(table: pl.DataFrame, results: StudyResults) -> View:
    """`tables.cost`."""
    labels = _run_labels(results)
    rows = [
        [
            *labels[row["run"]],
            row["state"],
            *(_seconds(row[f"{stage}_seconds"]) for stage in STAGES),
            _count(row["samples_seen"]),
            _count(row["samples_per_second"]),
        ]
        for row in table.iter_rows(named=True)
    ]
    columns = ["Setting", "Test domain", "State", "Train", "Evaluate", "Analyze"]
    columns += ["Samples seen", "Samples / s"]
    return View("What every run took.", columns, rows, headers=2)


def mixtures_view(results: StudyResults) -> View:
    """Size and hashes of every mixture."""
    rows = []
    for test_domain in results.plan.test_domains:
        for setting in results.plan.settings:
            manifest = results.mixtures.get((setting, test_domain), {})
            cells = [
                _count(manifest.get("size")),
                _hash(manifest.get("sha256")),
                _hash(manifest.get("dataset_sha256")),
            ]
            rows.append([test_domain, setting_label(setting), *cells])
    columns = ["Test domain", "Setting", "Samples", "Mixture sha256", "Dataset sha256"]
    return View("Mixtures. Settings with equal hashes share one run.", columns, rows, headers=2)


def provenance_view(results: StudyResults) -> View:
    """What the runs were made with: every distinct value and how many runs have it."""
    values: dict[str, dict[str, int]] = {}
    for record in results.records.values():
        known = {key: record.get(key) for key in ("device", "precision", "git")}
        for key, value in (known | dict(record.get("versions") or {})).items():
            if value:
                counts = values.setdefault(key, {})
                counts[str(value)] = counts.get(str(value), 0) + 1
    rows = [
        [key, value, str(count)]
        for key, counts in values.items()
        for value, count in counts.items()
    ]
    return View("What the runs were made with.", ["What", "Value", "Runs"], rows)


def duration(seconds: float) -> str:
    """Seconds as a reader says them."""
    if seconds < 300:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _score(row: dict) -> str:
    if row["value"] is None:
        return MISSING
    return f"{percent(row['value'])} ({100 * row['lo']:.1f} to {100 * row['hi']:.1f})"


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _seconds(value: float | None) -> str:
    return MISSING if value is None else duration(value)


def _count(value: float | None) -> str:
    return MISSING if value is None else f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _hash(value: str | None) -> str:
    return MISSING if not value else value[:12]
