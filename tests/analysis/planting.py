"""A small study folder in the formats of docs/formats.md, with planted answers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl

from analysis.report.study import PlannedRun, StudyPlan
from gen.evaluation.score import score
from gen.runs import Target

DOMAINS = ("real", "clipart", "infograph", "painting", "quickdraw", "sketch")
CLASSES = tuple(f"class {number:02d}" for number in range(12))
HELD_OUT = ("class 03", "class 07", "class 11")
DRAWS = (HELD_OUT, ("class 02", "class 06", "class 10"), ("class 01", "class 05", "class 09"))
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
GAIN_OF_DRAW = {"leave_out_domain": (0, 1, 2)}
GAIN_OF_SEED = {"cg_high_diversity": (0, 1)}
ELSEWHERE = 8


@dataclass(frozen=True)
class PlantedStudy:
    """A study folder and what is planted in it.

    Attributes:
        right: of ten test samples per cell, by setting and test domain (held-out classes), in the
            first draw and with the first seed; GAIN_OF_DRAW and GAIN_OF_SEED tell the others.
        right_elsewhere: in every other cell.
        train_per_cell: training samples of a cell that a mixture shows.
    """

    plan: StudyPlan
    folder: Path
    right: dict[str, dict[str, int]]
    right_elsewhere: int = ELSEWHERE
    train_per_cell: int = TRAIN_PER_CELL


def write_study(
    folder: Path,
    draws: Sequence[tuple[str, ...]] = (HELD_OUT,),
    seeds: Sequence[int] = (0,),
    settings: Sequence[str] = tuple(PLANTED),
) -> PlantedStudy:
    """A finished study; of a variant the numbers are those of the setting that it varies.

    A variant named after a test domain does not apply to it.
    """
    runs = tuple(_planned_runs(settings, range(len(draws)), seeds))
    tested = {domain: frozenset(CLASSES) for domain in DOMAINS}
    plan = StudyPlan(
        name="planted",
        dataset="icons-tiny",
        natural="real",
        test_domains=TEST_DOMAINS,
        settings=tuple(settings),
        seeds=tuple(seeds),
        draws=tuple(draws),
        classes=CLASSES,
        domains=DOMAINS,
        tests=dict.fromkeys(PER_CELL, tested),
        runs=runs,
    )
    for run in runs:
        for target, name in run.mixtures.items():
            _write_manifest(folder / "mixtures" / name, run.setting, target, plan)
        _write_run(folder / run.name, run, plan)
    return PlantedStudy(plan, folder, PLANTED)


def _planned_runs(
    settings: Sequence[str], draws: Sequence[int], seeds: Sequence[int]
) -> Iterator[PlannedRun]:
    for setting in settings:
        test_domains = [name for name in TEST_DOMAINS if name not in setting]
        targets = [Target(domain, draw) for domain in test_domains for draw in draws]
        for group in [targets] if setting == "natural_only" else [[target] for target in targets]:
            draw = f".d{group[0].draw}" if group[0].draw else ""
            place = "" if len(group) > 1 else f"-{group[0].test_domain}{draw}"
            mixtures = {
                target: f"{setting}.{target.test_domain}" + f".d{target.draw}" * (target.draw > 0)
                for target in group
            }
            for seed in seeds:
                yield PlannedRun(f"{setting}{place}-s{seed}-0123456789ab", setting, seed, mixtures)


def planted_setting(setting: str) -> str:
    """The setting whose numbers a variant has."""
    return setting.partition("-")[0]


def exposed(
    setting: str, test_domain: str, held_out: Sequence[str], domain: str, name: str
) -> bool:
    """Whether a setting shows a cell."""
    if domain == "real":
        return True
    if domain == test_domain:
        partly = setting.startswith(("cg", "upper"))
        return partly and (name not in held_out or setting.startswith("upper"))
    diverse = ("leave_out_domain", "cg_high_diversity", "upper_bound_high")
    return planted_setting(setting) in diverse


def _write_manifest(folder: Path, setting: str, target: Target, plan: StudyPlan) -> None:
    test_domain, held_out = target.test_domain, plan.draws[target.draw]
    counts = [
        [TRAIN_PER_CELL * exposed(setting, test_domain, held_out, domain, name) for name in CLASSES]
        for domain in DOMAINS
    ]
    shown = "" if setting == "natural_only" else f"{test_domain}{target.draw}"
    size = int(np.sum(counts))
    manifest = {
        "setting": setting,
        "rule": {"name": setting, "description": f"what {setting} shows"},
        "test_domain": test_domain,
        "draw": target.draw,
        "natural": "real",
        "domains": DOMAINS,
        "classes": CLASSES,
        "held_out": held_out,
        "budget": {"rule": "fixed_total", "seed": 0, "top_up": False, "size": size},
        "caption": "caption",
        "base": {"name": "pairs", "sha256": "b" * 64, "samples": 1200},
        "requested": counts,
        "realised": counts,
        "size": size,
        "dataset_sha256": "d" * 64,
        "sha256": f"{setting}{shown}".encode().hex().ljust(64, "0")[:64],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _write_run(folder: Path, run: PlannedRun, plan: StudyPlan) -> None:
    (folder / "analysis").mkdir(parents=True)
    predictions = pl.DataFrame(list(_predictions(run, plan)))
    predictions.write_parquet(folder / "predictions.parquet")
    draws = {draw: plan.draws[draw] for draw in run.draws}
    score(predictions, draws, len(CLASSES)).write_parquet(folder / "evaluation.parquet")
    _similarity(run).write_parquet(folder / "analysis" / "similarity.parquet")
    order = list(PLANTED).index(planted_setting(run.setting))
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


def right_of_ten(run: PlannedRun, plan: StudyPlan, domain: str, name: str) -> int:
    """Planted number of right answers in ten samples of a cell."""
    for target in run.mixtures:
        if domain == target.test_domain and name in plan.draws[target.draw]:
            setting = planted_setting(run.setting)
            gain = GAIN_OF_DRAW.get(setting, (0, 0, 0))[target.draw]
            return PLANTED[setting][domain] + gain + GAIN_OF_SEED.get(setting, (0, 0))[run.seed]
    return ELSEWHERE


def _predictions(run: PlannedRun, plan: StudyPlan) -> Iterator[dict]:
    for split, count in PER_CELL.items():
        for domain in DOMAINS:
            for label, name in enumerate(CLASSES):
                right = right_of_ten(run, plan, domain, name) * count // 10
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


def _similarity(run: PlannedRun) -> pl.DataFrame:
    diverse = planted_setting(run.setting) in (
        "leave_out_domain",
        "cg_high_diversity",
        "upper_bound_high",
    )
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
