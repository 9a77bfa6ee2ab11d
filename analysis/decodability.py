"""Whether the domain of an image can be read off a layer, and along which directions.

A probe for the domain is fitted on images of one half of the classes and tested on the other half,
so that it cannot know a class by its domain. docs/transfer.md has the protocol.

Legend: D domains, C classes, N images, U units, K directions of a subspace, R random draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import t

from analysis.discriminant import (
    FEWEST_IMAGES,
    equal_cells,
    fit_discriminant,
    reduction,
    smallest_cell,
)
from analysis.jackknife import CONFIDENCE, Scored, jackknife
from analysis.probes import Activations
from analysis.statistics import Refused
from gen.evaluation.metrics import wilson
from gen.schema import SiteLevel

CONTROLS = 3
"""draws of the control task's labels"""
RANDOM_SUBSPACES = 200
MOST_IMAGES = 4000
"""out of which random directions are made"""
GROUPS = 20
"""of classes, in the jackknife of subspaces"""
FEWEST_CLASSES = 4
"""two for each half"""
QUANTITIES = (
    *("domain_accuracy", "control_accuracy", "selectivity"),
    *("subspace_cosine", "largest_subspace_cosine"),
)
DECODABILITY: dict[str, type[pl.DataType]] = {
    **{"site": pl.String, "level": pl.String, "depth": pl.Int64, "quantity": pl.String},
    **{"value": pl.Float64, "lo": pl.Float64, "hi": pl.Float64, "n": pl.Int64},
    **{"chance": pl.Float64, "chance_lo": pl.Float64, "chance_hi": pl.Float64},
    **{"note": pl.String},
}


def domain_decodability(
    pool: Activations, tested: Activations, domains: Sequence[str], seed: int
) -> pl.DataFrame:
    """The domain probe with its control task, and the overlap of class and domain subspaces.

    Args:
        pool: images to fit on, equally many of every cell are taken.
        tested: test images, of the same domains and classes (`class_id`).
        domains: names of all domains, two or more.
        seed: of the halves of classes, the control labels and the random subspaces.

    Raises:
        ValueError: an image stands in both.
    """
    if set(pool.samples["id"]) & set(tested.samples["id"]):
        raise ValueError("images on which probes are fitted are tested, too")
    classes = np.unique(np.concatenate([pool.labels, tested.labels]))
    images = min(smallest_cell(x.samples, len(domains), len(classes)) for x in (pool, tested))
    rng = np.random.default_rng(seed)
    task = None
    if images >= FEWEST_IMAGES and len(classes) >= FEWEST_CLASSES:
        shown = equal_cells(pool, smallest_cell(pool.samples, len(domains), len(classes)))
        task = _task(shown, tested, domains, classes, rng)
    rows = []
    for depth, site in enumerate(pool.sites):
        key = {"site": site, "level": SiteLevel.residual.value, "depth": depth}
        if task is None:
            note = f"{len(classes)} classes, {images} images of the smallest cell"
            found = list(_empty(f"too few for a probe: {note}"))
        else:
            found = [*_probe_rows(task, site), *_subspace_rows(task, site, rng)]
        rows += [key | {"n": len(classes)} | row for row in found]
    return pl.DataFrame(rows, schema=DECODABILITY)


def _empty(note: str) -> Iterator[dict]:
    for quantity in QUANTITIES:
        yield {"quantity": quantity, **Scored(None, None, None, note)._asdict()}


@dataclass(frozen=True)
class _Task:
    """Which labels are fitted on which images, and what they are tested on.

    Attributes:
        shown: images to fit on, equally many of every cell.
        tested: test images.
        classes: of the images of either, positions along C, int [N].
        domains: of the images of either, positions along D, int [N].
        controls: labels of the control task for the images of either, CONTROLS times.
        first: which classes are the first half, bool [C].
        shape: D and C.
    """

    shown: Activations
    tested: Activations
    classes: tuple[np.ndarray, np.ndarray]
    domains: tuple[np.ndarray, np.ndarray]
    controls: list[tuple[np.ndarray, np.ndarray]]
    first: np.ndarray
    shape: tuple[int, int]


def _task(
    shown: Activations,
    tested: Activations,
    domains: Sequence[str],
    classes: np.ndarray,
    rng: np.random.Generator,
) -> _Task:
    first = rng.permutation(len(classes)) < len(classes) // 2
    numbers = {name: number for number, name in enumerate(domains)}

    def of_domains(images: Activations) -> np.ndarray:
        return np.array([numbers[name] for name in images.samples["domain"]])

    class_labels = np.searchsorted(classes, shown.labels), np.searchsorted(classes, tested.labels)
    domain_labels = of_domains(shown), of_domains(tested)
    controls = [_control(shown, tested, len(domains), rng) for _ in range(CONTROLS)]
    shape = (len(domains), len(classes))
    return _Task(shown, tested, class_labels, domain_labels, controls, first, shape)


