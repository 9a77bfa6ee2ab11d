"""A network whose circuits are known: which neurons carry a class in every domain, which none.

Images of a cell (domain, class) show one bright pixel per patch, at a place of the cell's own; its
brightness is the evidence e, drawn anew for every patch and image. Three blocks without attention
pass evidence along a residual stream, each by SIZE neurons to a cell, equally strong:

    pixels ─► block1.neurons ─► block2.neurons ─► block3.neurons ─► logits
    shared by all domains: 0, 12 and 18 of 18, the rest private to one domain
    so that two domains' circuits of a class have Jaccard 0, 12 / 24 = 0.5 and 1

A neuron of a cell fires at e on images of its cells, and at 0 on all others. What SIZE of them say
is averaged, so that at every block the evidence of an image's own class is e and that of others 0,
and in the end the logit of its class is the mean of e over patches, that of others 0. DISTRACTORS
neurons of every block fire at class, domain and noise, and nothing reads them. No layer has a bias.

Edges: stem → block1.mlp → block2.mlp → block3.mlp → embedding, and no others.

Legend: D domains, C classes, U neurons of a site, B batch, T patches, W channels of the stream.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
import torch
from torch import nn

from analysis.readout import Readout
from gen.models.trained import Learner

DOMAINS = ("real", "clipart", "sketch")
CLASSES = ("cat", "dog", "fox", "owl")
SIZE = 18
"""neurons of a cell at every site"""
SHARED = {"block1.neurons": 0, "block2.neurons": 12, "block3.neurons": 18}
"""by site, how many of them all domains have in common; SIZE less that are private to each"""
SITES = tuple(SHARED)
DISTRACTORS = 76
"""neurons of every site that nothing reads; they come last"""
PATCH, SIDE = 4, 2
PIXELS = PATCH * SIDE
"""height and width of an image: SIDE × SIDE patches"""
CELLS, NOISE = len(DOMAINS) * len(CLASSES), 4
PARTS = np.cumsum([0, CELLS, NOISE, CELLS, len(CLASSES), len(CLASSES)])
"""of the stream: evidence of cells and noise, from pixels; what block 1, 2 and 3 write"""
WIDTH = int(PARTS[-1])
EVIDENCE, NOISY, WRITTEN1, WRITTEN2, WRITTEN3 = (slice(int(a), int(b)) for a, b in pairwise(PARTS))


def circuits(site: str) -> np.ndarray:
    """Which neurons of a site belong to every cell, bool [D, C, U]: SIZE of each.

    In turn for every class: those that all domains share, those of the first domain, …; then the
    distractors, of no cell.
    """
    shared, domains = SHARED[site], len(DOMAINS)
    own = np.zeros((domains, shared + domains * (SIZE - shared)), dtype=bool)
    own[:, :shared] = True
    for number, row in enumerate(own):
        row[shared:].reshape(domains, -1)[number] = True
    units = own.shape[1]
    found = np.zeros((domains, len(CLASSES), units * len(CLASSES) + DISTRACTORS), dtype=bool)
    for number in range(len(CLASSES)):
        found[:, number, number * units : (number + 1) * units] = own
    return found


def planted_learner(seed: int = 0) -> Learner:
    """The network, as what analyses take; its images enter as x / 255.

    `list_sites` finds SITES at level neuron; of level residual `stem`, `block1` … `block3` and
    `embedding`, whose channels are the logits. It reads no text: use `planted_readout`.

    Args:
        seed: of what the distractors fire at.
    """
    return Learner(Planted(seed), None, (0.0,) * 3, (1.0,) * 3, PIXELS)


def planted_readout() -> Readout:
    """Its answers: the embedding's channels are the logits of the classes."""
    count = len(CLASSES)
    return Readout(torch.eye(count), torch.zeros(count), 1.0)


