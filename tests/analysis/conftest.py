"""A small study folder in the formats of docs/formats.md, with planted answers."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from analysis.report.page import write_report
from analysis.report.study import PlannedRun, StudyPlan, load_results

DOMAINS = ("real", "clipart", "infograph", "painting", "quickdraw", "sketch")
CLASSES = tuple(f"class {number:02d}" for number in range(12))
HELD_OUT = ("class 03", "class 07", "class 11")
TEST_DOMAINS = ("quickdraw", "clipart")
PER_CELL = {"test": 10, "test_unseen_drawing": 5}
SITES = ("stem", "layer1", "layer2", "layer3", "layer4", "embedding")
TRAIN_PER_CELL = 40
FINISHED = 1_760_003_600
COMMAND = "clipgen report planted 'note=<b>&'"

PLANTED = {
    "natural_only": {"quickdraw": 1, "clipart": 3},
    "leave_out_domain": {"quickdraw": 4, "clipart": 3},
    "cg_low_diversity": {"quickdraw": 2, "clipart": 5},
    "cg_high_diversity": {"quickdraw": 5, "clipart": 7},
    "upper_bound_low": {"quickdraw": 7, "clipart": 8},
    "upper_bound_high": {"quickdraw": 8, "clipart": 9},
}
ELSEWHERE = 8


@dataclass(frozen=True)
class PlantedStudy:
    """A study folder and what is planted in it.

    Attributes:
        right: of ten test samples per cell, by setting and test domain (held-out classes).
        right_elsewhere: in every other cell.
        train_per_cell: training samples of a cell that a mixture shows.
    """

    plan: StudyPlan
    folder: Path
    right: dict[str, dict[str, int]]
    right_elsewhere: int = ELSEWHERE
    train_per_cell: int = TRAIN_PER_CELL


@pytest.fixture
def planted_study(tmp_path: Path) -> PlantedStudy:
    """A finished study: six settings, two test domains, one seed; natural_only is shared."""
    return write_study(tmp_path / "planted")


@pytest.fixture(scope="session")
def planted_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the report on that study; to be read only."""
    folder = tmp_path_factory.mktemp("report")
    study = write_study(folder / "planted")
    write_report(load_results(study.plan, study.folder), folder / "report", COMMAND)
    return folder / "report"


def write_study(folder: Path) -> PlantedStudy:
    runs = tuple(_planned_runs())
    plan = StudyPlan(
        name="planted",
        dataset="icons-tiny",
        natural="real",
        test_domains=TEST_DOMAINS,
        settings=tuple(PLANTED),
        seeds=(0,),
        held_out=HELD_OUT,
        classes=CLASSES,
        domains=DOMAINS,
        runs=runs,
    )
    for run in runs:
        for test_domain, name in run.mixtures.items():
            _write_manifest(folder / "mixtures" / name, run.setting, test_domain)
        _write_run(folder / run.name, run)
    return PlantedStudy(plan, folder, PLANTED)


def _planned_runs():
    for setting in PLANTED:
        groups = [TEST_DOMAINS] if setting == "natural_only" else [(d,) for d in TEST_DOMAINS]
        for test_domains in groups:
            name = "-".join([setting, *(test_domains if len(test_domains) == 1 else ()), "s0"])
            mixtures = {domain: f"{setting}.{domain}" for domain in test_domains}
            yield PlannedRun(f"{name}-0123456789ab", setting, test_domains, 0, mixtures)


def exposed(setting: str, test_domain: str, domain: str, name: str) -> bool:
    """Whether a setting shows a cell."""
    if domain == "real":
        return True
    if domain == test_domain:
        partly = setting.startswith(("cg", "upper"))
        return partly and (name not in HELD_OUT or setting.startswith("upper"))
    return setting in ("leave_out_domain", "cg_high_diversity", "upper_bound_high")


