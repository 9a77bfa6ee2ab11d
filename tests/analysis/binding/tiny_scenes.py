"""A tiny scenes dataset, and an untrained learner that embeds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from gen.config import load_config
from gen.datasets.rendered import build_rendered
from gen.datasets.samples import Dataset, load_dataset
from gen.models.trained import Learner

PIXELS, WIDTH, LETTERS = 36, 24, 60
SMALL = ("train=[22]", f"pixels={PIXELS}", "object_pixels=12")


def scenes_dataset(folder: Path, test: str) -> Dataset:
    """36 objects, of which training shows 22; `test` counts the scenes of 1, 2, … objects."""
    config = load_config("datasets", "scenes-debug", [*SMALL, "name=tiny", f"test={test}"])
    build_rendered(config, folder, workers=1)
    return load_dataset("tiny", folder)


class Letters:
    """Texts as the codes of their letters."""

    def encode(self, texts: list[str]) -> torch.Tensor:
        return torch.tensor([list(text.ljust(LETTERS).encode()) for text in texts]) / 100


class Projections(nn.Module):
    """Images and texts, each through a random matrix."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        self.images = nn.Parameter(torch.randn(3 * PIXELS**2 // 4, WIDTH, generator=random))
        self.texts = nn.Parameter(torch.randn(LETTERS, WIDTH, generator=random))

    def encode_image(self, images: torch.Tensor) -> torch.Tensor:
        return images[:, :, ::2, ::2].flatten(1) @ self.images

    def encode_text(self, texts: torch.Tensor) -> torch.Tensor:
        return texts @ self.texts


def projections() -> Learner:
    """A learner whose embeddings differ wherever images, or texts, do."""
    return Learner(Projections(), Letters(), pixels=PIXELS)


def of_length_one(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)
