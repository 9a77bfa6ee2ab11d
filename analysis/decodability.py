"""Whether the domain of an image can be read off a layer, and along which directions.

A probe for the domain is fitted on images of one half of the classes and tested on the other half,
so that it cannot know a class by its domain. docs/transfer.md has the protocol.

Legend: D domains, C classes, N images, U units, K components, L sets of labels, R control draws.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.stats import t

from analysis.discriminant import (
    CURE,
    equal_cells,
    fit_discriminant,
    fitted_classes,
    reading,
    reduction,
)
from analysis.jackknife import CONFIDENCE, Scored
from analysis.probes import Activations
from analysis.statistics import Refused
from analysis.subspaces import subspace_overlap
from gen.evaluation.metrics import wilson
from gen.schema import SiteLevel

CONTROLS = 3
"""draws of the control task's labels"""
MOST_IMAGES = 4000
"""whose differences from their cells give the covariance of random directions"""
FEWEST_CLASSES = 4
"""two for each half"""
QUANTITIES = (
    *("domain_accuracy", "control_accuracy"),
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

    Classes that have too few images to fit on in some domain are left out; `note` names them.

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
    rng = np.random.default_rng(seed)
    task = _task(pool, tested, domains, rng)
    rows = []
    for depth, site in enumerate(pool.sites):
        key = {"site": site, "level": SiteLevel.residual.value, "depth": depth}
        if isinstance(task, Refused):
            found, count = list(_empty(task.reason)), len(np.unique(pool.labels))
        else:
            found, count = (
                [*_probe_rows(task, site), *_subspace_rows(task, site, rng)],
                task.shape[1],
            )
        rows += [key | {"n": count} | row for row in found]
    return pl.DataFrame(rows, schema=DECODABILITY)


def _empty(note: str) -> Iterator[dict]:
    for quantity in QUANTITIES:
        yield {"quantity": quantity, **Scored(None, None, None, note)._asdict()}


@dataclass(frozen=True)
class _Task:
    """Which labels are fitted on which images, and what they are tested on.

    Attributes:
        images: to fit on, and test images.
        rows: which of either are looked at, bool [N]: to fit on equally many of every cell.
        classes: of these, positions along C, int [N].
        domains: of these, positions along D, int [N].
        controls: labels of the control task for these, CONTROLS times.
        first: which classes are the first half, bool [C].
        shape: D and C.
        note: which classes are left out.
    """

    images: tuple[Activations, Activations]
    rows: tuple[np.ndarray, np.ndarray]
    classes: tuple[np.ndarray, np.ndarray]
    domains: tuple[np.ndarray, np.ndarray]
    controls: list[tuple[np.ndarray, np.ndarray]]
    first: np.ndarray
    shape: tuple[int, int]
    note: str

    def features(self, site: str) -> tuple[np.ndarray, np.ndarray]:
        """Activations of a site, [N, U] of either."""
        shown, tested = (
            x.sites[site][rows] for x, rows in zip(self.images, self.rows, strict=True)
        )
        return shown, tested


def _task(
    pool: Activations, tested: Activations, domains: Sequence[str], rng: np.random.Generator
) -> _Task | Refused:
    """Refused where too few classes have images enough in every domain."""
    fitted = fitted_classes(pool.samples, domains, np.union1d(pool.labels, tested.labels).tolist())
    if isinstance(fitted, Refused):
        return fitted
    count = len(fitted.classes)
    if count < FEWEST_CLASSES:
        told = f"; {fitted.note}; {CURE}" if fitted.note else ""
        return Refused(f"{count} classes are too few for two halves of a probe's{told}")
    of_class = tested.samples["class_id"].is_in(fitted.classes).to_numpy()
    rows = equal_cells(pool.samples, fitted), of_class
    shown, asked = pool.samples.filter(rows[0]), tested.samples.filter(rows[1])
    numbers = {name: number for number, name in enumerate(domains)}

    def places(table: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Along C and along D."""
        of_domains = np.array([numbers[name] for name in table["domain"]])
        return np.searchsorted(fitted.classes, table["class_id"].to_numpy()), of_domains

    (classes_shown, domains_shown), (classes_asked, domains_asked) = places(shown), places(asked)
    shape = (len(domains), count)
    if len(np.unique(domains_asked * count + classes_asked)) < len(domains) * count:
        return Refused("a domain has no test image of some class")
    controls = [_control(shown, asked, len(domains), rng) for _ in range(CONTROLS)]
    return _Task(
        (pool, tested),
        rows,
        (classes_shown, classes_asked),
        (domains_shown, domains_asked),
        controls,
        rng.permutation(count) < count // 2,
        shape,
        fitted.note,
    )


def _control(
    shown: pl.DataFrame, tested: pl.DataFrame, domains: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A random domain for every instance of a class, in place of the true one.

    As in Hewitt & Liang (2019) a type of image has one label, which has nothing to do with what
    the image shows. Unlike theirs it cannot be memorised, since no type that is tested was fitted
    on: what is measured is the chance of this protocol, not what the probe could learn by heart.
    """
    both = pl.concat([x.select("class_id", "instance") for x in (shown, tested)])
    types = both.select(pl.struct("class_id", "instance").rank("dense")).to_series().to_numpy() - 1
    labels = rng.integers(domains, size=int(types.max()) + 1)[types]
    return labels[: shown.height], labels[shown.height :]


def _probe_rows(task: _Task, site: str) -> Iterator[dict]:
    """Accuracy of the probe and of its control."""
    chance = 1 / task.shape[0]
    units, accuracies_LC = _class_accuracies(task, site)
    found_C, draws_RC = accuracies_LC[0], accuracies_LC[1:]
    error = float(np.sqrt(draws_RC.var(axis=1, ddof=1).mean() / len(found_C)))
    half = float(t.ppf(0.5 + CONFIDENCE / 2, len(found_C) - 1)) * error
    band = {"chance": chance, "chance_lo": max(0.0, chance - half), "chance_hi": chance + half}
    images = int(task.rows[1].sum())
    note = "; ".join(filter(None, [task.note, reduction(units)]))
    for quantity, values_C in zip(QUANTITIES, (found_C, draws_RC.mean(axis=0)), strict=False):
        scored = _share(values_C, images)._replace(note=note)
        yield {"quantity": quantity, **scored._asdict(), **band}


def _class_accuracies(task: _Task, site: str) -> tuple[int, np.ndarray]:
    """Units of the site, and the accuracy of the other half's probe on every class's test images.

    All domains count alike. Of the true labels, then of those of every control: [1 + R, C].
    """
    shown, tested = task.features(site)
    labels = [task.domains, *task.controls]
    is_shown_first, is_tested_first = (task.first[found] for found in task.classes)
    right = np.zeros((len(tested), len(labels)))
    for half in (True, False):
        fitted, asked = is_shown_first == half, is_tested_first != half
        read = reading(shown[fitted])
        shown_NK, tested_NK = read(shown[fitted]), read(tested[asked])
        for column, (known, true) in enumerate(labels):
            model = fit_discriminant(shown_NK, known[fitted])
            right[asked, column] = model.predict(tested_NK) == true[asked]
    cells_DCL = _cells(right, task.classes[1], task.domains[1], task.shape)
    return shown.shape[1], cells_DCL.mean(axis=0).T


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
    """Overlap of class means of images that are fitted on with domain means of test images."""
    sides = list(zip(task.features(site), task.classes, task.domains, strict=True))
    by_class, by_domain = (_cells(*side, task.shape) for side in sides)
    shown = len(sides[0][0])
    chosen = rng.permutation(shown + len(sides[1][0]))[:MOST_IMAGES]
    parts = chosen[chosen < shown], chosen[chosen >= shown] - shown
    rest = [
        x[rows] - cells[domains[rows], classes[rows]]
        for (x, classes, domains), cells, rows in zip(
            sides, (by_class, by_domain), parts, strict=True
        )
    ]
    for row in subspace_overlap(by_class, by_domain, np.concatenate(rest), rng):
        yield row | {"note": row["note"] or task.note}
