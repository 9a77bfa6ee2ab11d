"""The tables of a report as readers see them: numbers → text in rows and columns."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import polars as pl

from analysis.report.study import StudyResults
from analysis.report.study_plan import StudyPlan
from analysis.report.summary import percent, setting_label
from analysis.report.tables import STAGES, mixtures, unknown_exposures

MISSING = "missing"
NONE = "–"
"""there is nothing to be missed"""
UNKNOWN = "not known"
SPLIT_LABELS = {
    "test": "new instances",
    "test_unseen_drawing": "unseen drawings",
    "test_scenes": "several objects",
    "test_mixed": "several objects, seen and unseen",
}
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
    cases = table.select("split", "classes").unique(maintain_order=True).rows()
    many_draws, many_seeds = (table[key].n_unique() > 1 for key in ("draw", "seed"))
    rows = []
    for key, group in groupby(
        table.iter_rows(named=True),
        lambda row: (row["test_domain"], row["setting"], row["draw"], row["seed"]),
    ):
        test_domain, setting, draw, seed = key
        cells = {(row["split"], row["classes"]): _score(row) for row in group}
        label = setting_label(setting) + (f" (seed {seed})" if many_seeds else "")
        names = [test_domain, label, *([str(draw)] if many_draws else [])]
        rows.append([*names, *(cells.get(case, NONE) for case in cases)])
    columns = [f"{CLASS_LABELS[classes]}, {SPLIT_LABELS[split]}" for split, classes in cases]
    names = ["Test domain", "Setting", *(["Draw"] if many_draws else [])]
    caption = "Balanced top-1 accuracy in the test domain, with 95 % interval." + _splits_note(
        [split for split, _ in cases], rows
    )
    return View(caption, [*names, *columns], rows, headers=2)


def _splits_note(splits: list[str], rows: list[list[str]]) -> str:
    """What the columns of several test splits mean, and what a cell without images holds."""
    note = ""
    if "test_unseen_drawing" in splits and len(set(splits)) > 1:
        note = (
            " New instances: drawings by artists that training shows; unseen drawings: by artists "
            "that it never shows."
        )
    elif "test_scenes" in splits:
        note = (
            " New instances: scenes of one object; of several, only the class of the object that "
            "is named first counts as right."
        )
    return note + (f" {NONE}: no such test images." if any(NONE in row for row in rows) else "")


def all_domains_view(table: pl.DataFrame, results: StudyResults, split: str) -> View:
    """`tables.all_domains` of one split, all classes, with a column per domain."""
    labels, domains = _run_labels(results), results.plan.domains
    rows = []
    one_draw = pl.col("draw") == pl.col("draw").min().over("run")  # all say the same of all classes
    whole = table.filter(one_draw, split=split, classes="all")
    by_run = groupby(whole.iter_rows(named=True), lambda row: row["run"])
    for run, group in by_run:
        scores = {row["domain"]: row["value"] for row in group}
        cells = [_share(scores[name]) if name in scores else NONE for name in domains]
        rows.append([*labels[run], *cells])
    caption = f"Balanced top-1 accuracy on all classes of every domain ({SPLIT_LABELS[split]})."
    return View(caption, ["Setting", "Test domain", *domains], rows, headers=2)


def _run_labels(results: StudyResults) -> dict[str, tuple[str, str]]:
    """Setting and test domains of a run in words; draw and seed where there are several."""
    return {
        run.name: (
            setting_label(run.setting) + _replicate(results.plan, run.draws, run.seed),
            run.test_domains[0] if len(run.test_domains) == 1 else "shared",
        )
        for run in results.plan.runs
    }


def _replicate(plan: StudyPlan, draws: list[int], seed: int) -> str:
    """Which of a plan's draws and seeds a run is of, in brackets; empty for one of each."""
    words = []
    if len(plan.draws) > 1:
        several = "all draws" if len(draws) == len(plan.draws) else f"draws {_list(draws)}"
        words.append(several if len(draws) > 1 else f"draw {draws[0]}")
    if len(plan.seeds) > 1:
        words.append(f"seed {seed}")
    return f" ({', '.join(words)})" if words else ""


def _list(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers))


