"""How long do all pairs of domains take at all sites of a network?

    python benchmarks/similarity.py [--quick]

Side by side, on the same class means: unbiased CKA of every pair of domains at every site with its
interval (the delete-one-class jackknife), by clipgen and by a loop over pairs that calls a library
(pytorch-cka) for every number. Both must find the same values and the same intervals. The goal is
for this.

Then the whole way, for an untrained small ResNet and an untrained small ViT on the test images of
icons-small: images to class means, class means to the whole table: ten measures with intervals,
chance and ceilings, for all classes and for the seen and the held-out ones of a draw.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

sys.path[0] = str(Path(__file__).parent.parent)  # `analysis.similarity` is not this file

from benchmarks.measured import finish, in_own_process
from benchmarks.synthetic import build_icons

CLASSES, CLASSES_QUICK = 75, 20
DOMAINS = 6
UNITS = (24, 48, 96, 192, 384, 128)
"""of the small ResNet's sites"""
REPEATS = 5
HELD_OUT = 15
MODELS = ("rn-tiny", "vit-tiny")
GOAL_TIMES, GOAL_SECONDS = 20, 60.0


def class_means(classes: int) -> list[np.ndarray]:
    """Per site related class means of all domains, [D, C, U]: no CKA is below 0."""
    rng = np.random.default_rng(0)
    sites = []
    for units in UNITS:
        common = rng.normal(size=(1, classes, units))
        sites.append(common + rng.normal(size=(DOMAINS, classes, units)))
    return sites


def ours(sites: list[np.ndarray], intervals: bool) -> np.ndarray:
    """Value (and lo and hi) of every pair at every site, [sites, pairs, 1 or 3]."""
    from analysis.similarity import LINEAR, cosine

    a, b = np.triu_indices(DOMAINS, 1)
    found = []
    for means in sites:
        kernels = LINEAR.describe(means)
        own = LINEAR.own(kernels)
        share = LINEAR.share(means.shape[1])
        pairs = cosine(LINEAR.rows(kernels[a], kernels[b]), own[a], own[b], share)
        ends = pairs.interval() if intervals else ()
        found.append(np.stack([pairs.value, *ends], axis=-1))
    return np.stack(found)


def instead(sites: list[np.ndarray], intervals: bool) -> np.ndarray:
    """The same, number by number."""
    import torch
    from cka import cka_from_features
    from scipy.stats import t

    def cka(x: torch.Tensor, y: torch.Tensor) -> float:
        return cka_from_features(x, y).item()

    found = []
    for means in sites:
        for x, y in combinations(torch.from_numpy(means), 2):
            count, value = len(x), cka(x, y)
            if not intervals:
                found.append((value,))
                continue
            others = [torch.arange(count) != gone for gone in range(count)]
            left_out = np.array([cka(x[kept], y[kept]) for kept in others])
            error = np.sqrt((count - 1) * left_out.var())
            half = t.ppf(0.975, count - 1) * error
            found.append((value, value - half, value + half))
    return np.array(found).reshape(len(sites), -1, len(found[0]))


def timed(side: str, classes: int, intervals: bool) -> tuple[float, np.ndarray]:
    """Shortest of several times of one side (of its long work one), and what it found."""
    sites, work = class_means(classes), {"ours": ours, "instead": instead}[side]
    work([means[:, :8] for means in sites], intervals)  # imports
    times = []
    for _ in range(1 if side == "instead" and intervals else REPEATS):
        start = time.perf_counter()
        found = work(sites, intervals)
        times.append(time.perf_counter() - start)
    return min(times), found


def compared(classes: int, intervals: bool) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Seconds of both sides, each in a process of its own, and what they found."""
    seconds, found = {}, {}
    for side in ("ours", "instead"):
        seconds[side], found[side] = in_own_process(timed, side, classes, intervals)
    return seconds, found


def whole_way(model: str, data: Path) -> dict[str, Any]:
    """Seconds from images to the table of an untrained model."""
    from analysis.cells import cell_means
    from analysis.class_sets import class_sets
    from analysis.domain_similarity import domain_similarity
    from analysis.probe_features import image_batches
    from analysis.subject import compared_samples
    from gen.config import load_config
    from gen.datasets.samples import load_dataset
    from gen.device import pick_device
    from gen.models.clip import build_clip
    from gen.models.trained import Learner
    from gen.models.vocabulary import build_vocabulary

    dataset, device = load_dataset("icons-small", data), pick_device()
    classes, pixels = dataset.comparable_classes, dataset.pixels
    vocabulary = build_vocabulary(sorted(dataset.samples["caption"].unique()))
    clip = build_clip(load_config("models", model), vocabulary, pixels, seed=0)
    learner = Learner(clip, None, pixels=pixels)
    samples = compared_samples(dataset.samples, "test", classes)
    start = time.perf_counter()
    batches = image_batches(dataset.folder, samples, pixels, device)
    cells = cell_means(learner, batches, samples, dataset.domains, classes, device)
    read = time.perf_counter()
    table = domain_similarity(cells, class_sets(classes, {0: classes[:HELD_OUT]}))
    end = time.perf_counter()
    return {
        "images": samples.height,
        "sites": len(cells.folds),
        "rows": table.height,
        "seconds to class means": read - start,
        "seconds to the table": end - read,
        "seconds": end - start,
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="20 classes")
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of all datasets")
    options = parser.parse_args()
    classes = CLASSES_QUICK if options.quick else CLASSES
    alone, _ = compared(classes, intervals=False)
    seconds, found = compared(classes, intervals=True)
    apart = float(np.abs(found["ours"] - found["instead"]).max())
    if apart > 1e-9:
        print(f"the two sides differ by up to {apart:.1e}", file=sys.stderr)
        return 1
    times = seconds["instead"] / seconds["ours"]
    numbers = found["ours"][..., 0].size
    print(f"{numbers} values of {classes} classes; both sides agree to {apart:.1e}")
    for side, name in (("ours", "clipgen"), ("instead", "pytorch-cka")):
        print(f"  {name:<12} {seconds[side]:9.4f} s, without intervals {alone[side]:9.4f} s")
    with tempfile.TemporaryDirectory() as folder:
        data = build_icons(options.data, Path(folder))
        runs = {model: in_own_process(whole_way, model, data) for model in MODELS}
    for model, run in runs.items():
        print(
            f"{model}: {run['images']:,} images, {run['sites']} sites, {run['rows']:,} rows: "
            f"{run['seconds to class means']:.1f} s + {run['seconds to the table']:.1f} s"
        )
    slowest = max(run["seconds"] for run in runs.values())
    verdict = (
        f"similarity: {times:,.0f} times as fast as a loop over pairs (goal: ≥ {GOAL_TIMES}), "
        f"{slowest:.1f} s per model of icons-small (goal: < {GOAL_SECONDS:.0f} s)"
    )
    results = {
        "classes": classes,
        "values": numbers,
        "apart": apart,
        "seconds": seconds,
        "seconds without intervals": alone,
        "times": times,
        "models": runs,
    }
    fine = times >= GOAL_TIMES and slowest < GOAL_SECONDS
    return finish("similarity", results, verdict, fine=fine, quick=options.quick)


if __name__ == "__main__":
    sys.exit(main())
