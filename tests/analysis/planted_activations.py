"""Activations of planted images, with class and domain put in by hand."""

from __future__ import annotations

import numpy as np
import polars as pl

from analysis.probes import Activations

DOMAINS = ("real", "sketch", "clipart")


def planted(
    true_DCU: dict[str, np.ndarray], split: str, per_cell: int, noise: float
) -> Activations:
    """Images around cells with these means, by site; cells stand in the order of a sample table."""
    domains, classes, _ = next(iter(true_DCU.values())).shape
    rows = [
        (f"{split}/{d}/{c}/{i}", DOMAINS[d], c, f"class {c}", f"{split}/{d}/{c}/{i}")
        for d in range(domains)
        for c in range(classes)
        for i in range(per_cell)
    ]
    columns = ["id", "domain", "class_id", "class_name", "instance"]
    samples = pl.DataFrame(rows, columns, orient="row")
    rng = np.random.default_rng(0 if split == "train" else 1)
    sites = {}
    for site, true in true_DCU.items():
        cells = np.repeat(true.reshape(domains * classes, -1), per_cell, axis=0)
        sites[site] = (cells + noise * rng.normal(size=cells.shape)).astype(np.float32)
    return Activations(samples, sites)


def without_images(images: Activations, gone: pl.Expr) -> Activations:
    """All but some images."""
    kept = images.samples.select(~gone).to_series().to_numpy()
    sites = {site: values[kept] for site, values in images.sites.items()}
    return Activations(images.samples.filter(kept), sites)