def exposure_view(table: pl.DataFrame, results: StudyResults) -> View:
    """`tables.exposure_counts` summed per domain, seen and held-out classes."""
    domains, many_draws = results.plan.domains, len(results.plan.draws) > 1
    keys = ["test_domain", "setting", "draw", "domain", "held_out"]
    sums = {tuple(row[:5]): row[5] for row in table.group_by(keys).agg(pl.sum("samples")).rows()}
    rows = []
    for test_domain, setting, draw, mixture in mixtures(results).iter_rows():
        names = [test_domain, setting_label(setting), *([str(draw)] if many_draws else [])]
        if mixture not in results.mixtures:
            rows.append([*names, *[MISSING] * (len(domains) + 1)])
            continue
        counts = [
            tuple(sums.get((test_domain, setting, draw, domain, flag), 0) for flag in (False, True))
            for domain in domains
        ]
        cells = [f"{count(seen)} + {count(held_out)}" for seen, held_out in counts]
        rows.append([*names, *cells, count(sum(map(sum, counts)))])
    for test_domain, setting in unknown_exposures(results).rows():
        names = [test_domain, setting_label(setting), *(["all"] if many_draws else [])]
        rows.append([*names, *[UNKNOWN] * (len(domains) + 1)])
    names = ["Test domain", "Setting", *(["Draw"] if many_draws else [])]
    caption = "Training samples of each mixture: of seen + of held-out classes."
    return View(caption, [*names, *domains, "All"], rows, headers=2)


def cost_view(table: pl.DataFrame, results: StudyResults) -> View:
    """`tables.cost`."""
    labels = _run_labels(results)
    rows = [
        [
            *labels[row["run"]],
            row["state"],
            _seconds(row["train_seconds"]) if own else NONE,
            *(_seconds(row[f"{stage}_seconds"]) for stage in STAGES[1:]),
            count(row["samples_seen"]) if row["trained"] else UNKNOWN,
            count(row["samples_per_second"]) if own else NONE,
        ]
        for row in table.iter_rows(named=True)
        for own in [row["trained"] and not row["same_weights_as"]]
    ]
    columns = ["Setting", "Test domain", "State", "Train", "Evaluate", "Analyze"]
    columns += ["Samples seen", "Samples / s"]
    return View("What every run took.", columns, rows, headers=2)


def mixtures_view(results: StudyResults) -> View:
    """What every mixture is made of, its size and its hashes."""
    many_draws = len(results.plan.draws) > 1
    rows = []
    for test_domain, setting, draw, mixture in mixtures(results).iter_rows():
        manifest = results.mixtures.get(mixture, {})
        names = [test_domain, setting_label(setting)]
        names.append((manifest.get("rule") or {}).get("description") or MISSING)
        cells = [
            *([str(draw)] if many_draws else []),
            _budget(manifest),
            str(manifest.get("caption") or MISSING),
            _base(manifest),
            count(manifest.get("size")),
            short_hash(manifest.get("sha256")),
            short_hash(manifest.get("dataset_sha256")),
        ]
        rows.append([*names, *cells])
    columns = ["Test domain", "Setting", "What it shows", *(["Draw"] if many_draws else [])]
    columns += ["Budget", "Captions", "Base", "Samples", "Mixture sha256", "Dataset sha256"]
    caption = "Mixtures. Settings with equal hashes share one run."
    return View(caption, columns, rows, headers=3)


def _budget(manifest: dict) -> str:
    """Rule and size of a mixture's budget."""
    budget = manifest.get("budget") or {}
    if "rule" not in budget:
        return MISSING
    topped_up = ", topped up" if budget.get("top_up") else ""
    return f"{budget['rule'].replace('_', ' ')}, {count(budget.get('size'))}{topped_up}"


def _base(manifest: dict) -> str:
    """Name and size of the image–caption data that a mixture holds all of."""
    if "base" not in manifest:
        return MISSING
    base = manifest["base"]
    return f"{base['name']}, {count(base['samples'])}" if base else "none"


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
        [key, value, str(n_runs)]
        for key, counts in values.items()
        for value, n_runs in counts.items()
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


def _share(value: float | None) -> str:
    return MISSING if value is None else percent(value)


def _seconds(value: float | None) -> str:
    return MISSING if value is None else duration(value)


def count(value: float | None) -> str:
    """A number of things as a reader writes it: 12 345."""
    return MISSING if value is None else f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def short_hash(value: str | None) -> str:
    """The beginning of a hash, which is enough to compare."""
    return MISSING if not value else value[:12]
