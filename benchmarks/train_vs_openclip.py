"""How many pairs per second does training see, against open_clip_train 3.3.0?

    python benchmarks/train_vs_openclip.py [--model NAME] [--quick] [--device cpu|cuda]

One record a model: results/train_vs_openclip_MODEL.json.

The same samples, captions, towers, optimizer, schedule, batch and cores; every measurement in a
process of its own; the sides alternate five times, a seed each. On two cores, each side with the
best that a pilot finds for it: threads, `torch.compile`, bf16 where the processor has it, and
open_clip_train's workers. Then all models are scored by the same code on the test split: speed must
not cost accuracy. What remains different is listed in `DIFFERENCES`.

With `--device cuda`: ViT-B/16 and RN50 at 64 and 224 pixels on synthetic images, on all cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)

from benchmarks.contest import (
    Contest,
    Setup,
    Training,
    our_overrides,
    prepare,
    train_clipgen,
    train_openclip,
)
from benchmarks.measured import finish, in_own_process
from benchmarks.referee import check_towers, score_clipgen, score_openclip, utilisation
from benchmarks.synthetic import build_icons, build_synthetic

DIFFERENCES = """\
Equal: samples, captions, tower sizes, AdamW with its groups, schedule, batch, loss, normalisation,
random resized crops of 90 % of the area or more, no mirroring.
Different: clipgen cuts the token table to the rows that the dataset uses, embeds every distinct
caption of a batch once (on a CPU), takes the fused AdamW and channels-last memory, keeps decoded
images in memory and crops whole batches (bilinear, aspect ratios within the area's share);
open_clip_train reads, decodes and tokenises its shards in every epoch (webdataset), and crops image
by image (bicubic, aspect ratios 3/4 to 4/3). It runs with one line mended, without which it stops
at the end of the first shard under webdataset 1.0 (openclip_side.py)."""

SIDES = {"clipgen": train_clipgen, "open_clip": train_openclip}
PARTS = ("whole", "step", "loader")
CORES = 2


@dataclass(frozen=True)
class Case:
    """One contest.

    Attributes:
        model: name in configs/models.
        pixels: of the images.
        batch_size: pairs of a step.
        epochs: of the timed runs; the first does not count.
        goal: ratio of pairs/s to reach; 0 where none is set.
    """

    model: str
    pixels: int
    batch_size: int
    epochs: int
    goal: float = 0.0


ON_CPU = (Case("rn-tiny", 32, 64, 3, 4.0), Case("vit-tiny", 32, 64, 3, 2.0))
ON_CUDA = tuple(
    Case(model, pixels, batch, 3)
    for pixels, batch in ((64, 1024), (224, 512))
    for model in ("vit-b-16", "rn50")
)


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        rounds: alternations, each with a seed of its own.
        epochs: of a run; 0: the case's own.
        short: steps of an epoch where not the whole dataset is wanted; 0: the whole.
        pilot: steps of an epoch of the pilot.
    """

    rounds: int
    epochs: int
    short: int
    pilot: int


FULL, QUICK = Size(5, 0, 100, 100), Size(1, 2, 20, 8)


def setups(side: str, device: str, size: Size) -> list[Setup]:
    """What the pilot of a side tries; a quick one tries workers alone."""
    if device == "cuda":
        workers = (4, 8, 16) if side == "open_clip" else (0,)
        return [Setup(4, w, "bf16", compiled) for w in workers for compiled in (False, True)]
    if size == QUICK:
        return [Setup(1, w) for w in ((0, 1) if side == "open_clip" else (0,))]
    if side == "open_clip":
        tried = [Setup(t, w) for w in (0, 1) for t in range(1, CORES + 1)]
        tried += [Setup(t, 1, "fp32", True) for t in range(1, CORES + 1)]
        return [*tried, *([Setup(1, 1, "bf16")] if in_own_process(has_bf16) else [])]
    precisions = ("fp32", "bf16") if in_own_process(has_bf16) else ("fp32",)
    more = [Setup(CORES, 0, p, compiled) for p in precisions for compiled in (False, True)]
    return [Setup(1, 0), *more]


def has_bf16() -> bool:
    """Whether clipgen takes bf16 on this processor by itself."""
    import torch

    from gen.device import pick_precision
    from gen.schema import Precision

    return pick_precision(Precision.auto, torch.device("cpu"))[0] is Precision.bf16


def pilot(contest: Contest, size: Size) -> dict[str, Setup]:
    """The fastest setup of each side, over one short epoch after another."""
    best = {}
    for side, train in SIDES.items():
        rates = {}
        for setup in setups(side, contest.device, size):
            done = train(contest, setup, seed=0, epochs=2, steps=setup.whole(size.pilot))
            rates[setup] = done.rate.pairs_per_second
            print(f"  pilot {side:<10} {setup}: {rates[setup]:8,.0f} pairs/s", flush=True)
        best[side] = max(rates, key=rates.__getitem__)
    return best


def play(contest: Contest, case: Case, size: Size, best: dict[str, Setup]) -> dict[str, Any]:
    """All rounds: per side and part the rates, and where the trained models are.

    The parts alone are measured in the first round.
    """
    steps = best["open_clip"].whole(size.short or contest.steps)
    epochs = size.epochs or case.epochs
    few = best["open_clip"].whole(min(steps, size.pilot))
    rates: dict[str, dict[str, list[Any]]] = {s: {p: [] for p in PARTS} for s in SIDES}
    trained: dict[str, list[Training]] = {side: [] for side in SIDES}
    for seed in range(size.rounds):
        for side in sorted(SIDES, reverse=bool(seed % 2)):  # who goes first takes turns
            for part in PARTS if seed == 0 else ("whole",):
                long = (epochs, steps) if part == "whole" else (2, few)
                done = SIDES[side](
                    contest, best[side], seed=seed, epochs=long[0], steps=long[1], part=part
                )
                rates[side][part].append(done.rate)
                if part == "whole":
                    trained[side].append(done)
    return {"rates": rates, "trained": trained, "samples": epochs * steps * case.batch_size}


def score(contest: Contest, best: dict[str, Setup], played: dict[str, Any]) -> dict[str, list]:
    """Zero-shot accuracy of every trained model on the test split, by side."""
    overrides = our_overrides(best["clipgen"], played["samples"])
    ours, theirs = (played["trained"][side] for side in SIDES)
    return {
        "clipgen": [
            in_own_process(score_clipgen, contest, overrides, seed, training.weights)
            for seed, training in enumerate(ours)
        ],
        "open_clip": [
            in_own_process(score_openclip, contest, training.weights) for training in theirs
        ],
    }


def figures(played: dict[str, Any], case: Case) -> dict[str, Any]:
    """Medians over the rounds, and the ratio of each round's pairs/s."""
    table: dict[str, Any] = {}
    for side, parts in played["rates"].items():
        rows = {part: [asdict(rate) for rate in rates] for part, rates in parts.items()}
        table[side] = {
            part: {key: median(row[key] for row in rows[part]) for key in rows[part][0]}
            for part in PARTS
        }
        table[side]["rounds"] = [row["pairs_per_second"] for row in rows["whole"]]
    pairs = zip(table["clipgen"]["rounds"], table["open_clip"]["rounds"], strict=True)
    ratios = [ours / theirs for ours, theirs in pairs]
    return table | {
        "samples": played["samples"],
        "ratios": ratios,
        "ratio": median(ratios),
        "goal": case.goal,
    }


def difference(accuracies: dict[str, list[float]]) -> tuple[float, float, float]:
    """Mean difference of accuracy (clipgen - open_clip), and Welch's 95 % interval over seeds."""
    from scipy.stats import ttest_ind

    ours, theirs = accuracies["clipgen"], accuracies["open_clip"]
    interval = ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
    return mean(ours) - mean(theirs), float(interval.low), float(interval.high)


def show(table: dict[str, Any]) -> None:
    """Print the figures of a case."""
    rows = [
        ("pairs/s", "whole", "pairs_per_second", "{:,.0f}"),
        ("  its step alone", "step", "pairs_per_second", "{:,.0f}"),
        ("  its loader alone", "loader", "pairs_per_second", "{:,.0f}"),
        ("CPU s per 1,000 pairs", "whole", "cpu_per_1000", "{:.2f}"),
        ("  its step alone", "step", "cpu_per_1000", "{:.2f}"),
        ("  its loader alone", "loader", "cpu_per_1000", "{:.2f}"),
        ("s to the first step", "whole", "first_step", "{:.1f}"),
    ]
    print(f"  {'':<24}{'clipgen':>12}{'open_clip':>12}{'ratio':>8}")
    for label, part, key, form in rows:
        ours, theirs = (table[side][part][key] for side in SIDES)
        values = form.format(ours), form.format(theirs)
        print(f"  {label:<24}{values[0]:>12}{values[1]:>12}{ours / theirs:>8.2f}")
    shares = [waiting(table[side]) for side in SIDES]
    print(f"  {'share of time off steps':<24}{shares[0]:>12.0%}{shares[1]:>12.0%}", flush=True)


def waiting(side: dict[str, Any]) -> float:
    """Share of the wall clock that the whole path takes beyond its steps alone, at least 0."""
    return max(0.0, 1 - side["whole"]["pairs_per_second"] / side["step"]["pairs_per_second"])


def show_accuracies(accuracies: dict[str, list[float]]) -> None:
    for side, values in accuracies.items():
        spread = f" ± {stdev(values):.2f}" if len(values) > 1 else ""
        print(
            f"  zero-shot accuracy, {side:<10} {mean(values):6.2f}{spread} % ({len(values)} seeds)"
        )


def contend(case: Case, dataset: str, data: Path, folder: Path, size: Size, device: str) -> dict:
    """One case from its pilot to its table."""
    print(f"{case.model}, {case.pixels} px, batch {case.batch_size}, {device}", flush=True)
    contest = prepare(
        folder / f"{case.model}-{case.pixels}",
        case.model,
        dataset,
        data,
        device=device,
        batch_size=case.batch_size,
        seeds=size.rounds,
    )
    towers = in_own_process(check_towers, contest)
    best = pilot(contest, size)
    played = play(contest, case, size, best)
    table = figures(played, case) | {"towers": towers}
    table["setups"] = {side: str(setup) for side, setup in best.items()}
    show(table)
    if device == "cuda":
        for side in SIDES:
            rate = table[side]["whole"]["pairs_per_second"]
            share = in_own_process(utilisation, contest, best[side].precision, rate)
            table[side]["mfu"] = share
            print(f"  model FLOPs utilisation, {side}: {_percent(share)}")
    else:
        table["accuracies"] = score(contest, best, played)
        show_accuracies(table["accuracies"])
        if size.rounds > 1:
            table["difference"] = difference(table["accuracies"])
            shift, low, high = table["difference"]
            print(f"  difference {shift:+.2f} points, 95 % interval [{low:+.2f}, {high:+.2f}]")
    return table


def reached(table: dict[str, Any]) -> bool:
    """Whether the speed is that of the goal, and the accuracy not lower beyond chance."""
    _, _, high = table.get("difference", (0.0, 0.0, 0.0))
    return bool(table["ratio"] >= table["goal"] and high >= 0)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="one short round")
    names = sorted({case.model for case in (*ON_CPU, *ON_CUDA)})
    parser.add_argument("--model", choices=names, help="only this one")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of icons-small")
    options = parser.parse_args()
    if options.device == "cpu":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    print(DIFFERENCES)
    cases = ON_CPU if options.device == "cpu" else ON_CUDA
    models = sorted({case.model for case in cases})
    if options.model:
        if options.model not in models:
            parser.error(f"{options.model} is not measured on {options.device}")
        models = [options.model]
    with tempfile.TemporaryDirectory() as name:
        return max(record_of(options, Path(name), model) for model in models)


