"""The tables of a planted run: predictions with known answers, and what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import polars as pl

from analysis.report.study_plan import PlannedRun, StudyPlan
from gen.evaluation.metrics import Estimate, balanced_accuracy, plain_accuracy
from gen.runs import sha256_of

DOMAINS = ("real", "clipart", "infograph", "painting", "quickdraw", "sketch")
CLASSES = tuple(f"class {number:02d}" for number in range(12))
TEST_DOMAINS = ("quickdraw", "clipart")
PER_CELL = {"test": 10, "test_unseen_drawing": 5}
SITES = ("stem", "layer1", "layer2", "layer3", "layer4", "embedding")
SHOTS = (1, 2, 4, 8, 16)
PROBE_SEEDS = (0, 1, 2)
FINAL_SAMPLES = 102_400

PLANTED = {
    "natural_only": {"quickdraw": 1, "clipart": 3},
    "leave_out_domain": {"quickdraw": 4, "clipart": 3},
    "cg_low_diversity": {"quickdraw": 2, "clipart": 5},
    "cg_high_diversity": {"quickdraw": 5, "clipart": 7},
    "upper_bound_low": {"quickdraw": 7, "clipart": 8},
    "upper_bound_high": {"quickdraw": 8, "clipart": 9},
    "pretrained": {"quickdraw": 6, "clipart": 7},
}
"""right answers in ten on the held-out classes of each test domain, of the first draw and seed"""
GAIN_OF_DRAW = {"leave_out_domain": (0, 1, 2)}
GAIN_OF_SEED = {"cg_high_diversity": {1: 1}}
GAIN_OF_ARM = {"sigmoid": {"cg_high_diversity": 2, "leave_out_domain": -3}}
GAIN_OF_PROMPTS = {"single": -1, "ensemble": 1, "domain": 1}
ELSEWHERE = 8
WITHOUT_TEXTS = "head"


@dataclass(frozen=True)
class Weights:
    """A checkpoint of a run: samples that it saw, and how much of the final answers it knows."""

    samples_seen: int | None
    final: bool
    share: float
    sha256: str


def planted_setting(setting: str) -> str:
    """The setting whose numbers a variant has."""
    return setting.partition("-")[0]


def right_of_ten(run: PlannedRun, plan: StudyPlan, domain: str, name: str) -> int:
    """Planted number of right answers in ten samples of a cell, of the headline."""
    for target in run.mixtures:
        if domain == target.test_domain and name in plan.draws[target.draw]:
            setting = planted_setting(run.setting)
            of_draw = GAIN_OF_DRAW.get(setting, (0, 0, 0))[target.draw]
            of_seed = GAIN_OF_SEED.get(setting, {}).get(run.seed, 0)
            of_arm = GAIN_OF_ARM.get(plan.arm, {}).get(setting, 0)
            return PLANTED[setting][domain] + of_draw + of_seed + of_arm
    return ELSEWHERE


def checkpoints_of(run: PlannedRun, milestones: Sequence[int]) -> list[Weights]:
    """The final weights of a run, then its milestones, which know less."""
    seen = None if run.is_pretrained else FINAL_SAMPLES
    final = Weights(seen, True, 1.0, sha256_of(run.name))
    if run.is_pretrained:
        return [final]
    shares = [(number + 1) / (len(milestones) + 1) for number in range(len(milestones))]
    return [
        final,
        *(
            Weights(samples, False, share, sha256_of([run.name, samples]))
            for samples, share in zip(milestones, shares, strict=True)
        ),
    ]


def predictions_of(run: PlannedRun, plan: StudyPlan, milestones: Sequence[int]) -> pl.DataFrame:
    """predictions.parquet of a run; a wrong answer is the class that follows the right one."""
    parts = [
        _answers(run, plan, weights, prompts).with_columns(
            samples_seen=pl.lit(weights.samples_seen, dtype=pl.Int64),
            final=pl.lit(weights.final),
            prompts=pl.lit(prompts),
            scores=pl.lit([0.5, 0.4, 0.3, 0.2, 0.1], dtype=pl.List(pl.Float32)),
            confidence=pl.lit(0.75, dtype=pl.Float32),
            checkpoint=pl.lit(weights.sha256),
        )
        for weights in checkpoints_of(run, milestones)
        for prompts in (plan.prompts if weights.final else plan.prompts[:1])
    ]
    return pl.concat(parts)


def _answers(run: PlannedRun, plan: StudyPlan, weights: Weights, prompts: str) -> pl.DataFrame:
    gain = 0 if prompts == plan.prompts[0] else GAIN_OF_PROMPTS.get(prompts, 0)
    shares = [
        int(min(10, max(0, right_of_ten(run, plan, domain, name) + gain)) * weights.share)
        for domain, name in product(DOMAINS, CLASSES)
    ]
    cells = pl.DataFrame(
        [(*key, of_ten) for key, of_ten in zip(product(DOMAINS, CLASSES), shares, strict=True)],
        schema=["domain", "class_name", "of_ten"],
        orient="row",
    )
    right = pl.col("number") < pl.col("of_ten") * pl.col("count") // 10
    answered = _test_samples().join(cells, on=["domain", "class_name"], maintain_order="left")
    return answered.with_columns(
        top5=pl.when(right).then(pl.col("if_right")).otherwise(pl.col("if_wrong"))
    ).drop("of_ten", "number", "count", "if_right", "if_wrong")


@cache
def _test_samples() -> pl.DataFrame:
    """Every test sample with its number in its cell, and the top five of either answer."""
    rows = []
    for (split, count), domain in product(PER_CELL.items(), DOMAINS):
        for label, name in enumerate(CLASSES):
            wrong = [(label + shift) % len(CLASSES) for shift in range(1, 6)]
            rows += [
                {
                    "id": f"{split}_{domain}_{label}_{number:05d}",
                    "split": split,
                    "domain": domain,
                    "class_name": name,
                    "label": label,
                    "number": number,
                    "count": count,
                    "if_right": [label, *wrong[:4]],
                    "if_wrong": wrong,
                }
                for number in range(count)
            ]
    return pl.DataFrame(rows)


def evaluation_of(
    predictions: pl.DataFrame, run: PlannedRun, plan: StudyPlan, retrieval: bool
) -> pl.DataFrame:
    """evaluation.parquet of a run, from its predictions."""
    rows: list[dict] = []
    checkpoints = predictions.group_by("samples_seen", "final", "prompts", maintain_order=True)
    for (samples_seen, final, prompts), of_weights in checkpoints:
        key = {"samples_seen": samples_seen, "final": final, "prompts": prompts}
        for draw, part, where in _parts(of_weights, run, plan):
            found = [*_accuracies(part), *(_finals(part, where, plan.draws[draw]) if final else ())]
            rows += [key | where | {"draw": draw} | row for row in found]
            if retrieval and final and prompts == plan.prompts[0]:
                named = key | where | {"draw": draw, "prompts": "captions"}
                rows += [named | row for row in _retrieval(part, where["classes"])]
    floats = dict.fromkeys(["value", "lo", "hi", "chance"], pl.Float64)
    return pl.DataFrame(rows, schema_overrides=floats | {"samples_seen": pl.Int64})


@dataclass(frozen=True)
class Answers:
    """Of N test samples: classes, the best answers, and whether the class is in the best five."""

    labels: np.ndarray
    first: np.ndarray
    among_five: np.ndarray

    def of(self, which: np.ndarray) -> Answers:
        return Answers(self.labels[which], self.first[which], self.among_five[which])

    @property
    def accuracy(self) -> float:
        return float((self.first == self.labels).mean())


def _parts(
    predictions: pl.DataFrame, run: PlannedRun, plan: StudyPlan
) -> Iterator[tuple[int, Answers, dict]]:
    for (split, domain), group in predictions.group_by("split", "domain", maintain_order=True):
        five = group["top5"].list
        among = five.contains(group["label"]).to_numpy()
        answers = Answers(group["label"].to_numpy(), five.first().to_numpy(), among)
        for draw in run.draws:
            held_out = np.isin(answers.labels, _numbers(plan.draws[draw]))
            sets = {"held_out": held_out, "seen": ~held_out, "all": np.ones_like(held_out)}
            for classes, which in sets.items():
                where = {"split": split, "domain": domain, "classes": classes}
                yield draw, answers.of(which), where


def _numbers(names: Sequence[str]) -> list[int]:
    return [CLASSES.index(name) for name in names]


def _accuracies(part: Answers) -> Iterator[dict]:
    first = part.first == part.labels
    for name, score, right, guesses in (
        ("balanced_top1", balanced_accuracy, first, 1),
        ("balanced_top5", balanced_accuracy, part.among_five, 5),
        ("top1", plain_accuracy, first, 1),
    ):
        estimate = _estimate(score, tuple(right), tuple(part.labels))
        limits = {"value": estimate.value, "lo": estimate.lo, "hi": estimate.hi}
        counts = {"n": estimate.n, "n_classes": estimate.n_classes}
        yield {"metric": name, **limits, **counts, "chance": guesses / len(CLASSES)}


@cache
def _estimate(
    score: Callable[[np.ndarray, np.ndarray], Estimate],
    right: tuple[bool, ...],
    labels: tuple[int, ...],
) -> Estimate:
    """A score; many runs give the same answers."""
    return score(np.array(right), np.array(labels))


def _finals(part: Answers, where: dict, held_out: Sequence[str]) -> Iterator[dict]:
    """What is scored of final weights only; intervals are planted as 0.05 to both sides."""
    yield _row("macro_f1", part.accuracy, part, 1 / len(CLASSES))
    yield _row("ece", abs(0.75 - part.accuracy), part)
    mixed_up = {"held_out": ("held_out_as_seen", False), "seen": ("seen_as_held_out", True)}
    if where["classes"] in mixed_up:
        metric, to_held_out = mixed_up[where["classes"]]
        share = len(held_out) / len(CLASSES)
        taken = float((np.isin(part.first, _numbers(held_out)) == to_held_out).mean())
        yield _row(metric, taken, part, share if to_held_out else 1 - share)


def _retrieval(part: Answers, classes: str) -> Iterator[dict]:
    for direction, rank in product(("image_to_text", "text_to_image"), (1, 5, 10)):
        value = part.accuracy * (0.4 + 0.05 * rank) - 0.05 * (direction == "text_to_image")
        yield _row(f"{direction}_r{rank}", max(0.0, value), part, rank / 120)
    if classes == "all":
        yield _row("modality_gap", 1.1 - 0.5 * part.accuracy, part)


def _row(metric: str, value: float, part: Answers, chance: float | None = None) -> dict:
    limits = {"value": value, "lo": max(0.0, value - 0.05), "hi": value + 0.05}
    counts = {"n": len(part.labels), "n_classes": len(np.unique(part.labels))}
    return {"metric": metric, **limits, **counts, "chance": chance}


def cells_of(predictions: pl.DataFrame, plan: StudyPlan) -> pl.DataFrame:
    """cells.parquet of a run, from its predictions."""
    headline = predictions.filter("final", prompts=plan.prompts[0])
    keys = ["split", "domain", "class_name", "label"]
    right = pl.col("top5").list.first() == pl.col("label")
    counted = headline.group_by(keys, maintain_order=True).agg(
        n=pl.len().cast(pl.Int64), correct=right.sum().cast(pl.Int64)
    )
    limits = [_wilson(*counts) for counts in counted.select("n", "correct").iter_rows()]
    wrong = pl.col("n") - pl.col("correct")
    following = pl.col("label").replace_strict(
        list(range(len(CLASSES))), [*CLASSES[1:], CLASSES[0]], return_dtype=pl.String
    )
    return counted.with_columns(
        **{key: pl.Series([getattr(e, key) for e in limits]) for key in ("value", "lo", "hi")},
        mistaken_for=pl.when(wrong > 0).then(following),
        mistaken=wrong,
    )


@cache
def _wilson(n: int, correct: int) -> Estimate:
    return plain_accuracy(np.arange(n) < correct, np.zeros(n))


def probes_of(run: PlannedRun, plan: StudyPlan) -> pl.DataFrame:
    """analysis/probes.parquet of a run: deeper sites know more, photographs teach less."""
    rows = [
        row
        for test_domain in run.test_domains
        for trained_on, domain in (
            (test_domain, test_domain),
            (plan.natural, test_domain),
            (plan.natural, plan.natural),
        )
        for depth, site in enumerate(SITES)
        for row in _probes_of_site(run, plan, site, depth, trained_on, domain)
    ]
    return pl.DataFrame(rows).unique(maintain_order=True)


def _probes_of_site(
    run: PlannedRun, plan: StudyPlan, site: str, depth: int, trained_on: str, domain: str
) -> Iterator[dict]:
    full = 0.4 + 0.1 * depth - 0.1 * (trained_on != domain)
    curves = [("full", None, 0, full)] + [
        ("few_shot", shots, seed, full * (1 - 0.6 / (1 + np.log2(shots))) + 0.01 * seed)
        for shots, seed in product(SHOTS, PROBE_SEEDS)
    ]
    where = {"site": site, "depth": depth, "trained_on": trained_on, "domain": domain}
    for (kind, shots, seed, value), draw in product(curves, run.draws):
        held_out = len(plan.draws[draw])
        for classes, count, shift in (
            ("held_out", held_out, -0.05),
            ("seen", len(CLASSES) - held_out, 0.0),
            ("all", len(CLASSES), -0.02),
        ):
            score = value + shift
            yield where | {
                **{"kind": kind, "shots": shots, "seed": seed, "c": 1.0, "draw": draw},
                **{"classes": classes, "value": score, "lo": score - 0.06, "hi": score + 0.06},
                **{"n": 10 * count, "n_classes": count, "chance": 1 / len(CLASSES)},
            }
