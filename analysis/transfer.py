"""Whether a boundary between classes that is drawn in one domain holds in another.

At every site a linear discriminant is fitted on images of one domain and tested on those of all;
docs/transfer.md has the protocol.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from tqdm import tqdm

from analysis.class_sets import ClassSet
from analysis.discriminant import (
    Fitted,
    equal_cells,
    fit_discriminant,
    fitted_classes,
    reading,
    reduction,
)
from analysis.probes import Activations
from analysis.scores import class_set_scores, unscored
from analysis.statistics import Refused
from gen.schema import SiteLevel

TRANSFER: dict[str, type[pl.DataType]] = {
    **{"site": pl.String, "level": pl.String, "depth": pl.Int64, "trained_on": pl.String},
    **{"domain": pl.String, "draw": pl.Int64, "classes": pl.String, "value": pl.Float64},
    **{"lo": pl.Float64, "hi": pl.Float64, "n": pl.Int64, "n_classes": pl.Int64},
    **{"chance": pl.Float64, "within": pl.Float64, "note": pl.String},
}


class _Part(NamedTuple):
    """Which images of a domain are fitted on (of the pool) and tested (of the others), bool [N]."""

    domain: str
    shown: np.ndarray
    asked: np.ndarray


def class_transfer(
    pool: Activations,
    tested: Activations,
    domains: Sequence[str],
    class_sets: Sequence[ClassSet],
    bar: tqdm | None = None,
) -> pl.DataFrame:
    """Accuracy of every domain's discriminant in every domain, per site and set of classes.

    Every fit sees equally many images of every class, in every domain those of the smallest cell of
    all. Classes that have too few in some domain are no part of it, neither as images nor as
    answers; `note` names them. `within` is the accuracy, on the same test images, of the
    discriminant that was fitted on their own domain: value / within is the transfer ratio T.

    Args:
        pool: images to fit on, of every domain and class (`class_id`).
        tested: test images.
        domains: names of all domains.
        class_sets: of class ids; the first holds all classes.
        bar: advanced by one per fit.

    Raises:
        ValueError: an image stands in both.
    """
    if set(pool.samples["id"]) & set(tested.samples["id"]):
        raise ValueError("images on which discriminants are fitted are tested, too")
    fitted = fitted_classes(pool.samples, domains, class_sets[0].members)
    parts, count = [], len(class_sets[0].members)
    if not isinstance(fitted, Refused):
        parts, count = _parts(pool, tested, domains, fitted), len(fitted.classes)
    rows = []
    for depth, site in enumerate(pool.sites):
        key = {"site": site, "level": SiteLevel.residual.value, "depth": depth}
        if isinstance(fitted, Refused):
            found = _unfitted(fitted.reason, domains, class_sets)
        else:
            found = _scores(site, (pool, tested), parts, fitted.note, class_sets, bar)
        rows += [key | {"chance": 1 / count} | row for row in found]
    return pl.DataFrame(rows, schema=TRANSFER)


def _parts(
    pool: Activations, tested: Activations, domains: Sequence[str], fitted: Fitted
) -> list[_Part]:
    """By domain, of the classes that are fitted."""
    asked = tested.samples["class_id"].is_in(fitted.classes).to_numpy()
    equal = equal_cells(pool.samples, fitted)
    return [
        _Part(
            domain,
            equal & (pool.samples["domain"] == domain).to_numpy(),
            asked & (tested.samples["domain"] == domain).to_numpy(),
        )
        for domain in domains
    ]


def _scores(
    site: str,
    images: tuple[Activations, Activations],
    parts: Sequence[_Part],
    note: str,
    class_sets: Sequence[ClassSet],
    bar: tqdm | None,
) -> list[dict]:
    """Rows of all pairs of domains at one site."""
    pool, tested = images
    shown, asked = pool.sites[site], tested.sites[site]
    limits = "; ".join(filter(None, [note, reduction(shown.shape[1])]))
    rows = []
    for part in parts:
        read = reading(shown[part.shown])
        model = fit_discriminant(read(shown[part.shown]), pool.labels[part.shown])
        for other in parts:
            labels = tested.labels[other.asked]
            right = model.predict(read(asked[other.asked])) == labels
            for row in class_set_scores(right, labels, class_sets):
                noted = row | {"note": "; ".join(filter(None, [row["note"], limits]))}
                rows.append({"trained_on": part.domain, "domain": other.domain, **noted})
        if bar is not None:
            bar.update()
    own = {
        (row["domain"], row["draw"], row["classes"]): row["value"]
        for row in rows
        if row["trained_on"] == row["domain"]
    }
    return [row | {"within": own[row["domain"], row["draw"], row["classes"]]} for row in rows]


def _unfitted(note: str, domains: Sequence[str], class_sets: Sequence[ClassSet]) -> list[dict]:
    return [
        {"trained_on": a, "domain": b, "draw": chosen.draw, "classes": chosen.name}
        | {"within": None, **unscored(note)}
        for a in domains
        for b in domains
        for chosen in class_sets
    ]