def record_of(options: argparse.Namespace, folder: Path, model: str) -> int:
    """Measure a model, and write its record; the exit code."""
    results = contend_all(options, folder, model)
    verdict = "train_vs_openclip: " + "; ".join(map(_sentence, results.items()))
    fine = all(map(reached, results.values()))
    file = f"train_vs_openclip_{model}" + ("_cuda" if options.device == "cuda" else "")
    command = f"python benchmarks/train_vs_openclip.py --model {model}"
    return finish(
        file,
        results,
        verdict,
        fine=fine,
        quick=options.quick,
        device=options.device,
        command=command,
    )


def contend_all(options: argparse.Namespace, folder: Path, model: str) -> dict[str, Any]:
    """The tables of all cases of a model on the device, by name."""
    size, results = QUICK if options.quick else FULL, {}
    cases = ON_CPU if options.device == "cpu" else ON_CUDA
    for case in (case for case in cases if case.model == model):
        if options.device == "cpu":
            dataset, data = "icons-small", build_icons(options.data, folder)
        else:
            dataset, data = build_synthetic(folder, case.pixels, options.quick)
        table = contend(case, dataset, data, folder, size, options.device)
        results[f"{case.model} at {case.pixels} px"] = table
    return results


def _sentence(result: tuple[str, dict[str, Any]]) -> str:
    name, table = result
    goal = f" (goal: {table['goal']:.0f})" if table["goal"] else " (no goal set)"
    return f"{name} {table['ratio']:.2f} times the pairs/s of open_clip_train{goal}"


def _percent(share: float | None) -> str:
    return "not known of this device" if share is None else f"{share:.1%}"


if __name__ == "__main__":
    sys.exit(main())