def _write_manifest(folder: Path, setting: str, test_domain: str) -> None:
    counts = [
        [TRAIN_PER_CELL * exposed(setting, test_domain, domain, name) for name in CLASSES]
        for domain in DOMAINS
    ]
    shown = "" if setting == "natural_only" else test_domain
    manifest = {
        "setting": setting,
        "test_domain": test_domain,
        "natural": "real",
        "domains": DOMAINS,
        "classes": CLASSES,
        "held_out": HELD_OUT,
        "budget": {"rule": "equal", "seed": 0},
        "caption": "caption",
        "requested": counts,
        "realised": counts,
        "size": int(np.sum(counts)),
        "dataset_sha256": "d" * 64,
        "sha256": f"{setting}{shown}".encode().hex().ljust(64, "0")[:64],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _write_run(folder: Path, run: PlannedRun) -> None:
    (folder / "analysis").mkdir(parents=True)
    predictions = pl.DataFrame(list(_predictions(run)))
    predictions.write_parquet(folder / "predictions.parquet")
    _evaluation(predictions).write_parquet(folder / "evaluation.parquet")
    _similarity(run).write_parquet(folder / "analysis" / "similarity.parquet")
    order = list(PLANTED).index(run.setting)
    lines = [
        {
            "step": step,
            "samples_seen": step * 256,
            "loss": 0.8 + 0.06 * order + (4 + 0.1 * order) * 0.99**step,
            "loss_floor": 0.6 + 0.02 * np.sin(step),
            "logit_scale": 14.0,
            "lr": 1e-3,
            "samples_per_second": 900.0,
        }
        for step in range(20, 401, 20)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    record = {
        "run": run.name,
        "setting": run.setting,
        "test_domains": run.test_domains,
        "seed": run.seed,
        "mixture_sha256": "0" * 64,
        "versions": {"torch": "2.11.0", "python": "3.12.1"},
        "git": "0123abc",
        "device": "cpu (2 threads)",
        "precision": "fp32",
        "started": "2025-10-09T08:53:20Z",
        "resumed": [],
        "seconds": {"train": 100.0, "evaluate": 20.0, "analyze": 10.0},
        "samples_seen": 102400,
        "samples_per_second": 900.0,
    }
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "DONE").write_text("")
    os.utime(folder / "DONE", (FINISHED, FINISHED))


def right_of_ten(run: PlannedRun, domain: str, name: str) -> int:
    """Planted number of right answers in ten samples of a cell."""
    planted = domain in run.test_domains and name in HELD_OUT
    return PLANTED[run.setting][domain] if planted else ELSEWHERE


def _predictions(run: PlannedRun):
    for split, count in PER_CELL.items():
        for domain in DOMAINS:
            for label, name in enumerate(CLASSES):
                right = right_of_ten(run, domain, name) * count // 10
                for number in range(count):
                    wrong = [(label + shift) % len(CLASSES) for shift in range(1, 6)]
                    top5 = [label, *wrong[:4]] if number < right else wrong
                    yield {
                        "id": f"{split}_{domain}_{label}_{number:05d}",
                        "split": split,
                        "domain": domain,
                        "class_name": name,
                        "label": label,
                        "top5": top5,
                        "scores": [0.5, 0.4, 0.3, 0.2, 0.1],
                        "checkpoint": "c" * 64,
                    }


def _evaluation(predictions: pl.DataFrame) -> pl.DataFrame:
    from gen.evaluation.score import score

    return score(predictions, HELD_OUT, len(CLASSES))


def _similarity(run: PlannedRun) -> pl.DataFrame:
    diverse = run.setting in ("leave_out_domain", "cg_high_diversity", "upper_bound_high")
    rows = []
    for depth, site in enumerate(SITES):
        for a, b in combinations(DOMAINS, 2):
            outlier = {a, b} & set(run.test_domains)
            value = 0.2 + 0.1 * depth + 0.05 * diverse - 0.15 * bool(outlier)
            rows.append(
                {
                    "site": site,
                    "depth": depth,
                    "domain_a": a,
                    "domain_b": b,
                    "measure": "cka",
                    "value": value,
                    "lo": value - 0.08,
                    "hi": value + 0.08,
                    "n": len(CLASSES),
                    "chance": 0.0,
                    "ceiling": 0.9 - 0.05 * bool(outlier),
                }
            )
    return pl.DataFrame(rows)
