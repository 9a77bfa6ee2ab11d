"""How alike images and sentences are at every site, and how far apart (docs/modalities.md).

Sentences are a domain of their own, `analysis.modal_cells.TEXT`, so that the measures of pairs of
domains hold for every image domain and the sentences.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import polars as pl

from analysis.cells import CellMeans
from analysis.circuit_sharing import circuit_sharing
from analysis.class_sets import ClassSet
from analysis.domain_distances import domain_distances
from analysis.domain_similarity import domain_similarity
from analysis.modal_cells import TEXT
from gen.schema import SiteLevel

MEASURES = ("cka", "cka_nc", "s_id", "s_id_nc", "s_rot", "knn")
"""the rows' order"""
SAME_UNITS = ("s_id", "s_id_nc")
"""measures that need one basis for both"""
NO_BASIS = "not estimable: two towers have no basis in common"
RELATIVE = "distance_relative"
QUANTITIES = ("distance", RELATIVE)
UNTRAINED = f"{RELATIVE}_untrained"
NUMBERS = ("value", "lo", "hi")
BANDS = ("chance", "chance_lo", "chance_hi", "ceiling", "floor")


def modality_similarity(
    cells: CellMeans,
    class_sets: Sequence[ClassSet],
    one_basis: Collection[str],
    seed: int | None = 0,
    floor: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Every measure of every image domain with the sentences, at every site.

    Args:
        cells: of images, the last domain that of the sentences (`analysis.modal_cells`).
        class_sets: the sets of classes.
        one_basis: names of the sites whose units are the same for images and sentences: all of one
            tower, the embedding of two.
        seed: of the shuffles behind chance; None: it is not asked for.
        floor: this function's table of the untrained network; None: there is none.

    Returns:
        The columns `analysis.domain_similarity.SIMILARITY`; `domain_b` is TEXT.
    """
    pairs = domain_similarity(cells, class_sets, seed, MEASURES, floor)
    refused = pl.col("measure").is_in(SAME_UNITS) & ~pl.col("site").is_in(list(one_basis))
    return _refused(pairs.filter(domain_b=TEXT), refused, (*NUMBERS, *BANDS, "left_out"))


def modality_distances(
    cells: CellMeans, one_basis: Collection[str], untrained: CellMeans | None = None
) -> pl.DataFrame:
    """How far every two domains lie apart at every site, the sentences among them.

    `distance` and `distance_relative` are those of `analysis.domain_distances`: with the sentences
    it is the modality gap of a layer, in its own units and relative to the spread of images and
    sentences within classes; without, what image domains have between them. Where the untrained
    network is given, `distance_relative_untrained` is its gap: a narrow cone of embeddings makes
    one before any learning (Liang et al. 2022).

    Args:
        cells, one_basis: as of `modality_similarity`.
        untrained: the same cells before training.

    Returns:
        The columns `analysis.domain_distances.MAP_DISTANCES`.
    """
    found = domain_distances(cells).filter(pl.col("quantity").is_in(QUANTITIES))
    if untrained is not None:
        before = domain_distances(untrained).filter(domain_b=TEXT, quantity=RELATIVE)
        found = pl.concat([found, before.with_columns(quantity=pl.lit(UNTRAINED))])
    is_refused = (pl.col("domain_b") == TEXT) & ~pl.col("site").is_in(list(one_basis))
    return _refused(found, is_refused, NUMBERS)


def modality_circuits(
    scores: CellMeans,
    class_sets: Sequence[ClassSet],
    seed: int,
    places: dict[str, tuple[SiteLevel, int]],
) -> pl.DataFrame:
    """Overlap of the nodes of one tower that carry a class in images and in sentences.

    The floor is what images have in common with the sentences of another class: nodes that only one
    modality uses are no part of it, as they would be of a floor within a modality.

    Args:
        scores: what every node contributes, the last domain that of the sentences.
        class_sets: the sets of classes.
        seed: of the shuffles behind chance.
        places: level and depth by site.

    Returns:
        The columns `analysis.domain_similarity.SIMILARITY`; `domain_b` is TEXT.
    """
    found = circuit_sharing(scores, class_sets, seed, places, floor="other_domain")
    return found.filter(domain_b=TEXT)


def _refused(table: pl.DataFrame, refused: pl.Expr, numbers: Sequence[str]) -> pl.DataFrame:
    """Null in the place of numbers for which two towers would need one basis."""
    return table.with_columns(
        *(pl.when(~refused).then(name).alias(name) for name in numbers),
        note=pl.when(refused).then(pl.lit(NO_BASIS)).otherwise("note"),
    )
