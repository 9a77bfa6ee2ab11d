"""A small study folder in the formats of docs/formats.md, with planted answers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf
from planted_binding import FAMILIES as BINDING
from planted_binding import PLANTERS as BINDING_PLANTERS
from planted_circuit_tables import FAMILIES as CIRCUITS
from planted_circuit_tables import PLANTERS as CIRCUIT_PLANTERS
from planted_modal_tables import FAMILIES as MODALITIES
from planted_modal_tables import PLANTERS as MODAL_PLANTERS
from planted_sharing import FAMILIES, PLANTERS, similarity_of
from planted_tables import (
    CLASSES,
    DOMAINS,
    ELSEWHERE,
    FINAL_SAMPLES,
    PER_CELL,
    PLANTED,
    TEST_DOMAINS,
    cells_of,
    evaluation_of,
    planted_setting,
    predictions_of,
    probes_of,
)

from analysis.report.study import StudyResults, load_results
from analysis.report.study_plan import PlannedRun, StudyPlan
from gen.runs import ANALYSES, Target, run_name, sha256_of
from gen.schema import AnalysisKind

HELD_OUT = ("class 03", "class 07", "class 11")
DRAWS = (HELD_OUT, ("class 02", "class 06", "class 10"), ("class 01", "class 05", "class 09"))
SETTINGS = tuple(name for name in PLANTED if name != "pretrained")
PROMPTS = ("domain_free", "single", "ensemble", "domain")
MILESTONES = (800, 6400, 25600)
TRAIN_PER_CELL = 40
FINISHED = 1_760_003_600
COMMAND = "clipgen report planted 'note=<b>&'"
RESULTS_KEY = "e" * 64
DATASET_SHA256 = "d" * 64
EMPTY_SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="72pt" height="72pt"></svg>'
EVERYTHING = {
    "prompts": PROMPTS,
    "milestones": MILESTONES,
    "probes": True,
    "retrieval": True,
    "pretrained": ("ViT-B-32",),
    "analyses": ("similarity", *FAMILIES, *MODALITIES, *BINDING, *CIRCUITS),
}
"""all that a study may ask for: `write_study(folder, **EVERYTHING)`"""
MANY_RUNS = {"draws": DRAWS, "seeds": (0, 1, 2, 3)}
"""a grid of 124 runs: `write_study(folder, **MANY_RUNS)`"""


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
    settings: Sequence[str] = SETTINGS,
    *,
    prompts: Sequence[str] = PROMPTS[:1],
    milestones: Sequence[int] = (),
    probes: bool = False,
    retrieval: bool = False,
    pretrained: Sequence[str] = (),
    analyses: Sequence[str] = ("similarity",),
    arm: str = "",
) -> PlantedStudy:
    """A finished study; of a variant the numbers are those of the setting that it varies.

    A variant named after a test domain does not apply to it.

    Args:
        folder: of the study.
        draws, seeds, settings: its grid.
        prompts: its prompt sets, the headline's first; `head` for a classifier.
        milestones: samples seen of the weights that are kept on the way.
        probes, retrieval: whether it has probes, and rows of retrieval.
        pretrained: names of models that are only evaluated.
        analyses: names of its families of analyses.
        arm: which of a study's arms to write; several may share a folder.
    """
    runs = tuple(_planned_runs(settings, range(len(draws)), seeds, pretrained, arm))
    tested = {domain: frozenset(CLASSES) for domain in DOMAINS}
    plan = StudyPlan(
        name="planted",
        dataset="icons-tiny",
        natural="real",
        test_domains=TEST_DOMAINS,
        settings=(*settings, *(f"pretrained-{name}" for name in pretrained)),
        seeds=tuple(seeds),
        draws=tuple(draws),
        classes=CLASSES,
        domains=DOMAINS,
        tests=dict.fromkeys(PER_CELL, tested),
        runs=runs,
        prompts=tuple(prompts),
        probes=probes,
        analyses=tuple(analyses),
        dataset_sha256=DATASET_SHA256,
        arm=arm,
    )
    for run in runs:
        if (folder / run.name).is_dir():  # a pretrained model, which another arm wrote
            continue
        for target, name in run.mixtures.items():
            if name:
                _write_manifest(folder / "mixtures" / name, run.setting, target, plan)
        _write_tables(folder / run.name, run, plan, milestones, retrieval)
        _write_record(folder / run.name, run, arm)
    return PlantedStudy(plan, folder, {name: PLANTED[name] for name in SETTINGS})


def load(study: PlantedStudy) -> StudyResults:
    """What a report reads of a planted study."""
    return load_results(study.plan, study.folder)


def write_arms(folder: Path, arms: dict[str, dict]) -> list[PlantedStudy]:
    """A finished study with several arms; `sigmoid` has the gains of GAIN_OF_ARM.

    Args:
        folder: of the study.
        arms: by label, the keywords of `write_study`.
    """
    written = [write_study(folder, arm=label, **asked) for label, asked in arms.items()]
    siblings = frozenset(run.name for study in written for run in study.plan.runs)
    return [replace(study, plan=replace(study.plan, siblings=siblings)) for study in written]


def _planned_runs(
    settings: Sequence[str],
    draws: Sequence[int],
    seeds: Sequence[int],
    pretrained: Sequence[str],
    arm: str,
) -> Iterator[PlannedRun]:
    for setting in settings:
        test_domains = [name for name in TEST_DOMAINS if name not in setting]
        targets = [Target(domain, draw) for domain in test_domains for draw in draws]
        for group in [targets] if setting == "natural_only" else [[target] for target in targets]:
            mixtures = {
                target: f"{setting}.{target.test_domain}" + f".d{target.draw}" * (target.draw > 0)
                for target in group
            }
            sha256 = _mixture_sha256(setting, group[0])
            for seed in seeds:
                name = run_name(setting, group, seed, _config(setting, seed, sha256, arm), arm)
                yield PlannedRun(name, setting, seed, mixtures, RESULTS_KEY, sha256)
    targets = [Target(domain, draw) for domain in TEST_DOMAINS for draw in draws]
    for model in pretrained:
        setting = f"pretrained-{model}"
        name = run_name(setting, targets, 0, _config(setting, 0, "", ""))
        yield PlannedRun(name, setting, 0, dict.fromkeys(targets, ""), RESULTS_KEY)


def _mixture_sha256(setting: str, target: Target) -> str:
    return sha256_of([setting] if setting == "natural_only" else [setting, *target])


def _config(setting: str, seed: int, mixture_sha256: str, arm: str) -> dict:
    """What a planted run's config.yaml holds."""
    training = {"samples_seen": FINAL_SAMPLES, "learning_rate": 7e-4, "epsilon": 1e-6}
    of_run = {"setting": setting, "seed": seed, "mixture_sha256": mixture_sha256}
    return {"training": training, **of_run} | ({"arm": arm} if arm else {})


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
    shown = np.array(
        [
            [exposed(setting, test_domain, held_out, domain, name) for name in CLASSES]
            for domain in DOMAINS
        ]
    )
    counts = (TRAIN_PER_CELL * shown).tolist()
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
        "exposure": shown.astype(float).tolist(),
        "available": np.full(shown.shape, TRAIN_PER_CELL).tolist(),
        "requested": counts,
        "realised": counts,
        "size": size,
        "dataset_sha256": DATASET_SHA256,
        "sha256": _mixture_sha256(setting, target),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _write_tables(
    folder: Path, run: PlannedRun, plan: StudyPlan, milestones: Sequence[int], retrieval: bool
) -> None:
    (folder / "analysis").mkdir(parents=True)
    predictions = predictions_of(run, plan, milestones)
    predictions.write_parquet(folder / "predictions.parquet")
    evaluation = evaluation_of(predictions, run, plan, retrieval)
    evaluation.write_parquet(folder / "evaluation.parquet")
    cells_of(predictions, plan).write_parquet(folder / "cells.parquet")
    similarity = similarity_of(run, plan, milestones)
    similarity.write_parquet(folder / "analysis" / "similarity.parquet")
    asked = {name for kind in plan.analyses for name in ANALYSES[AnalysisKind(kind)]}
    planters = PLANTERS | MODAL_PLANTERS | BINDING_PLANTERS | CIRCUIT_PLANTERS
    for name in sorted(asked & set(planters)):
        planters[name](run, plan).write_parquet(folder / "analysis" / f"{name}.parquet")
    if plan.probes:
        probes_of(run, plan).write_parquet(folder / "analysis" / "probes.parquet")
    if not run.is_pretrained:
        (folder / "metrics.jsonl").write_text("".join(_metrics(run)))


