"""Whether a boundary between classes that is drawn in one domain holds in another.

At every site a linear discriminant is fitted on images of one domain and tested on those of all;
docs/transfer.md has the protocol.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl
from tqdm import tqdm

from analysis.class_sets import ClassSet
from analysis.discriminant import (
    FEWEST_IMAGES,
    equal_cells,
    fit_discriminant,
    reduction,
    smallest_cell,
)
from analysis.probes import Activations
from analysis.scores import class_set_scores, unscored
from gen.schema import SiteLevel

TRANSFER: dict[str, type[pl.DataType]] = {
    **{"site": pl.String, "level": pl.String, "depth": pl.Int64, "trained_on": pl.String},
    **{"domain": pl.String, "draw": pl.Int64, "classes": pl.String, "value": pl.Float64},
    **{"lo": pl.Float64, "hi": pl.Float64, "n": pl.Int64, "n_classes": pl.Int64},
    **{"chance": pl.Float64, "within": pl.Float64, "note": pl.String},
}


def class_transfer(
    pool: Activations,
    tested: Activations,
    domains: Sequence[str],
    class_sets: Sequence[ClassSet],
    bar: tqdm | None = None,
) -> pl.DataFrame:
    """Accuracy of every domain's discriminant in every domain, per site and set of classes.

    Every fit sees equally many images of every class, in every domain those of the smallest cell of
    all. `within` is the accuracy, on the same test images, of the discriminant that was fitted on
    their own domain: value / within is the transfer ratio T.

    Args:
        pool: images to fit on, of every domain and class (`class_id`).
        tested: test images.
        domains: names of all domains.
        class_sets: of class ids; the first holds all classes, among which every answer is.
        bar: advanced by one per fit.

    Raises:
        ValueError: an image stands in both.
    """
    if set(pool.samples["id"]) & set(tested.samples["id"]):
        raise ValueError("images on which discriminants are fitted are tested, too")
    count = len(class_sets[0].members)
    images = smallest_cell(pool.samples, len(domains), count)
    equal = equal_cells(pool, images)
    parts = {domain: (equal.of(domain), tested.of(domain)) for domain in domains}
    rows = []
    for depth, site in enumerate(pool.sites):
        key = {"site": site, "level": SiteLevel.residual.value, "depth": depth}
        if images < FEWEST_IMAGES:
            found = _unfitted(images, domains, class_sets)
        else:
            found = _scores(site, parts, class_sets, bar)
        rows += [key | {"chance": 1 / count} | row for row in found]
    return pl.DataFrame(rows, schema=TRANSFER)


def _scores(
    site: str,
    parts: dict[str, tuple[Activations, Activations]],
    class_sets: Sequence[ClassSet],
    bar: tqdm | None,
) -> list[dict]:
    """Rows of all pairs of domains at one site."""
    rows = []
    for trained_on, (shown, _) in parts.items():
        model = fit_discriminant(shown.sites[site], shown.labels)
        limits = reduction(shown.sites[site].shape[1])
        for domain, (_, asked) in parts.items():
            right = model.predict(asked.sites[site]) == asked.labels
            for row in class_set_scores(right, asked.labels, class_sets):
                noted = row | {"note": row["note"] or limits}
                rows.append({"trained_on": trained_on, "domain": domain, **noted})
        if bar is not None:
            bar.update()
    own = {
        (row["domain"], row["draw"], row["classes"]): row["value"]
        for row in rows
        if row["trained_on"] == row["domain"]
    }
    return [row | {"within": own[row["domain"], row["draw"], row["classes"]]} for row in rows]


def _unfitted(images: int, domains: Sequence[str], class_sets: Sequence[ClassSet]) -> list[dict]:
    note = f"a cell has {images} images to fit on, not {FEWEST_IMAGES}"
    return [
        {"trained_on": a, "domain": b, "draw": chosen.draw, "classes": chosen.name}
        | {"within": None, **unscored(note)}
        for a in domains
        for b in domains
        for chosen in class_sets
    ]
