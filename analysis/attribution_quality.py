"""How well scores of nodes tell what taking a node away does (docs/attribution.md).

The measure is exact: a node's activations are exchanged for its baseline, and the margin is read
again. That costs one forward pass per node and image, so that nodes of large sites are sampled.

Legend: B batch, D domains, C classes, G groups of positions, U units, N nodes, K some of them, P
height and width in pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import torch
from scipy.stats import norm, rankdata

from analysis.attribution import SCORES, Batch, Score, Scorer, scorer
from analysis.interventions import Baselines, keeping, nodes
from analysis.jackknife import CONFIDENCE
from analysis.readout import Readout
from analysis.sites import Site, taps
from gen.evaluation.embed import batch_size, inputs_of

if TYPE_CHECKING:
    from tqdm import tqdm

    from analysis.held_images import Images
    from gen.models.trained import Learner

MOST_NODES = 200
"""of a site that are taken away one by one"""
AT_A_TIME = 50
"""images whose activations are held for a backward pass"""
TOP = 0.1
"""share of a site's nodes whose overlap is asked for; the published circuits are of this size"""
FEWEST = 4
"""nodes without which there is no interval"""
ROUNDING = 1e-6
"""effects below this share of the mean size of a class score are what float32 makes of none"""
ATTRIBUTION_QUALITY: dict[str, type[pl.DataType]] = {
    **{"site": pl.String, "level": pl.String, "depth": pl.Int64, "score": pl.String},
    **{"baseline": pl.String, "spearman": pl.Float64, "spearman_lo": pl.Float64},
    **{"spearman_hi": pl.Float64, "jaccard": pl.Float64, "n": pl.Int64, "n_images": pl.Int64},
    "note": pl.String,
}


def attribution_quality(
    learner: Learner,
    images: Images,
    domains: Sequence[str],
    readout: Readout,
    base: Baselines,
    origins: torch.Tensor,
    device: torch.device,
    sites: Sequence[Site],
    scores: Sequence[Score] = SCORES,
    most: int = MOST_NODES,
    seed: int = 0,
    bar: tqdm | None = None,
) -> pl.DataFrame:
    """Agreement of scores with exact effects over the nodes of every site, means over all images.

    Args:
        learner: a model with an image tower.
        images: a few of every cell.
        domains: names of the domains, the order of D.
        readout: what the model's answers are read from; the metric is the margin.
        base: what stands in for nodes.
        origins: where paths of inputs begin (`analysis.baselines.mean_images`).
        device: where to compute.
        sites: of the image tower.
        scores: out of SCORES, the order of rows.
        most: nodes of a site whose effects are measured; of more, so many are drawn.
        seed: of the draw.
        bar: advanced by one per site.

    Returns:
        The columns ATTRIBUTION_QUALITY. `spearman` is over nodes, with an interval over such nodes;
        `jaccard` that of the tenths of nodes with the largest scores and effects, whatever their
        sign. A number that cannot be estimated is null, and `note` says why.
    """
    asked = scorer(learner, readout, base, device, sites)
    batches = list(_batches(learner, images, domains, device))
    found = {score: _mean_scores(asked, score, batches, origins) for score in scores}
    none = ROUNDING * _size(asked, batches)
    rng, rows = np.random.default_rng(seed), []
    for site in sites:
        count = nodes(site, base.values[site.name].shape[-1])
        chosen = np.sort(rng.permutation(count)[:most])
        effects = _mean_effects(asked, site, batches, torch.from_numpy(chosen))
        effects[np.abs(effects) < none] = 0.0
        effects = _tied(effects, none)
        key = {"site": site.name, "level": site.level.value, "depth": site.depth}
        key |= {"baseline": base.kind, "n": len(chosen), "n_images": len(images)}
        for score in scores:
            agreed = agreement(found[score][site.name][chosen], effects)
            rows.append(key | {"score": score} | agreed)
        if bar is not None:
            bar.update()
    return pl.DataFrame(rows, schema=ATTRIBUTION_QUALITY)


def _tied(effects_K: np.ndarray, none: float) -> np.ndarray:
    """Effects of which those that differ by rounding are equal, as equal nodes have them."""
    order = np.argsort(effects_K)
    groups = np.cumsum(np.diff(effects_K[order], prepend=effects_K[order[:1]]) > none)
    means = np.bincount(groups, weights=effects_K[order]) / np.bincount(groups)
    return np.asarray(means[groups][np.argsort(order)])