def _metrics(run: PlannedRun) -> Iterator[str]:
    order = list(PLANTED).index(planted_setting(run.setting))
    for step in range(20, 401, 20):
        line = {
            "step": step,
            "samples_seen": step * 256,
            "loss": 0.8 + 0.06 * order + (4 + 0.1 * order) * 0.99**step,
            "loss_floor": 0.6 + 0.02 * np.sin(step),
            "logit_scale": 14.0,
            "lr": 1e-3,
            "samples_per_second": 900.0,
        }
        yield json.dumps(line) + "\n"


def _write_record(folder: Path, run: PlannedRun, arm: str) -> None:
    """run.json, config.yaml and DONE."""
    record = {
        "run": run.name,
        "setting": run.setting,
        "test_domains": run.test_domains,
        "seed": run.seed,
        "versions": {"torch": "2.11.0", "python": "3.12.1"},
        "git": "0123abc",
        "device": "cpu (2 threads)",
        "precision": "fp32",
        "started": "2025-10-09T08:53:20Z",
        "resumed": [],
        "seconds": {"train": 100.0, "evaluate": 20.0, "analyze": 10.0},
        "checkpoint": sha256_of(run.name),
    }
    if run.is_pretrained:
        record["seconds"] = {"evaluate": 20.0, "analyze": 10.0}
    else:
        record |= {"mixture_sha256": run.mixture_sha256, "samples_seen": FINAL_SAMPLES}
        record |= {"samples_per_second": 900.0}
    (folder / "run.json").write_text(json.dumps(record))
    config = _config(run.setting, run.seed, run.mixture_sha256, arm)
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(config)))
    (folder / "DONE").write_text(run.results_key)
    os.utime(folder / "DONE", (FINISHED, FINISHED))