def planted_images(per_cell: int, seed: int = 0) -> tuple[pl.DataFrame, torch.Tensor]:
    """Images of all cells in random order: their sample table, and pixels, uint8 [N, 3, P, P].

    Args:
        per_cell: images of every cell.
        seed: of the order, brightness and noise; other seeds give other ids.
    """
    rng = np.random.default_rng(seed)
    cells = [(d, c) for d in range(len(DOMAINS)) for c in range(len(CLASSES))] * per_cell
    order = [cells[i] for i in rng.permutation(len(cells))]
    patches = np.zeros((len(order), SIDE, SIDE, 3, PATCH * PATCH), dtype=np.uint8)
    patches[:, :, :, 1] = rng.integers(256, size=patches[:, :, :, 1].shape)
    for image, (d, c) in zip(patches, order, strict=True):
        image[:, :, 0, c * len(DOMAINS) + d] = rng.integers(128, 256, size=(SIDE, SIDE))
    pixels = patches.reshape(-1, SIDE, SIDE, 3, PATCH, PATCH).transpose(0, 3, 1, 4, 2, 5)
    names = [f"{seed}-{number}" for number in range(len(order))]
    samples = pl.DataFrame(
        {
            "id": names,
            "domain": [DOMAINS[d] for d, _ in order],
            "class_name": [CLASSES[c] for _, c in order],
            "class_id": [c for _, c in order],
            "instance": names,
        }
    )
    return samples, torch.from_numpy(pixels.reshape(-1, 3, PIXELS, PIXELS).copy())


class Planted(nn.Module):
    """As little of a model as analyses know."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.visual = Tower(seed)

    def encode_image(self, images):
        return self.visual(images)


class Tower(nn.Module):
    """Laid out as timm's ViT."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, stride=PATCH, bias=False)
        self.norm_pre = nn.Identity()
        cells, classes = np.arange(CELLS), np.repeat(np.arange(len(CLASSES)), len(DOMAINS))
        self.blocks = nn.ModuleList(
            [
                Block(SITES[0], cells, EVIDENCE, cells, WRITTEN1, seed),
                Block(SITES[1], cells, WRITTEN1, classes, WRITTEN2, seed + 1),
                Block(SITES[2], classes, WRITTEN2, classes, WRITTEN3, seed + 2),
            ]
        )
        self.head = nn.Linear(WIDTH, len(CLASSES), bias=False)
        with torch.no_grad():
            self.patches.weight.zero_()
            pixels = self.patches.weight.flatten(2)  # [W, 3, P²]
            pixels[EVIDENCE, 0, :CELLS] = torch.eye(CELLS)
            pixels[NOISY, 1, :NOISE] = torch.eye(NOISE)
            self.head.weight.zero_()
            self.head.weight[:, WRITTEN3] = torch.eye(len(CLASSES))

    def forward(self, images):
        tokens = self.norm_pre(self.patches(images).flatten(2).transpose(1, 2))  # [B, T, W]
        for block in self.blocks:
            tokens = block(tokens)
        return self.head(tokens.mean(dim=1))


class Block(nn.Module):
    """Neurons that pass the evidence of their cells from one part of the stream to another.

    Args:
        site: whose circuits they are.
        reads, writes: for every cell, class by class, its channel in the part that is read, and
            in the part that is written: the cell's own, or that of its class.
        source, target: these parts of the stream.
        seed: of what the distractors read.
    """

    def __init__(
        self,
        site: str,
        reads: np.ndarray,
        source: slice,
        writes: np.ndarray,
        target: slice,
        seed: int,
    ) -> None:
        super().__init__()
        member = circuits(site).transpose(1, 0, 2).reshape(CELLS, -1)  # cells class by class
        units = member.shape[1]
        first, second = np.zeros((units, WIDTH)), np.zeros((WIDTH, units))
        for cell, mask in enumerate(member):
            first[mask, source.start + reads[cell]] = 1
            second[target.start + writes[cell], mask] = 1 / SIZE
        rng = np.random.default_rng(seed)
        first[-DISTRACTORS:] = rng.normal(size=(DISTRACTORS, WIDTH))
        self.mlp = nn.Module()
        self.mlp.fc1 = nn.Linear(WIDTH, units, bias=False)
        self.mlp.fc2 = nn.Linear(units, WIDTH, bias=False)
        with torch.no_grad():
            self.mlp.fc1.weight.copy_(torch.from_numpy(first))
            self.mlp.fc2.weight.copy_(torch.from_numpy(second))

    def forward(self, tokens):
        return tokens + self.mlp.fc2(self.mlp.fc1(tokens).relu())