@torch.no_grad()
def exact(asked: Scorer, batch: Batch, site: Site, nodes_K: torch.Tensor) -> torch.Tensor:
    """What the metric of every image loses without single nodes: m − m(node at baseline), [B, K].

    Args:
        asked: the model, its metric and baselines.
        batch: the images.
        site: whose nodes.
        nodes_K: their positions; none twice.
    """
    whole_B = asked.value(asked.model.encode_image(batch.inputs), batch.labels_B)
    together = max(1, batch_size(batch.inputs.shape[-1]) // len(whole_B))
    without = [_without(asked, batch, site, some_K) for some_K in nodes_K.split(together)]
    return (whole_B - torch.cat(without)).T


def _without(asked: Scorer, batch: Batch, site: Site, nodes_K: torch.Tensor) -> torch.Tensor:
    """The metric without single nodes, [K, B]: all images once per node, in one pass."""
    count, images = len(nodes_K), len(batch.inputs)
    total = nodes(site, asked.base.values[site.name].shape[-1])
    kept_KN = torch.ones(count, total, device=batch.inputs.device)
    kept_KN[torch.arange(count), nodes_K] = 0
    values_BGU = asked.base.of(site.name, batch.domains_B, batch.labels_B)
    edit = keeping(
        site, kept_KN.repeat_interleave(images, dim=0), values_BGU.repeat(count, 1, 1), asked.tokens
    )
    with taps([site], edit={site.name: edit}):
        features = asked.model.encode_image(batch.inputs.repeat(count, 1, 1, 1))
    return asked.value(features, batch.labels_B.repeat(count)).unflatten(0, (count, images))


def agreement(scores_K: np.ndarray, effects_K: np.ndarray) -> dict[str, Any]:
    """How well scores rank nodes by their effects, as columns of a table.

    The interval is that of Fisher's z with the variance of Bonett & Wright (2000) for ranks,
    (1 + ρ²/2) / (K − 3). It holds for one monotone relation over nodes that were drawn; unlike that
    of a jackknife it stays within [−1, 1] where agreement is close, as it is here.

    Args:
        scores_K: of some nodes, means over images.
        effects_K: exact ones of the same nodes.
    """
    row: dict[str, Any] = dict.fromkeys(("spearman", "spearman_lo", "spearman_hi"))
    row["jaccard"] = _top_jaccard(scores_K, effects_K)
    if not effects_K.any():
        return row | {"note": "no node has an effect"}
    for name, values in (("score", scores_K), ("effect", effects_K)):
        if np.ptp(values) == 0:
            return row | {"note": f"all nodes have the same {name}"}
    rho = float(np.corrcoef(rankdata(scores_K), rankdata(effects_K))[0, 1])
    row["spearman"] = rho
    if len(scores_K) < FEWEST:
        return row | {"note": f"no interval: {len(scores_K)} nodes, fewer than {FEWEST}"}
    if 1 - abs(rho) < np.finfo(np.float32).eps:
        return row | {"note": "no interval: all ranks agree"}
    half = norm.ppf(0.5 + CONFIDENCE / 2) * np.sqrt((1 + rho**2 / 2) / (len(scores_K) - 3))
    row["spearman_lo"], row["spearman_hi"] = (
        float(np.tanh(np.arctanh(rho) + side * half)) for side in (-1, 1)
    )
    return row | {"note": ""}


def _top_jaccard(a_K: np.ndarray, b_K: np.ndarray) -> float | None:
    """Overlap of the tops; None where nothing is in either."""
    tops = [_top(values) for values in (a_K, b_K)]
    union = tops[0] | tops[1]
    return len(tops[0] & tops[1]) / len(union) if union else None


def _top(values_K: np.ndarray) -> set[int]:
    """Positions of the tenth of largest size; of zeros none, however few others there are."""
    size = np.abs(values_K)
    first = np.argsort(-size, kind="stable")[: int(np.ceil(TOP * len(size)))]
    return {int(i) for i in first if size[i] > 0}


def _batches(
    learner: Learner, images: Images, domains: Sequence[str], device: torch.device
) -> Iterator[Batch]:
    enter = inputs_of(learner, device)
    parts = (images.pixels_NCHW, images.domain_numbers(domains), images.labels)
    for pixels, numbers, labels in zip(*(part.split(AT_A_TIME) for part in parts), strict=True):
        yield Batch(enter(pixels), numbers.to(device), labels.to(device))


def _mean_scores(
    asked: Scorer, score: Score, batches: Sequence[Batch], origins: torch.Tensor
) -> dict[str, np.ndarray]:
    """Means over all images by site, float64 [N]."""
    found = [asked.scores(score, batch, origins) for batch in batches]
    return {
        site.name: torch.cat([part[site.name] for part in found]).double().mean(dim=0).cpu().numpy()
        for site in asked.sites
    }


def _mean_effects(
    asked: Scorer, site: Site, batches: Sequence[Batch], nodes_K: torch.Tensor
) -> np.ndarray:
    """Means over all images, float64 [K]."""
    effects = torch.cat([exact(asked, batch, site, nodes_K) for batch in batches])
    return effects.double().mean(dim=0).cpu().numpy()


@torch.no_grad()
def _size(asked: Scorer, batches: Sequence[Batch]) -> float:
    """Mean size of a class score."""
    scores = [asked.readout.scores(asked.model.encode_image(batch.inputs)) for batch in batches]
    return float(torch.cat(scores).abs().mean())
