"""Maps: many images as points in a plane, at every site, laid out so that maps can be compared.

All runs show the same images, and every map is turned so that domains lie where they lie in all
others; docs/maps.md says what may be read off, and what not.

Legend: N images, U units.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from analysis.probe_images import capped
from analysis.probes import Activations
from gen.schema import SiteLevel

MOST_POINTS = 1000
"""images of a map, unless there are more cells, of which every one has an image"""
FEWEST_POINTS = 4
PERPLEXITY = 30.0
START = 1e-4
"""standard deviation of the points from which t-SNE starts, as in scikit-learn"""
SAME = 1e-12
PCA_MAP, TSNE_MAP = "pca", "tsne"
MAPS: dict[str, type[pl.DataType]] = {
    **{"site": pl.String, "level": pl.String, "depth": pl.Int64, "method": pl.String},
    **{"id": pl.String, "domain": pl.String, "class_name": pl.String},
    **{"x": pl.Float64, "y": pl.Float64, "explained": pl.Float64},
}


def embedding_maps(
    shown: Activations,
    domains: Sequence[str],
    seed: int = 0,
    bar: tqdm | None = None,
) -> pl.DataFrame:
    """PCA and t-SNE of every site's activations on a balanced sample of the images.

    Args:
        shown: activations of residual sites; images of every (domain, class) cell.
        domains: in the order of the dataset, which decides where they lie on a map.
        seed: of t-SNE.
        bar: advanced by one per map.

    Returns:
        MAPS: a point per site, method and image; `explained` is the share of the variance that
        the two axes of a PCA hold (null for t-SNE, and where activations do not vary).

    Raises:
        ValueError: there are fewer than FEWEST_POINTS images.
    """
    sample = balanced(shown)
    if sample.samples.height < FEWEST_POINTS:
        raise ValueError(f"a map needs {FEWEST_POINTS} images, not {sample.samples.height}")
    circle_N2 = on_a_circle(sample.samples["domain"], domains)
    parts = []
    for depth, (site, x_NU) in enumerate(sample.sites.items()):
        key = {"site": site, "level": SiteLevel.residual.value, "depth": depth}
        for method, layout_N2, explained in _layouts(x_NU, circle_N2, seed):
            points = sample.samples.select("id", "domain", "class_name").with_columns(
                x=pl.Series(layout_N2[:, 0]),
                y=pl.Series(layout_N2[:, 1]),
                explained=pl.lit(explained, dtype=pl.Float64),
                **{name: pl.lit(value) for name, value in (key | {"method": method}).items()},
            )
            parts.append(points.select(MAPS.keys()).cast(MAPS))  # type: ignore[arg-type]
            if bar is not None:
                bar.update()
    return pl.concat([pl.DataFrame(schema=MAPS), *parts])


def balanced(shown: Activations) -> Activations:
    """As many images of every cell, MOST_POINTS in all or one per cell: a function of their ids."""
    cells = shown.samples.group_by("domain", "class_id").len()["len"].to_list()
    per_cell = min([*cells, max(1, MOST_POINTS // max(1, len(cells)))])
    chosen = shown.samples["id"].is_in(capped(shown.samples, per_cell)["id"].implode())
    mask = chosen.to_numpy()
    sites = {site: values[mask] for site, values in shown.sites.items()}
    return Activations(shown.samples.filter(chosen), sites)


def _layouts(
    x_NU: np.ndarray, circle_N2: np.ndarray, seed: int
) -> Iterator[tuple[str, np.ndarray, float | None]]:
    """Method, layout and explained share of the maps of one site, turned to the circle."""
    layout_N2, explained = pca_layout(x_NU)
    layout_N2 = turned(layout_N2, circle_N2)
    yield PCA_MAP, layout_N2, explained
    yield TSNE_MAP, turned(tsne_layout(x_NU, layout_N2, seed), circle_N2), None


def pca_layout(x_NU: np.ndarray) -> tuple[np.ndarray, float | None]:
    """Scores on the first two principal components [N, 2], and their share of the variance."""
    centred = x_NU.astype(np.float64) - x_NU.mean(axis=0, dtype=np.float64)
    if (centred**2).mean() <= SAME * max(float((x_NU.astype(np.float64) ** 2).mean()), SAME):
        return np.zeros((len(x_NU), 2)), None
    fitted = PCA(n_components=2, svd_solver="full").fit(centred)
    return fitted.transform(centred), float(fitted.explained_variance_ratio_.sum())


def tsne_layout(x_NU: np.ndarray, start_N2: np.ndarray, seed: int) -> np.ndarray:
    """t-SNE (van der Maaten & Hinton 2008), started from a PCA (Kobak & Berens 2019): [N, 2].

    On one thread, so that a map does not depend on the number of cores.

    Args:
        x_NU: activations.
        start_N2: where the points start, on any scale; all in one place are left there.
        seed: of what is random in its tree of neighbours.
    """
    spread = float(start_N2.std())
    if spread <= SAME:
        return start_N2
    perplexity = min(PERPLEXITY, (len(x_NU) - 1) / 3)
    start = (START / spread * start_N2).astype(np.float32)
    model = TSNE(2, perplexity=perplexity, init=start, random_state=seed, n_jobs=1)
    with threadpool_limits(limits=1):
        return model.fit_transform(x_NU.astype(np.float32)).astype(np.float64)


def on_a_circle(domain: pl.Series, domains: Sequence[str]) -> np.ndarray:
    """A point per image at the place of its domain on the unit circle, in their order: [N, 2]."""
    place = {name: number for number, name in enumerate(domains)}
    angle_N = np.array([place[name] for name in domain]) * (2 * np.pi / len(domains))
    return np.stack([np.cos(angle_N), np.sin(angle_N)], axis=1)


def turned(layout_N2: np.ndarray, target_N2: np.ndarray) -> np.ndarray:
    """A layout, centred and turned (or mirrored) as its points fit others best.

    Orthogonal Procrustes (Schönemann 1966): the R = U Vᵀ of layoutᵀ · target = U S Vᵀ. No distance
    on the map changes.

    Returns:
        float64 [N, 2].
    """
    centred_N2 = layout_N2 - layout_N2.mean(axis=0)
    left, _, right = np.linalg.svd(centred_N2.T @ (target_N2 - target_N2.mean(axis=0)))
    return centred_N2 @ (left @ right)