def _control(
    shown: Activations, tested: Activations, domains: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A random domain for every instance of a class, in place of the true one.

    As in Hewitt & Liang (2019) a type of image has one label, which has nothing to do with what
    the image shows: whatever a probe scores here, it scores without the representation's help.
    """
    both = pl.concat([x.samples.select("class_id", "instance") for x in (shown, tested)])
    types = both.select(pl.struct("class_id", "instance").rank("dense")).to_series().to_numpy() - 1
    labels = rng.integers(domains, size=int(types.max()) + 1)[types]
    return labels[: shown.samples.height], labels[shown.samples.height :]


def _probe_rows(task: _Task, site: str) -> Iterator[dict]:
    """Accuracy of the probe and of its control, and how much the first is above the second."""
    chance = 1 / task.shape[0]
    found_C = _class_accuracies(task, site, task.domains)
    draws_RC = np.stack([_class_accuracies(task, site, labels) for labels in task.controls])
    control_C = draws_RC.mean(axis=0)
    error = float(np.sqrt(draws_RC.var(axis=1, ddof=1).mean() / len(found_C)))
    half = float(t.ppf(0.5 + CONFIDENCE / 2, len(found_C) - 1)) * error
    band = {"chance": chance, "chance_lo": max(0.0, chance - half), "chance_hi": chance + half}
    images, note = task.tested.samples.height, reduction(task.shown.sites[site].shape[1])
    for quantity, values_C in (("domain_accuracy", found_C), ("control_accuracy", control_C)):
        scored = _share(values_C, images)._replace(note=note)
        yield {"quantity": quantity, **scored._asdict(), **band}
    gain_C = found_C - control_C
    scored = jackknife(lambda kept: float(gain_C[kept].mean()), len(gain_C))
    band = {"chance": 0.0, "chance_lo": -half, "chance_hi": half}
    yield {"quantity": "selectivity", **scored._asdict(), **band} | {"note": scored.note or note}


def _class_accuracies(task: _Task, site: str, labels: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Accuracy on the test images of every class, all domains alike, of the other half's probe."""
    shown, tested = task.shown.sites[site], task.tested.sites[site]
    is_shown_first, is_tested_first = (task.first[found] for found in task.classes)
    right = np.zeros(len(tested))
    for half in (True, False):
        fitted, asked = is_shown_first == half, is_tested_first != half
        model = fit_discriminant(shown[fitted], labels[0][fitted])
        right[asked] = model.predict(tested[asked]) == labels[1][asked]
    return _cells(right[:, None], task.classes[1], task.domains[1], task.shape)[..., 0].mean(axis=0)


def _cells(
    values_NU: np.ndarray, classes: np.ndarray, domains: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Means per cell, float64 [D, C, U]."""
    sums = np.zeros((shape[0] * shape[1], values_NU.shape[1]))
    number = domains * shape[1] + classes
    np.add.at(sums, number, values_NU)
    counts = np.bincount(number, minlength=len(sums))
    return (sums / counts[:, None]).reshape(*shape, -1)


def _share(values_C: np.ndarray, images: int) -> Scored:
    """Mean accuracy of the classes, and Wilson's interval over them.

    Its effective size is that of a sample whose share varies as much as this mean does, p(1 − p) /
    (s²/C), and no more than the number of images: equal classes make nothing certain.
    """
    value = float(values_C.mean())
    variance = float(values_C.var(ddof=1)) / len(values_C)
    size = min(images, value * (1 - value) / variance) if variance > 0 else images
    lo, hi = wilson(np.array([value]), np.array([size]))[:, 0]
    return Scored(value, float(lo), float(hi), "")


def _subspace_rows(task: _Task, site: str, rng: np.random.Generator) -> Iterator[dict]:
    """Cosines of the principal angles between the spans of class means and of domain means.

    The two come from different images, classes from those that are fitted on and domains from test
    images, so that they have no noise in common. K = D − 1 directions of either, of classes those
    of most variance.
    """
    sides = zip((task.shown, task.tested), task.classes, task.domains, strict=True)
    images = [(side.sites[site], classes, domains) for side, classes, domains in sides]
    by_class, by_domain = (_cells(x, c, d, task.shape) for x, c, d in images)
    count = min(task.shape[0] - 1, by_class.shape[2])

    def cosines(kept: np.ndarray) -> np.ndarray | Refused:
        a = _leading(by_class[:, kept].mean(axis=0), count)
        b = _leading(by_domain[:, kept].mean(axis=1), count)
        if len(a) < count or len(b) < count:
            return Refused("the means of classes or of domains do not differ")
        return np.linalg.svd(a @ b.T, compute_uv=False)

    rest = np.concatenate(
        [
            x - cells[domains, classes]
            for (x, classes, domains), cells in zip(images, (by_class, by_domain), strict=True)
        ]
    )
    random_RK = _random_cosines(rest, count, rng)
    for quantity, summary in (("subspace_cosine", np.mean), ("largest_subspace_cosine", np.max)):

        def statistic(kept: np.ndarray, summary: Callable = summary) -> float | Refused:
            found = cosines(kept)
            return found if isinstance(found, Refused) else float(summary(found))

        scored = jackknife(statistic, task.shape[1], GROUPS)
        yield {"quantity": quantity, **scored._asdict(), **_band(summary(random_RK, axis=1))}


def _leading(vectors: np.ndarray, count: int) -> np.ndarray:
    """Orthonormal directions of most variance among the vectors, at most `count`: [K, U]."""
    _, sizes, basis = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
    rounding = max(vectors.shape) * np.finfo(np.float32).eps * np.abs(vectors).max()
    return basis[:count][sizes[:count] > rounding]


def _random_cosines(rest_NU: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The same cosines between two random subspaces, [R, K].

    Their directions are random sums of how images differ from the mean of their cell: a layer in
    which few directions hold most of the variance has these in every subspace, and would show an
    overlap of anything with anything beside directions that are drawn evenly.
    """
    chosen = rng.permutation(len(rest_NU))[:MOST_IMAGES]
    sums = rng.normal(size=(RANDOM_SUBSPACES * 2 * count, len(chosen))) @ rest_NU[chosen]
    bases = np.linalg.qr(sums.reshape(RANDOM_SUBSPACES, 2, count, -1).swapaxes(2, 3))[0]
    return np.linalg.svd(bases[:, 0].swapaxes(1, 2) @ bases[:, 1], compute_uv=False)


def _band(random: np.ndarray) -> dict:
    lo, hi = np.quantile(random, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return {"chance": float(random.mean()), "chance_lo": float(lo), "chance_hi": float(hi)}
