"""Networks whose sharing between domains is known: planted class means, and untrained layers."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import ortho_group
from torch import nn

from analysis.cells import CellMeans

FOLDS = 4
DOMAINS = ("real", "clipart", "sketch", "quickdraw")
PAIRS = [(a, b) for i, a in enumerate(DOMAINS) for b in DOMAINS[i + 1 :]]
SITES = ("stem", "layer1", "layer2", "embedding")
PLANTED = {
    ("layer1", "real", "clipart"): 0.3,
    ("layer2", "real", "clipart"): 0.8,
    ("layer2", "sketch", "quickdraw"): 0.4,
    ("embedding", "real", "sketch"): 0.6,
}
"""share of the variance of two domains' class means that is common, by layer; elsewhere none"""
ROTATED = ("embedding", "clipart", "quickdraw")
"""a pair with equal geometry there, in another subspace"""


def planted_cells(classes: int = 60, units: int = 48, noise: float = 0.7, seed: int = 0):
    """Class means of a network with PLANTED sharing, from images with noise."""
    rng = np.random.default_rng(seed)
    folds = {}
    for site in SITES:
        common = {pair: rng.normal(size=(classes, units)) for pair in PAIRS}
        means = {}
        for domain in DOMAINS:
            shares = {pair: PLANTED.get((site, *pair), 0.0) for pair in PAIRS if domain in pair}
            own = rng.normal(size=(classes, units)) * np.sqrt(1 - sum(shares.values()))
            means[domain] = own + sum(np.sqrt(s) * common[pair] for pair, s in shares.items())
        if site == ROTATED[0]:
            turned = ortho_group.rvs(units, random_state=seed)
            means[ROTATED[2]] = means[ROTATED[1]] @ turned
        true = np.stack([means[domain] for domain in DOMAINS])
        folds[site] = true + noise * rng.normal(size=(FOLDS, *true.shape))
    return cells_of(folds)


def cells_of(folds: dict[str, np.ndarray], images: int = 5) -> CellMeans:
    """Cell means from fold means [F, D, C, U] of so many images each."""
    first = next(iter(folds.values()))
    counts = np.full(first.shape[:3], images)
    names = tuple(f"class {number}" for number in range(first.shape[2]))
    domains = (*DOMAINS, "other")[: first.shape[1]]
    return CellMeans(folds, counts, domains, names)


def untrained_cells(images: torch.Tensor) -> CellMeans:
    """What an untrained network makes of images [F, D, C, M, 3, P, P], M to a fold."""
    generator = torch.Generator().manual_seed(0)
    layers = nn.ModuleList(
        [nn.Conv2d(3, 24, 3), nn.Conv2d(24, 32, 3, stride=2), nn.Conv2d(32, 48, 3)]
    )
    for parameter in layers.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    folds, x = {}, images.flatten(0, 3)
    with torch.inference_mode():
        for number, layer in enumerate(layers, start=1):
            x = layer(x).relu()
            pooled = x.mean(dim=(2, 3)).reshape(*images.shape[:4], -1)
            folds[f"layer{number}"] = pooled.mean(dim=3).double().numpy()
    return cells_of(folds, images.shape[3])


def noise_images(classes: int, images: int, pixels: int = 12, seed: int = 0) -> torch.Tensor:
    """Images with the look of a domain and nothing of a class: [F, D, C, M, 3, P, P]."""
    generator = torch.Generator().manual_seed(seed)
    look = torch.rand((1, len(DOMAINS), 1, 1, 3, 1, 1), generator=generator)
    shape = (FOLDS, len(DOMAINS), classes, images, 3, pixels, pixels)
    return look + 0.5 * torch.randn(shape, generator=generator)


def pattern_images(classes: int, images: int, pixels: int = 12, seed: int = 0) -> torch.Tensor:
    """The same with a pattern for every class, which all domains show."""
    generator = torch.Generator().manual_seed(seed + 1)
    pattern = torch.randn((1, 1, classes, 1, 3, pixels, pixels), generator=generator)
    return noise_images(classes, images, pixels, seed) + pattern


def with_shuffled_labels(images: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """The images of every domain under labels drawn anew."""
    generator = torch.Generator().manual_seed(seed + 2)
    moved = images.transpose(0, 1).flatten(1, 3).clone()  # [D, F·C·M, ...]
    for domain in moved:
        domain[:] = domain[torch.randperm(len(domain), generator=generator)]
    shape = images.transpose(0, 1).shape
    return moved.reshape(shape).transpose(0, 1)
