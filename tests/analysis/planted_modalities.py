"""A tower that reads images and drawn sentences, of which it is known where both meet.

An image has its class's code in its upper half, a canvas has another code of the same class in its
lower half, each with noise of its own. Block 1 leaves both where they are. Block 2 takes each of
the two codes to one vector of the class: from there on images and sentences share all there is.

    pixels ─► stem ─► block1: two codes, in units of their own ─► block2: one code ─► embedding

Legend: C classes, U units of a half, N images or canvases.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from torch import nn

from analysis.modal_cells import TEXT
from gen.models.clippo import Clippo
from gen.models.trained import Learner

DOMAINS = ("real", "sketch")
CLASSES = tuple(f"class {number:02}" for number in range(12))
SENTENCES, IMAGES = 4, 8
"""of a class; of a cell"""
SIDE, MIDDLE, STEP = 8, 128, 8
"""pixels; grey level of nothing; grey levels of one unit of a code"""
HALF = SIDE * SIDE // 2
C = len(CLASSES)


def codes(seed: int) -> np.ndarray:
    """A code for every class, float [C, HALF]."""
    return np.random.default_rng(seed).normal(size=(C, HALF))


OF_IMAGES, OF_TEXTS, COMMON = codes(1), codes(2), codes(3)


class Writer:
    """Draws `class NN: M` as the class's code in the lower half, with noise of sentence M."""

    def encode(self, texts) -> torch.Tensor:
        drawn = []
        for text in texts:
            name, _, number = text.partition(": ")
            noise = np.random.default_rng([CLASSES.index(name), int(number)]).normal(size=HALF)
            drawn.append(_canvas(np.zeros(HALF), OF_TEXTS[CLASSES.index(name)] + 0.3 * noise))
        return torch.from_numpy(np.stack(drawn))


class Block(nn.Module):
    """A linear map with a layer of neurons in the middle, which show what it makes."""

    def __init__(self, weights: np.ndarray) -> None:
        super().__init__()
        self.mlp = nn.Module()
        self.mlp.fc1, self.mlp.fc2 = linear(weights), linear(np.eye(weights.shape[1]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mlp.fc2(self.mlp.fc1(x))


class Tower(nn.Module):
    """float [N, 3, S, S] → [N, HALF]; built like timm's ViT with a MAP head, as far as asked."""

    def __init__(self) -> None:
        super().__init__()
        meeting = np.concatenate(
            [np.linalg.pinv(OF_IMAGES) @ COMMON, np.linalg.pinv(OF_TEXTS) @ COMMON]
        )
        self.norm_pre = nn.Identity()
        self.blocks = nn.ModuleList([Block(np.eye(2 * HALF)), Block(meeting)])
        self.attn_pool = nn.Flatten()
        self.head = linear(np.eye(HALF))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm_pre(x[:, 0].flatten(1)[:, None])
        for block in self.blocks:
            x = block(x)
        return self.head(self.attn_pool(x))


def linear(weights: np.ndarray) -> nn.Linear:
    layer = nn.Linear(*weights.shape, bias=False)
    layer.weight.data = torch.from_numpy(weights.T).float()
    return layer


def planted_learner() -> Learner:
    return Learner(Clippo(Tower(), bias=False), Writer(), pixels=SIDE)


def planted_images() -> tuple[pl.DataFrame, torch.Tensor]:
    """Rows of all images, and the images, uint8 [N, 3, S, S]; domains differ by a constant look."""
    rng, rows, drawn = np.random.default_rng(4), [], []
    for place, domain in enumerate(DOMAINS):
        for number in range(C):
            for _ in range(IMAGES):
                rows.append({"domain": domain, "class_id": number})
                code = OF_IMAGES[number] + 0.5 * rng.normal(size=HALF) + 0.5 * place
                drawn.append(_canvas(code, np.zeros(HALF)))
    pixels = torch.from_numpy(np.stack(drawn))
    return pl.DataFrame(rows), pixels.unsqueeze(1).expand(-1, 3, -1, -1)


def planted_sentences() -> pl.DataFrame:
    rows = [
        {"text": f"{name}: {number}", "domain": TEXT, "class_id": place}
        for place, name in enumerate(CLASSES)
        for number in range(SENTENCES)
    ]
    return pl.DataFrame(rows)


def _canvas(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    code = MIDDLE + STEP * np.concatenate([upper, lower])
    return code.round().clip(0, 255).astype(np.uint8).reshape(SIDE, SIDE)
