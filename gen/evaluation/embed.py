"""Embed images and texts with a trained model, batch by batch.

Always fp32, whatever the training's precision: scores of two runs differ by their weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn.functional import normalize

from gen.models.classifier import Classifier

if TYPE_CHECKING:
    from gen.models.trained import Learner

BATCH = 500
"""images of up to 128 × 128 pixels, or texts, that are embedded at a time"""
PIXELS_AT_A_TIME = BATCH * 128**2


def batch_size(pixels: int) -> int:
    """How many images of this height and width are embedded at a time."""
    return max(1, min(BATCH, PIXELS_AT_A_TIME // pixels**2))


@torch.inference_mode()
def embed_batches(
    learner: Learner,
    batches: Iterable[torch.Tensor],
    device: torch.device,
    use: Callable[[torch.Tensor], None],
) -> None:
    """Run `encode_image` over batches of images; `use` gets the embeddings of each.

    Args:
        learner: a model, and the mean and deviation with which images enter it.
        batches: uint8, each of shape [b, 3, H, W], on any device.
        device: where to compute.
        use: gets float32 [b, E], of any length, on the device.
    """
    model = learner.model.to(device).eval()
    enter = inputs_of(learner, device)
    for batch in batches:
        use(model.encode_image(enter(batch)))


def inputs_of(learner: Learner, device: torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
    """How images enter a model: uint8 [b, 3, H, W], on any device, to float32 on this one."""
    mean, std = (
        torch.tensor(values, device=device)[:, None, None] for values in (learner.mean, learner.std)
    )

    def enter(batch: torch.Tensor) -> torch.Tensor:
        inputs = (batch.to(device).float() / 255.0 - mean) / std
        return inputs.contiguous(memory_format=torch.channels_last)

    return enter


def embed_images(learner: Learner, images: np.ndarray, device: torch.device) -> torch.Tensor:
    """Normalised embeddings of uint8 `images` [N, H, W, 3]: float32 [N, E], on the CPU."""
    parts: list[torch.Tensor] = []
    embed_batches(
        learner, _cut(images), device, lambda features: parts.append(normalize(features).cpu())
    )
    return torch.cat(parts)


@torch.inference_mode()
def embed_texts(learner: Learner, texts: Sequence[str], device: torch.device) -> torch.Tensor:
    """Normalised embeddings of texts: float32 [T, E], on the CPU.

    Raises:
        ValueError: the model reads no text, or there is none.
        UserError: a text cannot be encoded.
    """
    model = learner.model
    if isinstance(model, Classifier) or learner.texts is None or not len(texts):
        raise ValueError(f"{len(texts)} texts to embed, encoded by {learner.texts}")
    model.to(device).eval()
    parts = []
    for start in range(0, len(texts), BATCH):
        encoded = learner.texts.encode(texts[start : start + BATCH]).to(device)
        parts.append(normalize(model.encode_text(encoded), dim=-1).cpu())
    return torch.cat(parts)


def _cut(images: np.ndarray) -> Iterator[torch.Tensor]:
    step = batch_size(images.shape[1])
    for start in range(0, len(images), step):
        yield torch.from_numpy(images[start : start + step]).permute(0, 3, 1, 2)
