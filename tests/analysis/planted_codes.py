"""A network whose code of classes is private to every domain first, and shared by all then.

An image is one token. Its first pixels name the domain, the next the class, each by one bright
pixel; the class's brightness e is drawn anew for every image, and so is noise.

    stem     [domain | evidence of every cell | 0                | noise]
    block1   [domain | 0                      | e of every class | noise]
    embedding = e of every class = logits

Block 1 reads the evidence of a cell in images of its domain alone: relu(e + 2 · domain − 2). What
another domain says of a class is there, and nothing reads it.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from torch import nn

from analysis.bench import Bench, Shown, shown
from analysis.class_sets import class_sets
from analysis.held_images import Images
from analysis.readout import Readout
from gen.models.trained import Learner

DOMAINS = ("real", "clipart", "sketch")
CLASSES = ("cat", "dog", "fox", "owl", "yak", "zebra")
D, C, NOISE = len(DOMAINS), len(CLASSES), 8
PIXELS = 4
WIDTH = D + D * C + C + NOISE
SETS = class_sets(CLASSES, {0: CLASSES[:3]})
CPU = torch.device("cpu")


class Stem(nn.Module):
    def forward(self, images):
        x = images.flatten(1)
        domain, e, noise = x[:, :D], x[:, D : D + C], x[:, D + C : D + C + NOISE]
        cells = domain[:, :, None] * e[:, None]
        parts = [domain, cells.flatten(1), torch.zeros_like(e), noise]
        return torch.cat(parts, dim=1)[:, None]


class Block(nn.Module):
    def forward(self, tokens):
        x = tokens[:, 0]
        domain, cells, _, noise = x.split([D, D * C, C, NOISE], dim=1)
        read = (cells.unflatten(1, (D, C)) + 2 * domain[:, :, None] - 2).relu().sum(dim=1)
        return torch.cat([domain, torch.zeros_like(cells), read, noise], dim=1)[:, None]


class Tower(nn.Module):
    """Laid out as timm's ViT."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm_pre = Stem(), nn.Identity()
        self.blocks = nn.ModuleList([Block()])
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, images):
        tokens = self.norm_pre(self.stem(images))
        for block in self.blocks:
            tokens = block(tokens)
        return self.weight * tokens[:, 0, D + D * C : D + D * C + C]


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual = Tower()

    def encode_image(self, images):
        return self.visual(images)


def planted_codes(per_cell: int, seed: int) -> Images:
    """Images of all cells in random order; other seeds give other ids."""
    rng = np.random.default_rng(seed)
    cells = [(d, c) for d in range(D) for c in range(C)] * per_cell
    order = [cells[i] for i in rng.permutation(len(cells))]
    pixels = np.zeros((len(order), 3 * PIXELS * PIXELS), dtype=np.uint8)
    for row, (d, c) in zip(pixels, order, strict=True):
        row[d], row[D + c] = 255, rng.integers(160, 256)
        row[D + C : D + C + NOISE] = rng.integers(256, size=NOISE)
    names = [f"{seed}-{number}" for number in range(len(order))]
    samples = pl.DataFrame(
        {
            **{"id": names, "domain": [DOMAINS[d] for d, _ in order]},
            "class_name": [CLASSES[c] for _, c in order],
            **{"class_id": [c for _, c in order], "instance": names},
        }
    )
    return Images(samples, torch.from_numpy(pixels.reshape(-1, 3, PIXELS, PIXELS)))


def planted_bench(images: Images) -> Bench:
    """The network, asked about images."""
    learner = Learner(Model(), None, (0.0,) * 3, (1.0,) * 3, PIXELS)
    readout = Readout(torch.eye(C), torch.zeros(C), 5.0)
    return Bench(learner, readout, images, DOMAINS, SETS, CPU)


def planted_pair(per_cell: int = 4) -> tuple[Bench, Shown, Bench]:
    """On training images, what these show, and on test images."""
    learning = planted_bench(planted_codes(6, seed=1))
    return learning, shown(learning), learning.on(planted_codes(per_cell, seed=0))
