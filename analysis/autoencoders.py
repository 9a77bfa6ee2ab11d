"""The sparse autoencoders of a model: trained on a few sites, and what their features tell.

docs/sae.md has the measures and how to read them.

Legend: N images, D domains, C classes, J features, E embedding, V texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from tqdm import tqdm

from analysis.class_sets import ClassSet
from analysis.probes import Activations
from analysis.sae import BatchTopK, fit
from analysis.sae_codes import Coded, Places, coded
from analysis.sae_features import feature_names, feature_rows, top_images
from analysis.sae_sharing import sharing_rows, stability_rows
from gen.schema import SiteLevel

SITE: dict[str, type[pl.DataType]] = {"site": pl.String, "level": pl.String, "depth": pl.Int64}
FEATURES: dict[str, pl.DataType | type[pl.DataType]] = {
    **SITE,
    **{"seed": pl.Int64, "feature": pl.Int64, "rate": pl.Float64},
    **{"domain_entropy": pl.Float64, "domain_entropy_chance": pl.Float64},
    **{"class_entropy": pl.Float64, "class_entropy_chance": pl.Float64},
    **{"p_domain": pl.Float64, "p_class": pl.Float64, "kind": pl.String},
    **{"top_domain": pl.String, "top_class": pl.String},
    **{"name": pl.String, "name_cosine": pl.Float64},
    **{"top_images": pl.List(pl.String), "note": pl.String},
}
SHARING: dict[str, type[pl.DataType]] = {
    **SITE,
    **{"seed": pl.Int64, "domain_a": pl.String, "domain_b": pl.String},
    **{"draw": pl.Int64, "classes": pl.String, "measure": pl.String, "k": pl.Int64},
    **{"value": pl.Float64, "lo": pl.Float64, "hi": pl.Float64, "n": pl.Int64},
    **{"chance": pl.Float64, "ceiling": pl.Float64, "floor": pl.Float64},
    **{"r2_a": pl.Float64, "r2_b": pl.Float64, "note": pl.String},
}


@dataclass(frozen=True)
class SaePlan:
    """Which autoencoders are trained at a site.

    Attributes:
        seeds: one autoencoder each.
        k: positive codes per image, on average; where a site has few units a quarter of them.
        factor: features per unit.
        steps: batches of the training.
    """

    seeds: tuple[int, ...] = (0, 1, 2)
    k: int = 16
    factor: int = 4
    steps: int = 600

    def active(self, units: int) -> int:
        """k at a site with so many units."""
        return max(1, min(self.k, units // 4))


def early_middle_last(sites: Sequence[str]) -> list[str]:
    """The first, middle and last of the sites; fewer where there are fewer."""
    return list(dict.fromkeys([sites[0], sites[len(sites) // 2], sites[-1]]))


def sae_tables(
    pool: Activations,
    tested: Activations,
    domains: Sequence[str],
    classes: Sequence[str],
    sets: Sequence[ClassSet],
    texts: tuple[Sequence[str], np.ndarray] | None = None,
    plan: SaePlan | None = None,
    device: torch.device | None = None,
    bar: tqdm | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Train the autoencoders of a model, and compare the domains in their features.

    Args:
        pool: activations that the autoencoders learn, `class_id` the position in `classes`.
        tested: those of test images; of every cell two at least. Its last site is the embedding.
        domains: names along D, two or more.
        classes: names along C, two or more.
        sets: of classes over which sharing is averaged.
        texts: names and embeddings [V, E] by which the features of the last site are named; None
            of a model that reads no texts.
        plan: which autoencoders; None: the default.
        device: where to train; None: the processor.
        bar: advanced by one per autoencoder.

    Returns:
        docs/formats.md: sae.parquet (a row per site, seed and feature) and sae_sharing.parquet.

    Raises:
        ValueError: an image stands in both, a cell has fewer than two test images, there are
            fewer than two domains or classes, or texts that are no embeddings of the last site.
    """
    plan, device = plan or SaePlan(), device or torch.device("cpu")
    places = _places(tested, domains, classes)
    _check(pool, tested, places, texts)
    learnt = _places(pool, domains, classes)
    sites = list(tested.sites)
    features, sharing = [], []
    for site in early_middle_last(sites):
        depth, decoders = sites.index(site), {}
        where = {"site": site, "level": SiteLevel.residual.value, "depth": depth}
        for seed in plan.seeds:
            sae = _fitted(pool.sites[site], learnt, plan, seed, device)
            shown = coded(sae, tested.sites[site], places)
            rng = np.random.default_rng([seed, depth])
            table = feature_rows(shown.codes, places, domains, classes, rng)
            named = _described(table, sae, shown, tested, texts if site == sites[-1] else None)
            place = where | {"seed": seed}
            features.append(named.with_columns(pl.lit(v).alias(key) for key, v in place.items()))
            sharing += [place | row for row in sharing_rows(shown, places, domains, sets)]
            decoders[seed] = sae.decoder.cpu().numpy()[table["rate"].to_numpy() > 0]
            if bar is not None:
                bar.update()
        rng = np.random.default_rng([len(plan.seeds), depth])
        sharing += [where | row for row in stability_rows(decoders, rng)]
    whole = pl.concat([table.select(list(FEATURES)).cast(FEATURES) for table in features])  # type: ignore[arg-type]
    return whole, pl.DataFrame(sharing, schema=SHARING)


def _places(activations: Activations, domains: Sequence[str], classes: Sequence[str]) -> Places:
    names = activations.samples["domain"].replace_strict(list(domains), range(len(domains)))
    return Places(names.to_numpy(), activations.labels, len(domains), len(classes))


def _check(
    pool: Activations,
    tested: Activations,
    places: Places,
    texts: tuple[Sequence[str], np.ndarray] | None,
) -> None:
    if set(pool.samples["id"]) & set(tested.samples["id"]):
        raise ValueError("images that autoencoders learn are tested, too")
    if min(places.domains, places.classes) < 2:
        raise ValueError(f"{places.domains} domains, {places.classes} classes: nothing to compare")
    if places.sizes.min() < 2:
        raise ValueError("every (domain, class) cell needs at least two test images")
    units = list(tested.sites.values())[-1].shape[1]
    if texts is not None and texts[1].shape != (len(texts[0]), units):
        raise ValueError(f"text embeddings of shape {texts[1].shape} for {units} units")


def _fitted(
    x_NU: np.ndarray, places: Places, plan: SaePlan, seed: int, device: torch.device
) -> BatchTopK:
    units = x_NU.shape[1]
    return fit(
        x_NU,
        places.cell_N,
        k=plan.active(units),
        features=plan.factor * units,
        steps=plan.steps,
        seed=seed,
        device=device,
    )


def _described(
    table: pl.DataFrame,
    sae: BatchTopK,
    shown: Coded,
    tested: Activations,
    texts: tuple[Sequence[str], np.ndarray] | None,
) -> pl.DataFrame:
    """With the images of every feature and, where there are texts, its name if it ever fires."""
    images = pl.Series("top_images", top_images(shown.codes, tested.samples["id"].to_list()))
    nothing = pl.lit(None)
    if texts is None:
        return table.with_columns(images, name=nothing, name_cosine=nothing)
    names, cosines = feature_names(sae.decoder.cpu().numpy(), *texts)
    fires = pl.col("rate") > 0
    return table.with_columns(
        images,
        name=pl.when(fires).then(pl.Series(names)),
        name_cosine=pl.when(fires).then(pl.Series(cosines)),
    )
