"""Embed images and texts with a trained model, batch by batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import normalize

from gen.models.clip import normalise

if TYPE_CHECKING:
    from open_clip import CLIP

    from gen.models.clippo import Clippo
    from gen.models.trained import Model

BATCH = 500


@torch.inference_mode()
def each_batch(
    model: Model, images: np.ndarray, device: torch.device, use: Callable[[torch.Tensor], None]
) -> None:
    """Run `encode_image` over uint8 `images` [N, H, W, 3]; `use` gets each batch's embedding.

    Always fp32, whatever the training's precision: scores of two runs differ by their weights.
    """
    model.to(device).eval()
    for start in range(0, len(images), BATCH):
        batch = torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2).to(device)
        inputs = normalise(batch).contiguous(memory_format=torch.channels_last)
        use(model.encode_image(inputs))


def embed_images(model: Model, images: np.ndarray, device: torch.device) -> torch.Tensor:
    """Normalised image embeddings, float32 of shape [N, E], on the CPU."""
    parts: list[torch.Tensor] = []
    each_batch(model, images, device, lambda features: parts.append(normalize(features).cpu()))
    return torch.cat(parts)


@torch.inference_mode()
def embed_texts(model: CLIP | Clippo, encoded: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Normalised embeddings of encoded texts [N, …], float32 of shape [N, E], on the CPU."""
    model.to(device).eval()
    parts = [model.encode_text(part.to(device)) for part in encoded.split(BATCH)]
    return normalize(torch.cat(parts), dim=-1).cpu()
